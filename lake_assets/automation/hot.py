"""Which partitions of the hot band are built at this tick.

Belongs here: the rule, from ledger rows and an instant. Does not belong here: launching runs (`sensors`).

A partition is due when a stride of rows has closed that it does not have, once more when it closes for good (the safety
lag is over), and a last time when the slow series of it have settled. A sealed one is left alone, unless the collector
learned more of it since: a healed trade, a row folded again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from lake_assets.automation.attempts import Attempts
from lake_assets.schema.table import Table
from lake_assets.tables.um_minute import UM_MINUTE
from lake_assets.windows import expected_end
from lake_resources.backoff import Backoff
from lake_resources.clock import HOUR, MINUTE
from lake_resources.layout import Span, TableLayout
from lake_resources.storage.ledger.ledger import Capture, Partition

JUST_CLOSED = timedelta(seconds=2)
"""A minute is asked for this long after its end: the exchange needs a moment to close its klines."""
BACKOFF = Backoff(20.0, 5 * 60.0)
"""Between attempts on an hour that changed nothing: the exchange is down, or the gate refuses the rows."""


@dataclass(frozen=True)
class Pace:
    """How soon a partition is asked for.

    Attributes:
        just_closed: a minute is asked for this long after its end.
        backoff: between attempts on a partition that changed nothing.
        newest: the same, of the open partition and the one before, which somebody trades on.
        older_at_once: how many are asked for together, of those that are older than the one before the open one; None
            for all.
    """

    just_closed: timedelta = JUST_CLOSED
    backoff: Backoff = BACKOFF
    newest: Backoff = BACKOFF
    older_at_once: int | None = None


RUNS = Pace()
"""The pace of Dagster's runs, each of which is a process that begins anew."""
RESIDENT = Pace(timedelta(seconds=0.5), Backoff(2.0, 5 * 60.0), Backoff(2.0, 60.0), 10)
"""The pace of the resident builder: an attempt costs it little, and it waits for what shows that a minute is closed.

A band of many symbols takes minutes to fill, for the exchange allows so much weight a minute: the builder looks between
pieces of it whether a minute has closed, which then goes first.
"""
_STRIDES: dict[Span, timedelta] = {"hour": MINUTE, "day": 5 * MINUTE}
"""How much of a partition must have closed at least before it is written anew: a whole file, by a run of its own."""


@dataclass(frozen=True)
class HotHour:
    """A partition of the hot band as the ledger has it.

    Attributes:
        rows_until: end of its last row; the start of the partition when it has none.
        complete: all rows that a closed partition must have are there.
        unsettled: a raw answer it was built from was taken before its stream settled.
        heard_later: live rows of it were written after it was committed.
        fingerprint: another one as soon as anything about it changed.
    """

    rows_until: datetime
    complete: bool
    unsettled: bool
    heard_later: bool
    fingerprint: str


@dataclass(frozen=True)
class HotRun:
    """One run: the partitions that begin from `first` to `last` (inclusive) of `symbols`."""

    symbols: tuple[str, ...]
    first: datetime
    last: datetime
    hours: tuple[tuple[str, datetime], ...]


def settled_after(table: Table) -> timedelta:
    """How long after the end of an hour an answer to any stream of a table does not change any more."""
    return max(use.settle for use in table.streams)


def hot_window(
    now: datetime, hot_hours: int, *, first: datetime, layout: TableLayout = UM_MINUTE.layout
) -> tuple[datetime, datetime] | None:
    """Start of the oldest partition of the band, and the end of the open one; None where there is none yet.

    Args:
        now: the moment of asking, UTC.
        hot_hours: how far the band reaches back from the open hour.
        first: the lake's first hour, UTC; what lies before it is no partition, and a run that asked for it would fail.
        layout: of the table.
    """
    start, end = max(hot_start(now, hot_hours, layout), first), layout.start_of(now) + layout.step
    return (start, end) if start < end else None


def hot_start(now: datetime, hot_hours: int, layout: TableLayout = UM_MINUTE.layout) -> datetime:
    """Start of the oldest partition of the band: what is older is healing's.

    Args:
        now: the moment of asking, UTC.
        hot_hours: how far the band reaches back from the open hour.
        layout: of the table.
    """
    return layout.start_of(now - hot_hours * HOUR)


def hot_hours(
    partitions: Sequence[Partition],
    captures: Collection[Capture],
    heard_at: Mapping[datetime, datetime],
    table: Table = UM_MINUTE,
) -> dict[datetime, HotHour]:
    """What the lake has of one symbol, by start of the partition.

    Args:
        partitions: committed partitions.
        captures: current answers of REST that are not final, of any stream of the market.
        heard_at: when live rows of a partition were written last, UTC.
        table: whose partitions.
    """
    layout, settled = table.layout, settled_after(table)
    early = {
        layout.start_of(row.hour)
        for row in captures
        if row.stream in table.uses and row.captured_at < row.hour + HOUR + settled
    }
    return {
        row.start: HotHour(
            rows_until=row.start if row.max_ts is None else row.max_ts + layout.grain,
            complete=row.complete,
            unsettled=row.start in early,
            heard_later=row.start in heard_at and heard_at[row.start] > row.committed_at,
            fingerprint=f"{row.content_hash[:12]}{row.expected_rows}{int(row.complete)}{int(row.start in early)}"
            f"{_seconds(heard_at.get(row.start) if row.complete else None)}",
        )
        for row in partitions
    }


def is_due(
    start: datetime,
    held: HotHour | None,
    now: datetime,
    lag_minutes: int,
    table: Table = UM_MINUTE,
    just_closed: timedelta = JUST_CLOSED,
) -> bool:
    """Whether building the partition would add something.

    Args:
        start: its start, UTC.
        held: what the ledger has of it, or None.
        now: the moment of asking, UTC.
        lag_minutes: safety lag.
        table: whose partition.
        just_closed: a minute is asked for this long after its end.
    """
    layout = table.layout
    closed_until = expected_end(layout, start, now - just_closed, 0)
    # In whole strides: seconds, and rows of a day, would else ask for a run at each tick.
    stride = max(layout.grain, _STRIDES[layout.span])
    closed_until = start + (closed_until - start) // stride * stride
    if closed_until <= start:
        return False
    if held is None:
        return True
    end = start + layout.step
    if held.complete:
        return held.unsettled and now >= end + settled_after(table)
    return held.rows_until < closed_until or expected_end(layout, start, now, lag_minutes) == end


def plan_tick(
    held: Mapping[str, Mapping[datetime, HotHour]],
    now: datetime,
    *,
    window: tuple[datetime, datetime],
    lag_minutes: int,
    attempts: Attempts,
    table: Table = UM_MINUTE,
    pace: Pace = RUNS,
) -> HotRun | None:
    """The one run of this tick, or None. Attempts are noted in `attempts`.

    The open partition and the one before go first, so that a band that has to be filled does not keep them waiting.

    Args:
        held: partitions that the ledger has, by symbol; every hot symbol is a key.
        now: the moment of the tick, UTC.
        window: start of the oldest partition that may be asked for, and end of the open one (`hot_window`).
        lag_minutes: safety lag.
        attempts: what was tried at earlier ticks.
        table: whose partitions.
        pace: how soon a partition is asked for.
    """
    start, end = window
    layout = table.layout
    newest = end - 2 * layout.step
    starts = list(layout.between(start, end))
    due = [
        (symbol, at)
        for symbol, rows in held.items()
        for at in starts
        if (
            is_due(at, rows.get(at), now, lag_minutes, table, pace.just_closed)
            and attempts.ready(_key(layout, symbol, at), _state(rows.get(at)), now, _pause(pace, at >= newest))
        )
        or (_learned(rows.get(at)) and not attempts.tried(_key(layout, symbol, at), _state(rows.get(at))))
    ]
    chosen = [item for item in due if item[1] >= newest] or due[: pace.older_at_once]
    attempts.forget_before(start)
    if not chosen:
        return None
    for symbol, at in chosen:
        attempts.note(_key(layout, symbol, at), _state(held[symbol].get(at)), now)
    return HotRun(
        symbols=tuple(dict.fromkeys(symbol for symbol, _ in chosen)),
        first=min(at for _, at in chosen),
        last=max(at for _, at in chosen),
        hours=tuple(chosen),
    )


def _pause(pace: Pace, newest: bool) -> Backoff:
    return pace.newest if newest else pace.backoff


def _learned(held: HotHour | None) -> bool:
    """Whether a sealed partition may gain from what the collector wrote since; that is tried once."""
    return held is not None and held.complete and held.heard_later


def _seconds(instant: datetime | None) -> str:
    return "" if instant is None else f"@{instant.timestamp():.0f}"


def _key(layout: TableLayout, symbol: str, start: datetime) -> str:
    return f"{symbol} {layout.text(start)}"


def _state(held: HotHour | None) -> str:
    return "absent" if held is None else held.fingerprint
