"""Which days and months of a table are closed, and turning them into one file each.

Belongs here: the rules of closing, the order of the work. Does not belong here: files (`lake_resources.storage`).

A day is closed when each of its partitions is complete, built from the archives and not in doubt; a month when all its
days are. A day that lacks nothing but its archives is sealed: it is one file until they come, and made again then.
Partitions before the first and after the last committed one are not missed. Everything else keeps its own files.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import NamedTuple

from lake_assets.build.day_sidecar import write_sidecar
from lake_assets.inputs.doubted_hours import doubted_hours
from lake_assets.schema.table import Table
from lake_assets.validation.hour_verdict import Verdict
from lake_resources.clock import DAY, MINUTE, Clock
from lake_resources.errors import LedgerError
from lake_resources.storage.commit import recover_unless_busy
from lake_resources.storage.compaction import Compacted, Period, compact
from lake_resources.storage.ledger.ledger import CompactedFile, Ledger, PartitionFile
from lake_resources.storage.store import Store

WAIT_FOR_BETTER = timedelta(days=7)
"""After that nothing better is expected for a stream that a partition can be built without, or for a rejected one."""
_ARCHIVED = {"archive", "archive+rest", "archive+ws", "archive+rest+ws"}


@dataclass(frozen=True)
class Step:
    """A day or month that is not one file for good.

    Attributes:
        files: its committed partitions.
        input_bytes: size of their files.
        waits_for: why it is not closed; empty for one that is.
        sealed: it is whole, and waits for its archives alone.
        served: it is one file now, until something of it is committed anew.
    """

    period: Period
    files: tuple[PartitionFile, ...]
    waits_for: str = ""
    sealed: bool = False
    served: bool = False

    @property
    def due(self) -> bool:
        """Whether compaction makes one file of it."""
        return not self.served and (self.sealed or not self.waits_for)

    @property
    def input_bytes(self) -> int:
        """Size of the files of the partitions."""
        return sum(file.size_bytes for file in self.files)


def plan_compaction(table: Table, ledger: Ledger, symbol: str, *, now: datetime) -> Iterator[Step]:
    """What is not one file for good, month by month: one step per closed month, else one per day, of the table's tiers.

    Days that are sealed stay in it until they are closed, also while they are one file.

    Args:
        table: which table.
        ledger: its ledger.
        symbol: whose partitions.
        now: the instant that decides what is over, UTC.
    """
    days = ledger.partitions_by_day(symbol)
    if not days:
        return
    closing = _Closing(table, ledger, symbol, (_midnight(min(days)), _midnight(max(days))), now)
    for month, keys in groupby(days, key=lambda day: day[:7]):
        start = _midnight(f"{month}-01")
        period = Period(symbol, "month", start, (start + 31 * DAY).replace(day=1))
        compacted = ledger.compacted_files(symbol, period.start, period.end)
        committed = sum(days[key] for key in keys)
        if any(found.tier == "month" and found.serves.bit_count() == committed for found in compacted):
            continue
        yield from closing.month(period, compacted)


def run_compaction(table: Table, store: Store, symbol: str, *, now: datetime, clock: Clock) -> Iterator[Compacted]:
    """Compact every closed or sealed day and closed month of a symbol, the oldest first; each is durable when yielded.

    `table` is the one that `store` holds. A damaged period does not keep the others from being compacted: it is told
    of when they are done.

    Raises:
        LedgerError: files of one or more periods are not what the ledger says.
        DiskFull, PartitionBusy: as `lake_resources.storage.compaction.compact`; what follows is not tried.
    """
    recover_unless_busy(store)
    damaged: list[LedgerError] = []
    for step in plan_compaction(table, store.ledger, symbol, now=now):
        if not step.due:
            continue
        try:
            done = compact(store, step.period, step.files, clock=clock)
            if table.layout.grain < MINUTE:
                write_sidecar(table, done)
        except LedgerError as error:
            damaged.append(error)
        else:
            yield done
    if len(damaged) == 1:
        raise damaged[0]
    if damaged:
        raise LedgerError(
            f"{len(damaged)} periods of {symbol} were not compacted: {'; '.join(error.what for error in damaged)}",
            remedy=damaged[0].remedy,
        )


class _Open(NamedTuple):
    """Why a day is not closed, and whether it lacks nothing but its archives."""

    reason: str
    sealed: bool = False


@dataclass(frozen=True)
class _Closing:
    """The rules of closing for a symbol of a table; `span` holds its first and its last day."""

    table: Table
    ledger: Ledger
    symbol: str
    span: tuple[datetime, datetime]
    now: datetime

    def month(self, period: Period, compacted: Sequence[CompactedFile]) -> Iterator[Step]:
        """Steps of one month that has no file of all that is committed of it."""
        tiers = self.table.layout.tiers
        found = self.ledger.partition_files(self.symbol, period.start, period.end)
        by_day = {day: list(group) for day, group in groupby(found, key=lambda file: _day(file.start))}
        rejected = {entry.start for entry in self.ledger.quarantined(self.symbol, period.start, period.end)}
        doubts = doubted_hours(self.ledger, self.symbol, period.start, period.end)
        open_days = {
            day: why
            for day in _days(max(period.start, self.span[0]), min(period.end, self.span[1] + DAY))
            if (why := self._open(day, by_day.get(day, []), rejected, doubts)) is not None
        }
        reason = self._month_open_because(period, found, open_days)
        if "month" in tiers and ("day" not in tiers or not reason):
            yield Step(period, tuple(found), reason)
            return
        for day, files in by_day.items():
            why, served = open_days.get(day, _Open("")), _served(compacted, files)
            if why.reason or not served:
                of_day = Period(self.symbol, "day", day, day + DAY)
                yield Step(of_day, tuple(files), why.reason, sealed=why.sealed, served=served)

    def _open(
        self,
        day: datetime,
        files: Sequence[PartitionFile],
        rejected: set[datetime],
        doubts: Mapping[datetime, Verdict],
    ) -> _Open | None:
        """Why a day is not closed; None where it is."""
        if reason := self._not_whole(day, files, rejected):
            return _Open(reason)
        if (doubted := self._doubted(day, doubts)) and not doubted.sealed:
            return doubted._replace(reason=self._archives_awaited(day, files) or doubted.reason)
        awaited = self._archives_awaited(day, files)
        return _Open(awaited, sealed=True) if awaited else doubted

    def _not_whole(self, day: datetime, files: Sequence[PartitionFile], rejected: set[datetime]) -> str:
        """What a day itself lacks; empty where it is whole."""
        span = self.table.layout.span
        if self.now < day + DAY:
            return "the day is not over"
        waited = self.now >= day + DAY + WAIT_FOR_BETTER
        held = {file.start for file in files}
        missing = [start for start in self.table.layout.between(day, day + DAY) if start not in held]
        if day == self.span[0] and files:
            missing = [start for start in missing if start > files[0].start]
        if day == self.span[1] and files and waited:
            missing = [start for start in missing if start < files[-1].start]
        unaccounted = [start for start in missing if start not in rejected or not waited]
        if unaccounted:
            return f"{len(unaccounted)} {span}(s) are not committed, first {unaccounted[0]:%H:%M}"
        partial = [file.start for file in files if not file.complete]
        if partial:
            return f"{len(partial)} {span}(s) are not complete, first {partial[0]:%H:%M}"
        if len({file.schema_hash for file in files}) > 1:
            return f"{span}s of different schemas"
        return ""

    def _archives_awaited(self, day: datetime, files: Sequence[PartitionFile]) -> str:
        """The first source of a whole day that an archive may still replace; empty where there is none."""
        waited = self.now >= day + DAY + WAIT_FOR_BETTER
        for file in files:
            reason = self._provisional_source(json.loads(file.sources), file.start, waited=waited)
            if reason:
                return f"{reason} in the {self.table.layout.span} {file.start:%H:%M}"
        return ""

    def _doubted(self, day: datetime, doubts: Mapping[datetime, Verdict]) -> _Open | None:
        """The verdict that keeps a day open: a contradiction always, anything else while something better may come.

        A day is sealed all the same where every verdict says that a source may still be replaced, and nothing else.
        """
        waited = self.now >= day + DAY + WAIT_FOR_BETTER
        found = [
            (start, verdict)
            for start, verdict in doubts.items()
            if day <= start < day + DAY and (verdict.kind == "contradicted" or not waited)
        ]
        if not found:
            return None
        start, verdict = found[0]
        sealed = all(each.kind == "provisional" for _, each in found)
        return _Open(f"the {self.table.layout.span} {start:%H:%M} is {verdict.text}", sealed=sealed)

    def _provisional_source(self, sources: Mapping[str, Mapping[str, str]], start: datetime, *, waited: bool) -> str:
        """The stream for which an archive may still come."""
        for name, use in self.table.uses.items():
            kind = sources[name]["kind"] if name in sources else "none"
            final = kind in _ARCHIVED or not use.could_have_archive(start.date())
            # The month's funding rates are published after it; the day files do not wait for them.
            if not final and use.stream.files.cadence == "daily" and (use.required or not waited):
                return f"{name} comes from {kind}, not from the archive,"
        return ""

    def _month_open_because(
        self, period: Period, files: Sequence[PartitionFile], open_days: Mapping[datetime, _Open]
    ) -> str:
        if self.now < period.end:
            return "the month is not over"
        if open_days:
            day = min(open_days)
            return f"{len(open_days)} day(s) are open, first {day:%Y-%m-%d}: {open_days[day].reason}"
        if len({file.schema_hash for file in files}) > 1:
            return f"{self.table.layout.span}s of different schemas"
        monthly = [name for name, use in self.table.uses.items() if use.stream.files.cadence == "monthly"]
        if self.now < period.end + WAIT_FOR_BETTER:
            for file in files:
                sources = json.loads(file.sources)
                for name in monthly:
                    if name in sources and sources[name]["kind"] not in _ARCHIVED:
                        return f"{name} of the month is not published yet"
        return ""


def _served(compacted: Sequence[CompactedFile], files: Sequence[PartitionFile]) -> bool:
    return any(all(found.is_serving(file.start) for file in files) for found in compacted)


def _midnight(day: str) -> datetime:
    return datetime.fromisoformat(day).replace(tzinfo=UTC)


def _day(hour: datetime) -> datetime:
    return hour.replace(hour=0)


def _days(start: datetime, end: datetime) -> Iterator[datetime]:
    while start < end:
        yield start
        start += DAY
