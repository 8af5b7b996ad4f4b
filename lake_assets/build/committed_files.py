"""Partitions and compacted files of a table as the files themselves tell of them.

Belongs here: ledger rows from the Parquet files below a table's directories. Does not belong here: writing them
(`ledger_rebuild`), the raw inputs (`raw_files`), any judgement of rows.

A file says what it holds, where its rows came from and what they were computed from. It does not say what the checks
said; and when it was committed is taken from its time on the disk.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from lake_assets.at_rest import TableStore
from lake_assets.build.inputs_identity import Identity
from lake_resources.errors import StorageError
from lake_resources.layout import Tier
from lake_resources.storage.hashing import file_hash
from lake_resources.storage.ledger.compacted_rows import bitmap
from lake_resources.storage.ledger.ledger import CompactedFile, Partition
from lake_resources.storage.ledger.restored_rows import LOST
from lake_resources.storage.provenance import SourceRef, sources_from_json


@dataclass
class Found:
    """What the files of one symbol hold.

    Attributes:
        partitions: by start.
        compacted: day and month files, those that serve nothing any more too.
        left_out: files that say too little or do not read, each with the reason.
    """

    partitions: dict[datetime, Partition] = field(default_factory=dict)
    compacted: list[CompactedFile] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def written_at(path: Path) -> datetime:
    """When a file was written, by its time on the disk, UTC."""
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)


def metadata_of(path: Path) -> dict[str, str]:
    """Key-value metadata of a Parquet file.

    Raises:
        StorageError: it does not read.
    """
    try:
        found = pq.read_metadata(path).metadata or {}
        return {key.decode(): value.decode() for key, value in found.items() if key.startswith(b"lake.")}
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise StorageError(f"{path} does not read: {error}", remedy="Materialize what it held again") from error


def files_below(directory: Path) -> list[Path]:
    """Parquet files at any depth, in order; none where there is no directory."""
    return sorted(path for path in directory.rglob("*.parquet") if path.is_file()) if directory.is_dir() else []


def symbol_directories(directory: Path) -> Iterator[tuple[str, Path]]:
    """The symbols below a directory, each with its own directory."""
    if directory.is_dir():
        for path in sorted(directory.iterdir()):
            if path.is_dir() and path.name.startswith("symbol="):
                yield path.name.removeprefix("symbol="), path


def symbols_of(store: TableStore) -> list[str]:
    """Symbols that have files of the table."""
    some = "X"
    parents = (
        store.catalog.partitions_dir(some).parent,
        store.catalog.compacted_dir(some).parent,
    )
    return sorted({symbol for parent in parents for symbol, _ in symbol_directories(parent)})


def committed_files(store: TableStore, symbol: str, *, max_ffill_minutes: int) -> Found:
    """What the files of a symbol say of its partitions.

    Args:
        store: the table.
        symbol: whose files.
        max_ffill_minutes: setting with which the partitions were built: with it their hash tells how many rows were
            required of each.
    """
    found = Found()
    for path in files_below(store.catalog.partitions_dir(symbol)):
        try:
            partition = _partition(store, symbol, path, max_ffill_minutes)
        except (StorageError, ValueError, KeyError, pl.exceptions.PolarsError) as error:
            found.left_out.append(f"{store.catalog.relative(path)}: {error}")
        else:
            found.partitions[partition.start] = partition
    _take_compacted(store, symbol, found)
    return found


def _partition(store: TableStore, symbol: str, path: Path, max_ffill_minutes: int) -> Partition:
    layout, told = store.layout, metadata_of(path)
    start = layout.whole(datetime.fromisoformat(told[f"lake.{layout.span}"]))
    if told["lake.symbol"] != symbol or path != store.catalog.partition_path(symbol, start):
        raise ValueError(f"it says that it is {told['lake.symbol']} {start.isoformat()}")
    times = pl.read_parquet(path, columns=[layout.time_column], hive_partitioning=False)[layout.time_column]
    rows, sources = len(times), sources_from_json(told["lake.sources"])
    at = written_at(path)
    identity = Identity(
        told["lake.code_version"], told["lake.schema_hash"], max_ffill_minutes, start, told["lake.sources"]
    )
    expected = identity.expected_rows(told["lake.inputs_hash"], layout)
    if expected is None:
        # Built with other settings, or by somebody else: whole if all its rows are there, open if some are.
        expected = rows
    return Partition(
        symbol=symbol,
        start=start,
        path=store.catalog.relative(path),
        row_count=rows,
        expected_rows=expected,
        min_ts=_instant(times.min()),
        max_ts=_instant(times.max()),
        schema_hash=told["lake.schema_hash"],
        content_hash=file_hash(path),
        size_bytes=path.stat().st_size,
        inputs_hash=told["lake.inputs_hash"],
        complete=expected == layout.rows_per_partition,
        sources=sources,
        code_version=told["lake.code_version"],
        committed_at=at,
    )


def _instant(value: object) -> datetime | None:
    return value if isinstance(value, datetime) else None


def _take_compacted(store: TableStore, symbol: str, found: Found) -> None:
    """Day and month files, the newest first: a partition is read from the newest file that has its rows.

    A partition with a file of its own is served by another only if that has the same rows: it may have been committed
    anew since. One without is what its compacted file says of it.
    """
    served: set[datetime] = set()
    files = files_below(store.catalog.compacted_dir(symbol))
    for path in sorted(files, key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True):
        try:
            file, rows = _compacted(store, symbol, path)
        except (StorageError, ValueError, KeyError, pl.exceptions.PolarsError) as error:
            found.left_out.append(f"{store.catalog.relative(path)}: {error}")
            continue
        parts = _by_partition(store, rows)
        own = {start for start in parts if start in found.partitions and found.partitions[start].size_bytes}
        serves = {
            start
            for start, part in parts.items()
            if start not in served and (start not in own or _own_rows(store, symbol, start).equals(part))
        }
        for start in sorted(serves - found.partitions.keys()):
            found.partitions[start] = _without_file(store, symbol, file, start, parts[start], path)
        served |= serves
        at = file.compacted_at
        found.compacted.append(
            replace(
                file,
                serves=bitmap(file.start, serves, store.layout.step),
                superseded_at=None if serves else at,
                cleared_at=None if serves & own else at,
            )
        )


def _compacted(store: TableStore, symbol: str, path: Path) -> tuple[CompactedFile, pl.DataFrame]:
    layout, told = store.layout, metadata_of(path)
    if told["lake.symbol"] != symbol:
        raise ValueError(f"it says that it is of {told['lake.symbol']}")
    start, end, tier = _bounds(told["lake.period"])
    rows = pl.read_parquet(path, hive_partitioning=False)
    return (
        CompactedFile(
            symbol=symbol,
            path=store.catalog.relative(path),
            tier=tier,
            start=start,
            end=end,
            step=layout.step,
            serves=0,
            holds=int(told[f"lake.{layout.span}s"], 16),
            row_count=rows.height,
            content_hash=file_hash(path),
            rows_hash=told["lake.rows_hash"],
            size_bytes=path.stat().st_size,
            schema_hash=told["lake.schema_hash"],
            compacted_at=written_at(path),
        ),
        rows,
    )


def _bounds(period: str) -> tuple[datetime, datetime, Tier]:
    """Bounds and tier of `YYYY-MM-DD` or `YYYY-MM`."""
    if len(period) == len("2026-11"):
        start = datetime.fromisoformat(f"{period}-01").replace(tzinfo=UTC)
        return start, (start + timedelta(days=32)).replace(day=1), "month"
    start = datetime.fromisoformat(period).replace(tzinfo=UTC)
    return start, start + timedelta(days=1), "day"


def _by_partition(store: TableStore, rows: pl.DataFrame) -> dict[datetime, pl.DataFrame]:
    name = "start of the partition"
    keyed = rows.with_columns(pl.col(store.layout.time_column).dt.truncate(store.layout.every).alias(name))
    parts = keyed.partition_by(name, as_dict=True, include_key=False, maintain_order=True)
    return {start: part for (start,), part in parts.items()}


def _own_rows(store: TableStore, symbol: str, start: datetime) -> pl.DataFrame:
    return pl.read_parquet(store.catalog.partition_path(symbol, start), hive_partitioning=False)


def _without_file(
    store: TableStore, symbol: str, file: CompactedFile, start: datetime, rows: pl.DataFrame, path: Path
) -> Partition:
    """A partition whose own file was removed after its compaction: only whole ones are compacted."""
    layout, times, told = store.layout, rows[store.layout.time_column], metadata_of(path)
    return Partition(
        symbol=symbol,
        start=start,
        path=store.catalog.relative(store.catalog.partition_path(symbol, start)),
        row_count=rows.height,
        expected_rows=layout.rows_per_partition,
        min_ts=_instant(times.min()),
        max_ts=_instant(times.max()),
        schema_hash=file.schema_hash,
        content_hash=LOST,
        size_bytes=0,
        inputs_hash=LOST,
        complete=True,
        sources=_sources_at(json.loads(told["lake.sources"]), layout.text(start)),
        code_version=told["lake.code_version"],
        committed_at=file.compacted_at,
    )


def _sources_at(stretches: Mapping[str, list[list[Any]]], at: str) -> dict[str, SourceRef]:
    """Sources of a partition from a compacted file's stretches `[first, end, kind, reference]`."""
    found: dict[str, SourceRef] = {}
    for stream, runs in stretches.items():
        for first, end, kind, reference in runs:
            if first <= at < end:
                found[stream] = SourceRef(stream, kind, reference)
    return found
