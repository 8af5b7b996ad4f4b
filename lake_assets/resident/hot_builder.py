"""The resident builder's one turn: what is due of the hot band is built and committed, each symbol by itself.

Belongs here: reading what the lake has, waiting for live rows, building. Does not belong here: which hours are due and
when to look (`automation`), which tables (`hot_tables`), how an hour is built (`build`), the process (`keep_hot`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from lake_assets.automation.attempts import Attempts
from lake_assets.automation.each_symbol import ITEM_ERRORS, look_at_each
from lake_assets.automation.hot import RESIDENT, HotHour, hot_hours, hot_window, is_due, plan_tick
from lake_assets.automation.resident_turns import goes_ahead, waits_for
from lake_assets.build.builder import builder_of
from lake_assets.dagster_names import table_names
from lake_assets.inputs.results import HourResult
from lake_assets.lake import HOT_LOCK_WAIT_S, Lake
from lake_assets.live.row_files import LiveRows
from lake_assets.resident.hot_tables import resident_tables
from lake_assets.resident.side_by_side import build_side_by_side
from lake_assets.windows import floor_minute
from lake_resources.clock import HOUR, MINUTE
from lake_resources.settings import LakeSettings
from lake_resources.storage.ledger.ledger import Capture, Partition

Say = Callable[[str], None]
Held = dict[str, dict[datetime, HotHour]]
_ASKED_AGAIN_S = 0.1


@dataclass(frozen=True)
class Turn:
    """What one turn did, by asset (`um/BTCUSDT/minute`).

    Attributes:
        hours: results, in the order in which they were built.
        failed: what could not be built at all, with the reason.
        behind: what still lacks a closed minute.
    """

    hours: dict[str, list[HourResult]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    behind: list[str] = field(default_factory=list)


@dataclass
class HotBuilder:
    """Builds what is due of the hot bands of all resident tables, again and again, in one process.

    Args:
        lake: the lake; its clock says what is closed.
        settings: symbols, and how far the band reaches back.
        say: takes a line for the log.
        sleep: waits for so many seconds.
        beat: called before each symbol, so that a long turn is no silence.
    """

    lake: Lake
    settings: LakeSettings
    say: Say
    sleep: Callable[[float], None]
    beat: Callable[[], None] = lambda: None
    _attempts: dict[str, Attempts] = field(default_factory=dict)
    _said: dict[str, str] = field(default_factory=dict)

    def turn(self, *, wait: bool = True) -> Turn:
        """Build what is due now, the open hours first; returns when nothing is due any more, or a minute has closed.

        Args:
            wait: for live rows of the minute that closed last, for up to four seconds after its end; where none are
                heard, for a second.
        """
        done = Turn()
        for table, symbols in resident_tables(self.settings):
            lake = replace(self.lake.of(table), lock_wait_s=HOT_LOCK_WAIT_S)
            self._table(_Band(lake, symbols), done, wait=wait)
        return done

    def _table(self, band: _Band, done: Turn, *, wait: bool) -> None:
        lake, began, built = band.lake, floor_minute(self.lake.clock()), False
        attempts = self._attempts.setdefault(lake.table.name, Attempts())
        while True:
            now = lake.clock()
            window = hot_window(now, self.settings.hot_hours, first=self.settings.start_utc, layout=lake.store.layout)
            if window is None:
                return
            held = band.held(window, self.say)
            lag = self.settings.safety_lag_minutes
            # What is planned counts as tried: the next turn plans for the minute that closed.
            turned = built and floor_minute(now) > began
            plan = (
                None
                if turned
                else plan_tick(
                    held, now, window=window, lag_minutes=lag, attempts=attempts, table=lake.table, pace=RESIDENT
                )
            )
            if plan is None:
                done.behind.extend(band.behind(held, window, now))
                return
            due: dict[str, list[datetime]] = {}
            for symbol, start in plan.hours:
                due.setdefault(symbol, []).append(start)
            for symbols in self._as_heard(band, list(due)) if wait else [list(due)]:
                self._build(lake, {symbol: due[symbol] for symbol in symbols}, done)
            built = True

    def _as_heard(self, band: _Band, symbols: Sequence[str]) -> Iterator[list[str]]:
        """All symbols once the last minute of those is heard that are heard at all; late ones by themselves."""
        lake, live = band.lake, LiveRows(band.lake.catalog)
        waiting, ready, ahead = list(symbols), list[str](), False
        minute = floor_minute(lake.clock()) - MINUTE
        known: dict[str, tuple[dict[datetime, datetime], datetime | None]] = {}

        def newest(symbol: str) -> datetime | None:
            if not band.collected:
                return None
            # A file that was not written since needs not be read again.
            written = live.written_at(symbol, minute - HOUR, minute + MINUTE)
            if symbol not in known or known[symbol][0] != written:
                known[symbol] = written, live.newest_minute(symbol, minute)
            return known[symbol][1]

        while waiting:
            now = lake.clock()
            heard = look_at_each(waiting, newest, self.say)
            late = {symbol for symbol, newest in heard.items() if waits_for(newest, minute, now)}
            ready += [symbol for symbol in waiting if symbol not in late]
            waiting = [symbol for symbol in waiting if symbol in late]
            if not waiting:
                yield ready
            elif not ahead and goes_ahead(len(ready), len(waiting), minute, now):
                yield ready
                ahead, ready = True, []
            else:
                self.sleep(_ASKED_AGAIN_S)

    def _build(self, lake: Lake, due: Mapping[str, Sequence[datetime]], done: Turn) -> None:
        results = {symbol: list[HourResult]() for symbol in due}
        for symbol, outcome in build_side_by_side(lake, due, now=lake.clock(), report=lambda _: None, beat=self.beat):
            if isinstance(outcome, Exception):
                done.failed[_name(lake, symbol)] = f"{type(outcome).__name__}: {outcome}"
            else:
                results[symbol] += outcome.hours
        for symbol, hours in results.items():
            self._tell(_name(lake, symbol), hours, done)

    def _tell(self, name: str, results: Sequence[HourResult], done: Turn) -> None:
        if results:
            done.hours.setdefault(name, []).extend(results)
        refused = [f"{each.hour:%Y-%m-%d %H:%M} {each.status}: {each.reason}" for each in results if each.failed]
        text = done.failed.get(name) or "; ".join(refused)
        if text != self._said.get(name, ""):
            self.say(f"{name}: {text or 'well again'}")
            self._said[name] = text


@dataclass(frozen=True)
class _Band:
    """The hot band of one table."""

    lake: Lake
    symbols: Sequence[str]

    @property
    def collected(self) -> bool:
        return builder_of(self.lake.table).collected

    def held(self, window: tuple[datetime, datetime], say: Say) -> Held:
        """What the lake has of it, by symbol and start."""
        ledger, live, (start, end) = self.lake.ledger, LiveRows(self.lake.catalog), window
        symbols, collected = ledger.traded_after(self.symbols, start), self.collected
        partitions, unfinished = defaultdict[str, list[Partition]](list), defaultdict[str, list[Capture]](list)
        try:
            for partition in ledger.partitions_of(symbols, start, end):
                partitions[partition.symbol].append(partition)
            for capture in ledger.captures_of(symbols, start, end, unfinished=True):
                unfinished[capture.symbol].append(capture)
            told = True
        except ITEM_ERRORS:  # a row of one symbol that does not read is told below
            told = False

        def held_of(symbol: str) -> dict[datetime, HotHour]:
            return hot_hours(
                partitions[symbol] if told else ledger.partitions(symbol, start, end),
                unfinished[symbol] if told else ledger.unfinished_captures(symbol, start, end),
                live.written_at(symbol, start, end) if collected else {},
                self.lake.table,
            )

        return look_at_each(symbols, held_of, say)

    def behind(self, held: Held, window: tuple[datetime, datetime], now: datetime) -> list[str]:
        """Assets of which the newest hour that has a closed minute lacks it."""
        closed = floor_minute(now - RESIDENT.just_closed)
        hour, lag = self.lake.store.layout.start_of(closed - MINUTE), self.lake.safety_lag_minutes
        if hour < window[0]:
            return []
        lacking = [
            symbol
            for symbol, rows in held.items()
            if (rows.get(hour) is None or rows[hour].rows_until < closed)
            and is_due(hour, rows.get(hour), now, lag, self.lake.table, RESIDENT.just_closed)
        ]
        # One whose trading ended is in the band for some hours yet, and has nothing more to come.
        traded = self.lake.ledger.traded_after(lacking, closed - MINUTE) if lacking else ()
        return [_name(self.lake, symbol) for symbol in traded]


def _name(lake: Lake, symbol: str) -> str:
    return "/".join(table_names(lake.store.layout, symbol))
