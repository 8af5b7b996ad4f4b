"""Slices by day: a slice belongs to the UTC day of its start. What a day's run does, and what its checks say.

Belongs here: the days of a set of slices, a run over some of them, four checks per day.
Does not belong here: the steps of a round (`loop`), Dagster.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta

from lake_assets.schema.check_spec import CheckSpec
from lake_assets.slices.data_root import Slices
from lake_assets.slices.defects import Defect
from lake_assets.slices.endpoint import SliceEndpoint
from lake_assets.slices.expected import PAUSE, due
from lake_assets.slices.integrity import check_rows, mend
from lake_assets.slices.judgement import SliceReason, Status
from lake_assets.slices.keys import LIMIT, SliceKey
from lake_assets.slices.loop import Lattice, ask_for
from lake_assets.slices.table_parity import KlineRows, Parity, compare_slices
from lake_assets.validation.outcome import CheckOutcome
from lake_resources.clock import DAY, epoch_ms, from_epoch_ms
from lake_resources.storage.ledger.slice_rows import SliceRow, SliceRows, SliceSet, Standing

SLICE_CHECKS: dict[str, CheckSpec] = {
    spec.name: spec
    for spec in (
        CheckSpec("slices_complete", "error", gate=False, text="Every slice of the day that is over is ok"),
        CheckSpec(
            "manifest_integrity",
            "error",
            gate=False,
            text="Every answer of the day is on the disk with its bytes, is that of its slice, and is worth its status",
        ),
        CheckSpec(
            "open_times_exact",
            "error",
            gate=False,
            text="The records of the day's slices are exactly those of the grid; what the exchange has not is named",
        ),
        CheckSpec(
            "parity_with_table",
            "error",
            gate=False,
            text="The candles of the day's complete slices are those of the kline table, each value exactly",
        ),
    )
}


@dataclass(frozen=True)
class SliceDay:
    """The slices of one day as they stand.

    Attributes:
        day: UTC day of their starts.
        expected: slices that the lattice has there by now.
        rows: those that the ledger knows.
        asked: requests of the run.
        stopped: why the run ended early; empty where it did not.
        defects: what is wrong with their answers.
        parity: their candles against the kline table.
        mended: slices whose answers were found damaged and asked for again.
    """

    day: date
    expected: int
    rows: tuple[SliceRow, ...]
    asked: int = 0
    stopped: str = ""
    defects: tuple[Defect, ...] = field(default=())
    parity: Parity = field(default=Parity())
    mended: int = 0

    @property
    def counts(self) -> Counter[str]:
        """Slices by status; those that were never asked for are pending."""
        found = Counter(row.status for row in self.rows)
        found[Status.PENDING] += self.expected - len(self.rows)
        return found

    @property
    def growing(self) -> int:
        """Slices that are not over yet."""
        return sum(row.reason == SliceReason.STILL_FORMING for row in self.rows)

    def outcomes(self) -> list[CheckOutcome]:
        """The checks of the day; a day without a slice that is over has nothing to be judged by."""
        over = self.expected - self.growing
        if over <= 0:
            return []
        ok = self.counts[Status.OK]
        none = sum(row.reason == SliceReason.EXCHANGE_HAS_NONE for row in self.rows)
        lacking = {
            row.start: len(row.missing.split(","))
            for row in self.rows
            if row.missing and row.reason not in (SliceReason.EXCHANGE_HAS_NONE, SliceReason.STILL_FORMING)
        }
        damaged = len({each.subject for each in self.defects})
        unread = over - sum(row.path is not None and row.reason != SliceReason.STILL_FORMING for row in self.rows)
        complete = [
            _outcome("slices_complete", ok == over, {"slices": over, "ok": ok, "exchange_has_none": none}),
            _outcome(
                "manifest_integrity",
                not damaged,
                {
                    "answers": over - unread,
                    "damaged": damaged,
                    "mended": self.mended,
                    "first": f"{self.defects[0].code}: {self.defects[0].subject}" if self.defects else None,
                },
            ),
            _outcome(
                "open_times_exact",
                not lacking and not damaged and not unread,
                {"slices": over, "not_read": unread, "missing_records": sum(lacking.values())},
            ),
        ]
        found = [each for each in complete if each.name != "manifest_integrity" or over > unread]
        if self.parity.compared:
            different = self.parity.different
            told = {"compared": self.parity.compared, "different": different, "first": self.parity.first}
            found.append(_outcome("parity_with_table", not different, told))
        return found


def run_day(
    slices: Slices,
    endpoint: SliceEndpoint,
    of: SliceSet,
    day: date,
    lattice: Lattice,
    *,
    table: KlineRows | None = None,
) -> SliceDay:
    """Ask for the day's slices that are due or damaged and look at all answers; the manifest is the caller's to write.

    Args:
        slices: the data root.
        endpoint: which endpoint.
        of: its name, symbol and interval.
        day: UTC day of the slices' starts.
        lattice: all slices by now, also of other days.
        table: the kline table's rows, where there is one to compare with.
    """
    first, end = _span(day)
    here = [key for key in lattice.keys if first <= key.start < end]
    damaged_before = list(check_rows(slices, endpoint, of, slices.rows.slice_rows(of, (first, end))))
    sent_back = mend(slices, of, damaged_before)
    done = ask_for(slices, endpoint, of, here, lattice.frontier)
    rows = slices.rows.slice_rows(of, (first, end))
    defects = tuple(check_rows(slices, endpoint, of, rows))
    damaged = {each.subject for each in defects}
    sound = [
        row
        for row in rows
        if row.status == Status.OK and SliceKey(of.symbol, of.interval, row.start).composite not in damaged
    ]
    span = endpoint.step(of.interval) * LIMIT
    parity = Parity() if table is None else compare_slices(slices, sound, table, span)
    return SliceDay(day, len(here), tuple(rows), done.asked, done.stopped, defects, parity, sent_back)


def days_to_run(
    rows: SliceRows, endpoint: SliceEndpoint, of: SliceSet, first: date, now: datetime, *, pause: timedelta = PAUSE
) -> list[date]:
    """Days of which a slice is due, the newest first.

    Args:
        rows: the ledger that knows the slices.
        endpoint: which endpoint; one whose records lie on a line of instants.
        of: its name, symbol and interval.
        first: days before it are left alone.
        now: the moment, UTC.
        pause: how long the same gap, failure, empty answer or growing slice is left alone.
    """
    begin = rows.origin(of)
    if begin is None:
        return [now.date()]  # the first run asks where the lattice starts
    held = {each.start: each for each in rows.standings(of, but=[Status.OK])}
    expected = endpoint.keys(of.symbol, of.interval, begin, epoch_ms(now))
    wanted = due(expected, held.values(), now, pause=pause, whole=rows.starts(of, Status.OK))
    days = {
        from_epoch_ms(key.start).date()
        for key in wanted
        if key.start not in held or not _grows_since(held[key.start], endpoint.end(key), now, pause)
    }
    return sorted((day for day in days if day >= first), reverse=True)


def _grows_since(held: Standing, end_ms: int, now: datetime, pause: timedelta) -> bool:
    """Whether a growing slice was asked for lately and is not over since."""
    at = held.completed_at_utc
    lately = held.reason == SliceReason.STILL_FORMING and at is not None and now - at < pause
    return lately and epoch_ms(now) <= end_ms


def _span(day: date) -> tuple[int, int]:
    start = datetime.combine(day, time(), UTC)
    return epoch_ms(start), epoch_ms(start + DAY)


def _outcome(name: str, passed: bool, metadata: Mapping[str, int | float | str | None]) -> CheckOutcome:
    return CheckOutcome(name, passed, SLICE_CHECKS[name].severity, metadata)
