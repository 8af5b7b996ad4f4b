"""Which days and months of the minute table are closed, and turning them into one file each.

Belongs here: the rules of closing, the order of the work. Does not belong here: files (`lake_resources.storage`).

A day is closed when each of its hours is complete and built from the archives; a month when all its days are. Hours
before the first and after the last committed one are not missed. What is not closed keeps its hour files.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby

from lake_assets.tables.um_minute import UM_MINUTE
from lake_resources.clock import DAY, HOUR, Clock
from lake_resources.errors import LedgerError
from lake_resources.storage.commit import recover_unless_busy
from lake_resources.storage.compaction import Compacted, Period, compact
from lake_resources.storage.ledger.ledger import CompactedFile, Ledger, PartitionFile
from lake_resources.storage.store import Store

WAIT_FOR_BETTER = timedelta(days=7)
"""After that nothing better is expected for a stream that an hour can be built without, or for a rejected hour."""
_ARCHIVED = {"archive", "archive+rest"}


@dataclass(frozen=True)
class Step:
    """A day or month that is not one file yet.

    Attributes:
        hours: its committed hours.
        input_bytes: size of their files.
        waits_for: why it is not closed; empty for one that can be compacted.
    """

    period: Period
    hours: tuple[PartitionFile, ...]
    waits_for: str = ""

    @property
    def input_bytes(self) -> int:
        """Size of the hour files."""
        return sum(hour.size_bytes for hour in self.hours)


def plan_compaction(ledger: Ledger, symbol: str, *, now: datetime) -> Iterator[Step]:
    """What is not compacted yet, month by month: one step per closed month, else one per day.

    Args:
        ledger: ledger of the lake.
        symbol: whose hours.
        now: the instant that decides what is over, UTC.
    """
    days = ledger.partitions_by_day(symbol)
    if not days:
        return
    first, last = _midnight(min(days)), _midnight(max(days))
    for month, keys in groupby(days, key=lambda day: day[:7]):
        start = _midnight(f"{month}-01")
        period = Period(symbol, "month", start, (start + 31 * DAY).replace(day=1))
        compacted = ledger.compacted_files(symbol, period.start, period.end)
        committed = sum(days[key] for key in keys)
        if any(found.tier == "month" and found.serves.bit_count() == committed for found in compacted):
            continue
        yield from _month(ledger, period, compacted, (first, last), now)


def run_compaction(store: Store, symbol: str, *, now: datetime, clock: Clock) -> Iterator[Compacted]:
    """Compact every closed day and month of a symbol, the oldest first; each is durable when it is yielded.

    A damaged period does not keep the others from being compacted: it is told of when they are done.

    Raises:
        LedgerError: files of one or more periods are not what the ledger says.
        DiskFull, PartitionBusy: as `lake_resources.storage.compaction.compact`; what follows is not tried.
    """
    recover_unless_busy(store)
    damaged: list[LedgerError] = []
    for step in plan_compaction(store.ledger, symbol, now=now):
        if step.waits_for:
            continue
        try:
            done = compact(store, step.period, step.hours, clock=clock)
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


def _month(
    ledger: Ledger, period: Period, compacted: Sequence[CompactedFile], span: tuple[datetime, datetime], now: datetime
) -> Iterator[Step]:
    hours = ledger.partition_files(period.symbol, period.start, period.end)
    by_day = {day: list(group) for day, group in groupby(hours, key=lambda hour: _day(hour.start))}
    rejected = {entry.start for entry in ledger.quarantined(period.symbol, period.start, period.end)}
    open_days = {
        day: reason
        for day in _days(max(period.start, span[0]), min(period.end, span[1] + DAY))
        if (reason := _open_because(day, by_day.get(day, []), rejected, span, now))
    }
    reason = _month_open_because(period, hours, open_days, now)
    if not reason:
        yield Step(period, tuple(hours))
        return
    for day, found in by_day.items():
        if not _served(compacted, found):
            yield Step(Period(period.symbol, "day", day, day + DAY), tuple(found), open_days.get(day, ""))


def _served(compacted: Sequence[CompactedFile], hours: Sequence[PartitionFile]) -> bool:
    return any(all(file.is_serving(hour.start) for hour in hours) for file in compacted)


def _open_because(
    day: datetime,
    hours: Sequence[PartitionFile],
    rejected: set[datetime],
    span: tuple[datetime, datetime],
    now: datetime,
) -> str:
    """Why a day is not closed; empty where it is."""
    if now < day + DAY:
        return "the day is not over"
    waited = now >= day + DAY + WAIT_FOR_BETTER
    held = {hour.start for hour in hours}
    missing = [hour for hour in _hours(day) if hour not in held]
    if day == span[0] and hours:
        missing = [hour for hour in missing if hour > hours[0].start]
    if day == span[1] and hours and waited:
        missing = [hour for hour in missing if hour < hours[-1].start]
    unaccounted = [hour for hour in missing if hour not in rejected or not waited]
    if unaccounted:
        return f"{len(unaccounted)} hour(s) are not committed, first {unaccounted[0]:%H}:00"
    partial = [hour.start for hour in hours if not hour.complete]
    if partial:
        return f"{len(partial)} hour(s) are not complete, first {partial[0]:%H}:00"
    if len({hour.schema_hash for hour in hours}) > 1:
        return "hours of different schemas"
    for hour in hours:
        reason = _provisional_source(json.loads(hour.sources), hour.start, waited=waited)
        if reason:
            return f"{reason} in the hour {hour.start:%H}:00"
    return ""


def _provisional_source(sources: Mapping[str, Mapping[str, str]], hour: datetime, *, waited: bool) -> str:
    """The stream for which an archive may still come."""
    for name, use in UM_MINUTE.uses.items():
        kind = sources[name]["kind"] if name in sources else "none"
        final = kind in _ARCHIVED or not use.could_have_archive(hour.date())
        # The month's funding rates are published after it; the day files do not wait for them.
        if not final and use.stream.files.cadence == "daily" and (use.required or not waited):
            return f"{name} comes from {kind}, not from the archive,"
    return ""


def _month_open_because(
    period: Period, hours: Sequence[PartitionFile], open_days: Mapping[datetime, str], now: datetime
) -> str:
    if now < period.end:
        return "the month is not over"
    if open_days:
        day, reason = min(open_days.items())
        return f"{len(open_days)} day(s) are open, first {day:%Y-%m-%d}: {reason}"
    if len({hour.schema_hash for hour in hours}) > 1:
        return "hours of different schemas"
    monthly = [name for name, use in UM_MINUTE.uses.items() if use.stream.files.cadence == "monthly"]
    if now < period.end + WAIT_FOR_BETTER:
        for hour in hours:
            sources = json.loads(hour.sources)
            for name in monthly:
                if name in sources and sources[name]["kind"] not in _ARCHIVED:
                    return f"{name} of the month is not published yet"
    return ""


def _midnight(day: str) -> datetime:
    return datetime.fromisoformat(day).replace(tzinfo=UTC)


def _day(hour: datetime) -> datetime:
    return hour.replace(hour=0)


def _days(start: datetime, end: datetime) -> Iterator[datetime]:
    while start < end:
        yield start
        start += DAY


def _hours(day: datetime) -> list[datetime]:
    return [day + index * HOUR for index in range(24)]
