"""Minutes that are there while a column of them is NULL, because its stream had no source.

Belongs here: counting them per column from ledger and files, with the cause of each. Does not belong here: NULL that
says that nothing happened (no trade, no event), minutes that are missing altogether (`holes`).

The ledger says which hours a stream had no source for. Only hours in which that leaves the number open are read: a slow
series may reach into them, the collector may have heard some of their minutes, an archive may lack rows.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import polars as pl

from lake_assets.audit.excuses import holes_known
from lake_assets.schema.column import LIVE
from lake_assets.schema.known_holes import Hole
from lake_assets.tables.um_minute import UM_MINUTE
from lake_assets.validation.outcome import failure_text
from lake_assets.windows import runs_of
from lake_resources.clock import HOUR
from lake_resources.storage.reader import reading, scan
from lake_resources.storage.store import Store

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
    minutes: int
    cause: str
    explained: bool

    def as_json(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class _Window:
    store: Store
    symbol: str
    start: datetime
    end: datetime


def find_source_gaps(
    store: Store,
    symbol: str,
    start: datetime,
    end: datetime,
    sources_of: Mapping[datetime, Mapping[str, Any]],
    present: Mapping[datetime, int],
    columns: Sequence[str] | None,
) -> list[SourceGap]:
    """Gaps of columns in the minutes of `[start, end)` that are there, in the order of the columns.

    Args:
        store: the table.
        symbol: whose minutes.
        start: first minute, UTC.
        end: first minute that is not looked at, UTC.
        sources_of: sources of the committed hours that overlap the window, in order, as the ledger has them.
        present: per hour the minutes of the window that are there.
        columns: columns that are asked for by name; None is all, and asks for none that only a collector can know.

    Raises:
        StorageError: an hour file does not read.
    """
    origins = UM_MINUTE.origins
    wanted = [name for name in (UM_MINUTE.names if columns is None else dict.fromkeys(columns)) if name in origins]
    held = [(hour, sources) for hour, sources in sources_of.items() if present[hour]]
    if not wanted or not held:
        return []
    window = _Window(store, symbol, start, end)
    known = holes_known(store.ledger, symbol, start, end)
    streams = {origins[name] for name in wanted}
    failing = (
        store.ledger.partitions_with_checks(symbol, start, end, failure_text("source_coverage")) & present.keys()
        if any(_losing(stream) for stream in streams)
        else set()
    )
    counted: dict[str, Counter[str]] = {}
    for stream in sorted(streams):
        names = [name for name in wanted if origins[name] == stream]
        holes = [hole for hole in known if hole.stream == stream]
        certain: Counter[str] = Counter()
        unsure: list[datetime] = []
        sourced = {hour for hour, sources in held if _has_source(stream, sources)}
        for hour, sources in held:
            if _must_be_read(stream, hour, sources, holes, failing, sourced=hour in sourced):
                unsure.append(hour)
            elif hour not in sourced:
                certain[_cause(stream, hour)] += present[hour]
        counted |= {name: certain.copy() for name in names}
        for first, last in runs_of(unsure):
            _count(window, names, first, last, holes, sourced, counted)
    explained = {hole.cause for hole in known} | ({COLLECTOR_ONLY} if columns is None else set())
    return [
        SourceGap(name, origins[name], minutes, cause, cause in explained)
        for name in wanted
        for cause, minutes in sorted(counted[name].items())
        if minutes
    ]


def _must_be_read(
    stream: str,
    hour: datetime,
    sources: Mapping[str, Any],
    holes: Sequence[Hole],
    failing: Collection[datetime],
    *,
    sourced: bool,
) -> bool:
    """Whether only the rows of an hour tell in how many minutes nothing was ingested of a stream."""
    if holes and any(hole.start < hour + HOUR and hole.end > hour for hole in holes):
        return True
    if sourced:
        return stream == LIVE or (_losing(stream) and hour in failing)
    return _may_have_values(stream, sources)


def _losing(stream: str) -> bool:
    """Whether an hour with a source of the stream can lack rows of it; `source_coverage` says in which hours."""
    return stream in UM_MINUTE.uses and UM_MINUTE.uses[stream].silence == "lost"


def _has_source(stream: str, sources: Mapping[str, Any]) -> bool:
    return stream in sources and sources[stream]["kind"] != "none"


def _may_have_values(stream: str, sources: Mapping[str, Any]) -> bool:
    """Whether an hour without a source of the stream can have values of it all the same."""
    if LIVE in sources and stream in UM_MINUTE.uses and UM_MINUTE.uses[stream].heard:
        return True
    detail = sources.get(stream, {}).get("detail", {})
    count = detail.get("look_back_hours", 0)
    # Where an hour's look-back is described: `ingest.sources.StreamSources.ref_with_look_back`.
    nothing = hashlib.sha256("\n".join(["none none"] * count).encode()).hexdigest()[:16]
    return bool(count) and detail["look_back"] != nothing


def _cause(stream: str, hour: datetime) -> str:
    if stream == LIVE or not UM_MINUTE.uses[stream].could_have_archive(hour.date()):
        return COLLECTOR_ONLY
    return NO_SOURCE


def _count(
    window: _Window,
    names: Sequence[str],
    first: datetime,
    last: datetime,
    holes: Sequence[Hole],
    sourced: set[datetime],
    counted: Mapping[str, Counter[str]],
) -> None:
    """Count the absent minutes of a run of hours as they are in the files."""
    witnesses = list(dict.fromkeys(UM_MINUTE.witness(name) for name in names))
    time, stream = pl.col("timestamp"), UM_MINUTE.origins[names[0]]
    start, end = max(first, window.start), min(last, window.end)
    scanned = scan(
        window.store, window.symbol, start, end, ["timestamp", *witnesses],
        schema=UM_MINUTE.polars_schema,
    )  # fmt: skip
    absent = scanned.select("timestamp", *(UM_MINUTE.absent(name).alias(f"absent {name}") for name in names))
    with reading(window.store.layout, window.symbol, start, end):
        rows = absent.filter(pl.any_horizontal(pl.exclude("timestamp"))).collect()
    for hole in holes:
        inside = time.is_between(hole.start, hole.end, closed="left")
        _add(rows.filter(inside), names, hole.cause, counted)
        rows = rows.filter(~inside)
    for hour, part in _by_hour(rows):
        # Where the stream was there and nothing was published, a NULL is the truth.
        if not (hour in sourced and stream in UM_MINUTE.uses and UM_MINUTE.uses[stream].silence == "nothing"):
            _add(part, names, _cause(stream, hour), counted)


def _add(rows: pl.DataFrame, names: Iterable[str], cause: str, counted: Mapping[str, Counter[str]]) -> None:
    for name in names:
        counted[name][cause] += int(rows[f"absent {name}"].sum())


def _by_hour(rows: pl.DataFrame) -> list[tuple[datetime, pl.DataFrame]]:
    parts = rows.with_columns(_hour=pl.col("timestamp").dt.truncate("1h")).partition_by("_hour")
    return [(part["_hour"][0], part) for part in parts]
