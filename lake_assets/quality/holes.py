"""Minutes that a window lacks, and why.

Belongs here: finding them from ledger and files, attributing each to a cause. Does not belong here: excusing more than
the known holes do: whatever no known hole names is unexplained.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from itertools import pairwise
from typing import Any

from lake_assets.audit.excuses import holes_known
from lake_assets.schema.known_damage import Damage, damage_of, known_damage
from lake_assets.schema.known_holes import Hole
from lake_assets.tables.um_minute import UM_MINUTE
from lake_assets.windows import hours_between
from lake_resources.clock import HOUR, MINUTE
from lake_resources.storage.catalog import floor_hour
from lake_resources.storage.ledger.ledger import Ledger, PartitionFile, QuarantineEntry
from lake_resources.storage.reader import reading, scan
from lake_resources.storage.store import Store

_FULL = 60

Span = tuple[datetime, datetime]


@dataclass(frozen=True)
class WindowHole:
    """Consecutive minutes `[start, end)` without a row, of one cause.

    Attributes:
        explained: a known hole of the exchange names these minutes.
        reference: where the cause is written; empty for an unexplained one.
    """

    start: datetime
    end: datetime
    cause: str
    explained: bool
    reference: str = ""

    @property
    def minutes(self) -> int:
        """How many."""
        return (self.end - self.start) // MINUTE

    def as_json(self) -> dict[str, Any]:
        """JSON values; times in ISO 8601 UTC."""
        return asdict(self) | {"start": self.start.isoformat(), "end": self.end.isoformat(), "minutes": self.minutes}


def find_holes(
    store: Store, symbol: str, start: datetime, end: datetime, hours: Sequence[PartitionFile]
) -> list[WindowHole]:
    """Minutes of `[start, end)` that no committed hour has, in order.

    Args:
        catalog: paths of the lake; only hours with fewer than 60 rows are read.
        ledger: its ledger.
        symbol: whose minutes.
        start: first minute, UTC.
        end: first minute after the window, UTC; later than it nothing is expected.
        hours: the committed hours that overlap the window, in order.

    Hours in which the symbol is not traded (`untraded_hours`) are no holes.
    """
    if start >= end:
        return []
    absent = list(_absent(store, symbol, start, end, hours))
    if not absent:
        return []
    known = [hole for hole in holes_known(store.ledger, symbol, start, end) if hole.stream == UM_MINUTE.row_stream]
    damage = [each for each in damage_of(known_damage(), symbol, start, end) if each.stream in UM_MINUTE.row_makers]
    rejected = {entry.start: entry for entry in store.ledger.quarantined(symbol, floor_hour(start), end)}
    committed = {hour.start for hour in hours}
    untraded = untraded_hours(store.ledger, symbol, start, end, committed)
    parts = (part for span in absent for part in _by_cause(span, known, rejected, committed))
    named = (_with_damage(part, damage) for part in parts if floor_hour(part.start) not in untraded)
    return list(_joined(named))


def untraded_hours(
    ledger: Ledger, symbol: str, start: datetime, end: datetime, committed: Collection[datetime]
) -> set[datetime]:
    """Hours of `[start, end)` before the symbol's listing or after its delivery, of which nothing is committed."""
    listing = ledger.listing(symbol)
    return set() if listing is None else listing.untraded(hours_between(floor_hour(start), end)) - set(committed)


def _absent(
    store: Store, symbol: str, start: datetime, end: datetime, hours: Sequence[PartitionFile]
) -> Iterator[Span]:
    at = start
    for hour in hours:
        first, last = max(hour.start, start), min(hour.start + HOUR, end)
        if first >= last:
            continue
        if at < first:
            yield at, first
        if hour.row_count != _FULL:
            yield from _within(store, symbol, first, last)
        at = last
    if at < end:
        yield at, end


def _within(store: Store, symbol: str, start: datetime, end: datetime) -> Iterator[Span]:
    with reading(store.layout, symbol, start, end):
        rows = scan(store, symbol, start, end, ["timestamp"]).collect()
    at = start
    for minute in rows["timestamp"].to_list():
        if at < minute:
            yield at, minute
        at = minute + MINUTE
    if at < end:
        yield at, end


def _by_cause(
    span: Span, known: Sequence[Hole], rejected: dict[datetime, QuarantineEntry], committed: set[datetime]
) -> Iterator[WindowHole]:
    """Cut a span at the bounds of hours and known holes; each part has one cause."""
    start, end = span
    cuts = {start, end}
    cuts |= {bound for hole in known for bound in (hole.start, hole.end) if start < bound < end}
    hour = floor_hour(start) + HOUR
    while hour < end:
        cuts.add(hour)
        hour += HOUR
    ordered = sorted(cuts)
    for first, last in pairwise(ordered):
        excuse = next((hole for hole in known if hole.start <= first and last <= hole.end), None)
        if excuse is not None:
            yield WindowHole(first, last, excuse.cause, explained=True, reference=excuse.reference)
            continue
        entry = rejected.get(floor_hour(first))
        if floor_hour(first) in committed:
            cause = "minutes missing from a committed hour"
        elif entry is not None:
            cause = f"hour in quarantine: {', '.join(entry.codes)}"
        else:
            cause = "hour not committed"
        yield WindowHole(first, last, cause, explained=False)


def _with_damage(part: WindowHole, damage: Sequence[Damage]) -> WindowHole:
    """An unexplained hole stays one; what is on record about its day is told beside it."""
    texts = [each.text for each in damage if not part.explained and each.touches(part.start, part.end)]
    return replace(part, cause=f"{part.cause}; on record for the day: {'; '.join(texts)}") if texts else part


def _joined(parts: Iterable[WindowHole]) -> Iterator[WindowHole]:
    last: WindowHole | None = None
    for part in parts:
        if last is not None and last.end == part.start and (last.cause, last.reference) == (part.cause, part.reference):
            last = WindowHole(last.start, part.end, last.cause, last.explained, last.reference)
            continue
        if last is not None:
            yield last
        last = part
    if last is not None:
        yield last
