"""Rows that a window lacks, and why.

Belongs here: finding them from ledger and files, attributing each to a cause. Does not belong here: excusing more than
the known holes do: whatever no known hole names is unexplained.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from itertools import pairwise
from typing import Any

from lake_assets.at_rest import TableStore
from lake_assets.inputs.excuses import holes_known
from lake_assets.schema.known_damage import Damage, damage_of, known_damage
from lake_assets.schema.table import Table
from lake_resources.known_hole import KnownHole
from lake_resources.storage.ledger.ledger import PartitionFile, QuarantineEntry
from lake_resources.storage.reader import reading, scan

Span = tuple[datetime, datetime]


@dataclass(frozen=True)
class WindowHole:
    """The rows of `[start, end)`, none of which is there, of one cause.

    Attributes:
        rows: how many they are.
        explained: a known hole of the exchange names all of them.
        reference: where the cause is written; empty for an unexplained one.
    """

    start: datetime
    end: datetime
    rows: int
    cause: str
    explained: bool
    reference: str = ""

    def as_json(self, row_word: str) -> dict[str, Any]:
        """JSON values; times in ISO 8601 UTC, the count named by what a row is, e.g. `minutes`."""
        values = asdict(self) | {"start": self.start.isoformat(), "end": self.end.isoformat()}
        return {name: value for name, value in values.items() if name != "rows"} | {f"{row_word}s": self.rows}


def find_holes(
    store: TableStore, symbol: str, start: datetime, end: datetime, files: Sequence[PartitionFile]
) -> list[WindowHole]:
    """Rows of `[start, end)` that no committed partition has, in order; only partitions that lack rows are read.

    Args:
        store: the table.
        symbol: whose rows.
        start: first row, UTC.
        end: time after the last row of the window, UTC; later than it nothing is expected.
        files: the committed partitions that overlap the window, in order.

    Partitions in which the symbol is not traded (`untraded_partitions`) are no holes.
    """
    if start >= end:
        return []
    absent = list(_absent(store, symbol, start, end, files))
    if not absent:
        return []
    table, layout = store.table, store.layout
    known = [hole for hole in holes_known(store.ledger, symbol, start, end) if hole.stream == table.row_stream]
    damage = [each for each in damage_of(known_damage(), symbol, start, end) if each.stream in table.row_makers]
    rejected = {entry.start: entry for entry in store.ledger.quarantined(symbol, layout.start_of(start), end)}
    committed = {file.start for file in files}
    untraded = untraded_partitions(store, symbol, start, end, committed)
    parts = (part for span in absent for part in _by_cause(table, span, known, rejected, committed))
    named = (_with_damage(part, damage) for part in parts if layout.start_of(part.start) not in untraded)
    return list(_joined(named))


def untraded_partitions(
    store: TableStore, symbol: str, start: datetime, end: datetime, committed: Collection[datetime]
) -> set[datetime]:
    """Partitions of `[start, end)` that lie before the symbol's listing or after its delivery, none of them committed.

    One that the listing or the delivery falls into is none of them.
    """
    return store.ledger.untraded(symbol, store.layout.between(start, end)) - set(committed)


def _absent(
    store: TableStore, symbol: str, start: datetime, end: datetime, files: Sequence[PartitionFile]
) -> Iterator[Span]:
    at, step, whole = start, store.layout.step, store.layout.rows_per_partition
    for file in files:
        first, last = max(file.start, start), min(file.start + step, end)
        if first >= last:
            continue
        if at < first:
            yield at, first
        if file.row_count != whole:
            yield from _within(store, symbol, first, last)
        at = last
    if at < end:
        yield at, end


def _within(store: TableStore, symbol: str, start: datetime, end: datetime) -> Iterator[Span]:
    with reading(store.layout, symbol, start, end):
        rows = scan(store, symbol, start, end, [store.layout.time_column]).collect()
    at = start
    for found in rows[store.layout.time_column].to_list():
        if at < found:
            yield at, found
        at = found + store.layout.grain
    if at < end:
        yield at, end


def _by_cause(
    table: Table,
    span: Span,
    known: Sequence[KnownHole],
    rejected: dict[datetime, QuarantineEntry],
    committed: set[datetime],
) -> Iterator[WindowHole]:
    """Cut a span at the bounds of partitions and known holes; each part has one cause."""
    layout, (start, end) = table.layout, span
    cuts = {start, end}
    cuts |= {bound for hole in known for bound in (hole.start, hole.end) if start < bound < end}
    cuts |= {at for at in layout.between(start, end) if at > start}
    ordered = sorted(cuts)
    for first, last in pairwise(ordered):
        rows = (last - first) // layout.grain
        excuse = next((hole for hole in known if hole.start <= first and last <= hole.end), None)
        if excuse is not None:
            yield WindowHole(first, last, rows, excuse.cause, explained=True, reference=excuse.reference)
            continue
        partition = layout.start_of(first)
        entry = rejected.get(partition)
        if partition in committed:
            cause = f"{table.row_word}s missing from a committed {layout.span}"
        elif entry is not None:
            cause = f"{layout.span} in quarantine: {', '.join(entry.codes)}"
        else:
            cause = f"{layout.span} not committed"
        yield WindowHole(first, last, rows, cause, explained=False)


def _with_damage(part: WindowHole, damage: Sequence[Damage]) -> WindowHole:
    """An unexplained hole stays one; what is on record about its day is told beside it."""
    texts = [each.text for each in damage if not part.explained and each.touches(part.start, part.end)]
    return replace(part, cause=f"{part.cause}; on record for the day: {'; '.join(texts)}") if texts else part


def _joined(parts: Iterable[WindowHole]) -> Iterator[WindowHole]:
    last: WindowHole | None = None
    for part in parts:
        if last is not None and last.end == part.start and (last.cause, last.reference) == (part.cause, part.reference):
            last = replace(last, end=part.end, rows=last.rows + part.rows)
            continue
        if last is not None:
            yield last
        last = part
    if last is not None:
        yield last
