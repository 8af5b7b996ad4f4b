"""Rows that are there while a column of them is NULL, because its stream had no source.

Belongs here: counting them per column from ledger and files, with the cause of each. Does not belong here: NULL that
says that nothing happened (no trade, no event), minutes that are missing altogether (`holes`).

The ledger says which hours a stream had no source for. Only hours in which that leaves the number open are read: a slow
series may reach into them, the collector may have heard some of their minutes, an archive may lack rows.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import polars as pl

from lake_assets.at_rest import TableStore
from lake_assets.inputs.excuses import holes_known
from lake_assets.schema.column import LIVE
from lake_assets.schema.table import Table
from lake_assets.validation.outcome import failure_text
from lake_assets.windows import runs_of
from lake_resources.known_hole import KnownHole
from lake_resources.spans import within
from lake_resources.storage.reader import reading, scan

NO_SOURCE = "no source"
COLLECTOR_ONLY = "only a collector knows it, and it was not there"


@dataclass(frozen=True)
class SourceGap:
    """Minutes of a window in which a column is NULL because nothing of its stream was ingested, of one cause.

    Attributes:
        column: of the minute table.
        stream: where its values come from; `live` is the collector.
        minutes: how many; they need not be consecutive.
        cause: a known hole of the stream, `NO_SOURCE`, or `COLLECTOR_ONLY`.
        explained: a known hole; or what only a collector can know, unless the column was asked for by name.
    """

    column: str
    stream: str
    rows: int
    cause: str
    explained: bool

    def as_json(self, row_word: str) -> dict[str, Any]:
        """JSON values, the count named by what a row is, e.g. `minutes`."""
        return {f"{row_word}s" if name == "rows" else name: value for name, value in asdict(self).items()}


@dataclass(frozen=True)
class _Window:
    store: TableStore
    symbol: str
    start: datetime
    end: datetime

    @property
    def table(self) -> Table:
        return self.store.table


def find_source_gaps(
    store: TableStore,
    symbol: str,
    start: datetime,
    end: datetime,
    sources_of: Mapping[datetime, Mapping[str, Any]],
    present: Mapping[datetime, int],
    columns: Sequence[str] | None,
) -> list[SourceGap]:
    """Gaps of columns in the rows of `[start, end)` that are there, in the order of the columns.

    Args:
        store: the table.
        symbol: whose rows.
        start: first row, UTC.
        end: time of the first row that is not looked at, UTC.
        sources_of: sources of the committed partitions that overlap the window, in order, as the ledger has them.
        present: per partition the rows of the window that are there.
        columns: columns that are asked for by name; None is all, and asks for none that only a collector can know.

    Raises:
        StorageError: a file of a partition does not read.
    """
    table, origins = store.table, store.table.origins
    wanted = [name for name in (table.names if columns is None else dict.fromkeys(columns)) if name in origins]
    if not wanted:
        return []
    held = [(partition, sources) for partition, sources in sources_of.items() if present[partition]]
    if not held:
        return []
    window = _Window(store, symbol, start, end)
    known = holes_known(store.ledger, symbol, start, end)
    streams = {origins[name] for name in wanted}
    failing = (
        store.ledger.partitions_with_checks(symbol, start, end, failure_text("source_coverage")) & present.keys()
        if any(_silence(table, stream) == "lost" for stream in streams)
        else set()
    )
    counted: dict[str, Counter[str]] = {}
    for stream in sorted(streams):
        names = [name for name in wanted if origins[name] == stream]
        holes = [hole for hole in known if hole.stream == stream]
        certain: Counter[str] = Counter()
        unsure: list[datetime] = []
        sourced = {partition for partition, sources in held if _has_source(stream, sources)}
        for partition, sources in held:
            holed = any(hole.start < partition + store.layout.step and hole.end > partition for hole in holes)
            losing = stream == LIVE or (_silence(table, stream) == "lost" and partition in failing)
            # Only the rows themselves tell how many of them lack the stream.
            if holed or (losing if partition in sourced else _may_have_values(table, stream, sources)):
                unsure.append(partition)
            elif partition not in sourced:
                certain[_cause(table, stream, partition)] += present[partition]
        counted |= {name: certain.copy() for name in names}
        for first, last in runs_of(unsure, step=store.layout.step):
            _count(window, names, first, last, holes, sourced, counted)
    explained = {hole.cause for hole in known} | ({COLLECTOR_ONLY} if columns is None else set())
    return [
        SourceGap(name, origins[name], rows, cause, cause in explained)
        for name in wanted
        for cause, rows in sorted(counted[name].items())
        if rows
    ]


def _silence(table: Table, stream: str) -> str:
    """What a row without a value of the stream means in a partition that has a source of it; empty of the collector."""
    return table.uses[stream].silence if stream in table.uses else ""


def _has_source(stream: str, sources: Mapping[str, Any]) -> bool:
    return stream in sources and sources[stream]["kind"] != "none"


def _may_have_values(table: Table, stream: str, sources: Mapping[str, Any]) -> bool:
    """Whether a partition without a source of the stream can have values of it all the same."""
    if LIVE in sources and stream in table.uses and table.uses[stream].heard:
        return True
    detail = sources.get(stream, {}).get("detail", {})
    count = detail.get("look_back_hours", 0)
    # Where an hour's look-back is described: `inputs.sources.StreamSources.ref_with_look_back`.
    nothing = hashlib.sha256("\n".join(["none none"] * count).encode()).hexdigest()[:16]
    return bool(count) and detail["look_back"] != nothing


def _cause(table: Table, stream: str, partition: datetime) -> str:
    if stream == LIVE or not table.uses[stream].could_have_archive(partition.date()):
        return COLLECTOR_ONLY
    return NO_SOURCE


def _count(
    window: _Window,
    names: Sequence[str],
    first: datetime,
    last: datetime,
    holes: Sequence[KnownHole],
    sourced: set[datetime],
    counted: Mapping[str, Counter[str]],
) -> None:
    """Count the absent values of a run of partitions as they are in the files."""
    table, name_of_time = window.table, window.store.layout.time_column
    witnesses = list(dict.fromkeys(table.witness(name) for name in names))
    time, stream = pl.col(name_of_time), table.origins[names[0]]
    start, end = max(first, window.start), min(last, window.end)
    columns = [name_of_time, *witnesses]
    scanned = scan(window.store, window.symbol, start, end, columns, schema=table.polars_schema)
    absent = scanned.select(name_of_time, *(table.absent(name).alias(f"absent {name}") for name in names))
    with reading(window.store.layout, window.symbol, start, end):
        rows = absent.filter(pl.any_horizontal(pl.exclude(name_of_time))).collect()
    for hole in holes:
        inside = within(time, hole.start, hole.end)
        _add(rows.filter(inside), names, hole.cause, counted)
        rows = rows.filter(~inside)
    parts = rows.with_columns(_part=time.dt.truncate(window.store.layout.every)).partition_by("_part")
    for partition, part in [(part["_part"][0], part) for part in parts]:
        # Where the stream was there and nothing was published, a NULL is the truth.
        if not (partition in sourced and _silence(table, stream) == "nothing"):
            _add(part, names, _cause(table, stream, partition), counted)


def _add(rows: pl.DataFrame, names: Iterable[str], cause: str, counted: Mapping[str, Counter[str]]) -> None:
    for name in names:
        counted[name][cause] += int(rows[f"absent {name}"].sum())
