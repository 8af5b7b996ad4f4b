"""Many hours become one file, and the files it was made from go away.

Belongs here: writing a day or month file whose rows are proven to be those of the hours, letting it serve them, and
removing what nothing is read from any more. Does not belong here: which hours are closed (`lake_assets` decides).

Order: read and verify the inputs → stage → read back and compare → rename → ledger. A kill at any point leaves either
the hours as they were (and perhaps an unused file, which `clear` sweeps) or the new file serving all of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

import numpy as np
import orjson
import polars as pl

from lake_resources.clock import Clock
from lake_resources.errors import LedgerError
from lake_resources.storage.catalog import HOUR, Catalog
from lake_resources.storage.disk import disk_errors, file_time
from lake_resources.storage.hashing import file_hash
from lake_resources.storage.ledger.compacted_rows import Tier, bitmap
from lake_resources.storage.ledger.ledger import HourFile, Ledger, Segment
from lake_resources.storage.locks import DEFAULT_TIMEOUT_S, writer_lock
from lake_resources.storage.parquet import stage
from lake_resources.storage.placement import Stretch, stretches
from lake_resources.storage.reader import TIME_COLUMN

ROW_GROUP_ROWS = 14_880
"""A third of a month: a day is read in half the time of one group per month, years of one column a tenth slower."""
_FILES_AT_ONCE = 192
"""Their bytes are in memory together, so that what is hashed is what is read."""

CompactionStatus = Literal["compacted", "unchanged", "changed_meanwhile"]


@dataclass(frozen=True)
class Period:
    """A day or month of one symbol, half-open, UTC."""

    symbol: str
    tier: Tier
    start: datetime
    end: datetime

    @property
    def name(self) -> str:
        """`YYYY-MM-DD` or `YYYY-MM`."""
        return f"{self.start:%Y-%m}" if self.tier == "month" else f"{self.start:%Y-%m-%d}"


@dataclass(frozen=True)
class Compacted:
    """What became of a period.

    Attributes:
        status: `compacted`, `unchanged` (the same file was there already), `changed_meanwhile` (an hour was committed
            since the ledger was asked for the hours: nothing was changed, the next run takes it).
        input_bytes: size of the files that were read.
        path: the file; None where none was written.
    """

    period: Period
    status: CompactionStatus
    hours: int
    row_count: int
    input_bytes: int
    size_bytes: int
    path: Path | None


@dataclass(frozen=True)
class Cleared:
    """What `clear` removed, or would remove."""

    files: int
    size_bytes: int


def compact(
    catalog: Catalog,
    ledger: Ledger,
    period: Period,
    hours: Sequence[HourFile],
    *,
    clock: Clock,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> Compacted:
    """Write one file of all committed hours of a period and let it serve them. The hour files stay.

    Args:
        catalog: paths of the lake.
        ledger: its ledger.
        period: which day or month.
        hours: its committed hours, all of them, as the ledger gave them.
        clock: gives the time from which the grace of the hour files counts.
        timeout_s: how long to wait for a writer of the symbol, seconds; the lock is held for the rename only.

    Raises:
        LedgerError: a file is not what the ledger says, or the rows read back are not those that were read.
        DiskFull: no space; nothing was changed, and no temp file is left.
        PartitionBusy: a writer held the symbol all that time.
        ValueError: no hours, or hours of different schemas.
    """
    schemas = {hour.schema_hash for hour in hours}
    if len(schemas) != 1:
        raise ValueError(f"{period.symbol} {period.name}: {len(schemas)} schemas in {len(hours)} hours; need one")
    placed = stretches(ledger, period.symbol, period.start, period.end)
    try:
        rows, input_bytes = _read(catalog, ledger, period, hours, placed)
    except LedgerError:
        # A writer renames its file before the ledger has the row; under its lock both are as it leaves them.
        with writer_lock(catalog.lock_path(period.symbol), timeout_s=timeout_s):
            if not _moved(ledger, period, hours, placed):
                raise
        return Compacted(period, "changed_meanwhile", len(hours), 0, 0, 0, None)
    proof = rows_hash(rows)
    metadata = _metadata(period, hours, proof)
    staged = stage(rows, catalog.temp_dir, metadata, row_group_rows=ROW_GROUP_ROWS)
    try:
        del rows
        if rows_hash(pl.read_parquet(staged.temp_path)) != proof:
            raise LedgerError(
                f"minute table, {period.symbol} {period.name}: the rows read back are not those of the hours",
                remedy="Nothing was changed. Check the disk (dmesg, SMART), then compact again",
            )
        path = catalog.segment_path(period.symbol, period.name, staged.content_hash)
        holds = bitmap(period.start, (hour.hour for hour in hours))
        segment = Segment(
            symbol=period.symbol,
            path=catalog.relative(path),
            tier=period.tier,
            start=period.start,
            end=period.end,
            serves=holds,
            holds=holds,
            row_count=staged.row_count,
            content_hash=staged.content_hash,
            rows_hash=proof,
            size_bytes=staged.size_bytes,
            schema_hash=hours[0].schema_hash,
            compacted_at=clock(),
        )
        with writer_lock(catalog.lock_path(period.symbol), timeout_s=timeout_s):
            held = {found.path: found for found in ledger.segments(period.symbol, period.start, period.end)}
            known = held.get(segment.path)
            if known is not None and known.serves == holds:
                status: CompactionStatus = "unchanged"
            else:
                staged.publish(path)
                served = ledger.activate_segment(segment, {hour.hour: hour.content_hash for hour in hours})
                status = "compacted" if served else "changed_meanwhile"
        return Compacted(period, status, len(hours), staged.row_count, input_bytes, staged.size_bytes, path)
    finally:
        staged.discard()


def rows_hash(rows: pl.DataFrame) -> str:
    """sha256 of the values of a frame, hexadecimal: names, types, NULLs and the bits of every value, column by column.

    It does not depend on the file format, the compression, or how the rows are chunked.
    """
    digest = hashlib.sha256()
    nulls = rows.null_count().row(0) if rows.width else ()
    empty = {name for name, count in zip(rows.columns, nulls, strict=True) if count == rows.height}
    partly = {name for name, count in zip(rows.columns, nulls, strict=True) if 0 < count < rows.height}
    # One query for all columns: a month of 66 columns would else be two hundred.
    values = rows.select(_plain(name, dtype) for name, dtype in rows.schema.items() if name not in empty)
    masks = rows.select(pl.col(name).is_null().cast(pl.UInt8) for name in rows.columns if name in partly)
    for name, dtype in rows.schema.items():
        kind = "empty" if name in empty else "partly" if name in partly else "full"
        digest.update(f"{name}|{dtype}|{rows.height}|{kind}\n".encode())
        if name in partly:
            digest.update(_raw(masks[name]))
        if name not in empty:
            digest.update(_raw(values[name]))
    return digest.hexdigest()


def _plain(name: str, dtype: pl.DataType) -> pl.Expr:
    """Values as numbers without NULLs; which were NULL is hashed apart."""
    column = pl.col(name)
    if dtype == pl.String:
        return column.cast(pl.Binary).bin.encode("hex").fill_null("")
    return (column.cast(pl.UInt8) if dtype == pl.Boolean else column.to_physical()).fill_null(0)


def _raw(values: pl.Series) -> memoryview | bytes:
    if values.dtype == pl.String:
        return "\n".join(values).encode()
    return np.ascontiguousarray(values.to_numpy()).data


def clear(
    catalog: Catalog,
    ledger: Ledger,
    symbol: str,
    *,
    clock: Clock,
    grace: timedelta,
    dry_run: bool = False,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> Cleared:
    """Remove files that nothing is read from since at least `grace`: hour files behind a segment, old segments.

    Before an hour file goes, the segment that serves the hour is hashed again; a damaged one removes nothing.

    Args:
        grace: how long a reader that opened its files before the compaction may still need them.
        dry_run: count only.

    Raises:
        LedgerError: a segment is not what the ledger says.
        PartitionBusy: a writer held the symbol all that time.
    """
    files = size_bytes = 0
    for segment in ledger.segments(symbol, superseded=True):
        since = segment.superseded_at or segment.compacted_at
        done = segment.superseded_at is None and segment.cleared_at is not None
        if done or clock() - since < grace:
            continue
        # The lock is taken per segment, so that the writer of the open hour never waits for years of removals.
        with writer_lock(catalog.lock_path(symbol), timeout_s=timeout_s):
            now = next(iter(_same(ledger, segment)), None)
            if now != segment:  # a commit or another compaction was faster
                continue
            gone = [catalog.absolute(segment.path)] if segment.superseded_at else _hour_files(catalog, ledger, segment)
            files += len(gone)
            size_bytes += sum(path.stat().st_size for path in gone if path.is_file())
            if dry_run:
                continue
            if segment.superseded_at:
                gone[0].unlink(missing_ok=True)
                ledger.forget_segment(segment)
            else:
                _unlink(catalog, gone)
                ledger.mark_cleared(segment, at=clock())
    with writer_lock(catalog.lock_path(symbol), timeout_s=timeout_s):
        unused = _unused(catalog, ledger, symbol, grace)
        if not dry_run:
            for path in unused:
                path.unlink(missing_ok=True)
    return Cleared(files + len(unused), size_bytes)


def _same(ledger: Ledger, segment: Segment) -> Iterator[Segment]:
    found = ledger.segments(segment.symbol, segment.start, segment.end, superseded=True)
    return (other for other in found if other.path == segment.path)


def _hour_files(catalog: Catalog, ledger: Ledger, segment: Segment) -> list[Path]:
    """The files of the hours that a proven segment serves, as far as they are still there."""
    file = catalog.absolute(segment.path)
    if not file.is_file() or file_hash(file) != segment.content_hash:
        raise _not_as_written(segment.symbol, segment.path, "Nothing was removed. Run `lake audit`")
    served = set(segment.hours)
    paths = [
        catalog.absolute(hour.path)
        for hour in ledger.hour_files(segment.symbol, segment.start, segment.end)
        if hour.hour in served
    ]
    return [path for path in paths if path.is_file()]


def _unlink(catalog: Catalog, paths: Sequence[Path]) -> None:
    with disk_errors(f"remove {len(paths)} compacted hour files"):
        for path in paths:
            path.unlink(missing_ok=True)
            for directory in path.parents:
                if directory == catalog.root or any(directory.iterdir()):
                    break
                directory.rmdir()


def _unused(catalog: Catalog, ledger: Ledger, symbol: str, grace: timedelta) -> list[Path]:
    """Segment files without a ledger row: a compaction was killed, or overtaken, between rename and ledger.

    Under the writer lock, as that step is.
    """
    directory = catalog.segments_dir(symbol)
    if not directory.is_dir():
        return []
    known = {catalog.absolute(segment.path) for segment in ledger.segments(symbol, superseded=True)}
    now = file_time(directory)
    return [
        path
        for path in sorted(directory.glob("*.parquet"))
        if path not in known and now - path.stat().st_mtime >= grace.total_seconds()
    ]


def _moved(ledger: Ledger, period: Period, hours: Sequence[HourFile], placed: Sequence[Stretch]) -> bool:
    """Whether a commit, another compaction or a removal has changed what is committed, or where it lies.

    A commit that was killed half-way is no damage either: the next writer finishes it.
    """
    unfinished = {intent.partition.hour for intent in ledger.intents(period.symbol)}
    return (
        any(period.start <= hour < period.end for hour in unfinished)
        or ledger.hour_files(period.symbol, period.start, period.end) != list(hours)
        or stretches(ledger, period.symbol, period.start, period.end) != placed
    )


def _read(
    catalog: Catalog, ledger: Ledger, period: Period, hours: Sequence[HourFile], placed: Sequence[Stretch]
) -> tuple[pl.DataFrame, int]:
    """Rows of the period as readers see them now, from verified bytes, and how many bytes that were."""
    expected = {hour.path: hour.content_hash for hour in hours}
    expected |= {found.path: found.content_hash for found in ledger.segments(period.symbol, period.start, period.end)}
    parts: list[pl.DataFrame] = []
    schema, size_bytes = None, 0
    for stretch in placed:
        for index in range(0, len(stretch.paths), _FILES_AT_ONCE):
            paths = stretch.paths[index : index + _FILES_AT_ONCE]
            contents = [_verified(catalog, period.symbol, path, expected.get(path)) for path in paths]
            size_bytes += sum(len(content) for content in contents)
            # All have one schema, and a reader that knows it need not derive it from each footer.
            schema = schema or pl.read_parquet_schema(contents[0])
            part = pl.scan_parquet(contents, schema=schema, hive_partitioning=False)
            if stretch.cut:
                part = part.filter(pl.col(TIME_COLUMN) >= stretch.start, pl.col(TIME_COLUMN) < stretch.end)
            parts.append(part.collect())
            del contents, part
    rows = pl.concat(parts, rechunk=True)
    _check(period, hours, rows)
    return rows, size_bytes


def _verified(catalog: Catalog, symbol: str, path: str, content_hash: str | None) -> bytes:
    with suppress(FileNotFoundError):
        content = catalog.absolute(path).read_bytes()
        if content_hash is not None and hashlib.sha256(content).hexdigest() == content_hash:
            return content
    raise _not_as_written(symbol, path, "Nothing was changed. Materialize these hours again, then compact")


def _not_as_written(symbol: str, path: str, remedy: str) -> LedgerError:
    return LedgerError(f"minute table, {symbol}: {path} is lost or not the file that was committed", remedy=remedy)


def _check(period: Period, hours: Sequence[HourFile], rows: pl.DataFrame) -> None:
    """Every hour has the rows the ledger says, each minute once and in order."""
    counts = dict(rows.group_by(pl.col(TIME_COLUMN).dt.truncate("1h")).len().iter_rows())
    wrong = [hour.hour for hour in hours if counts.pop(hour.hour, 0) != hour.row_count] + sorted(counts)
    if wrong or bool((rows[TIME_COLUMN].diff() <= timedelta()).any()):
        where = f"{len(wrong)} hour(s), first {wrong[0]:%Y-%m-%dT%H}" if wrong else "minutes out of order"
        raise LedgerError(
            f"minute table, {period.symbol} {period.name}: other rows than the ledger says in {where}",
            remedy="Nothing was changed. Materialize these hours again, then compact",
        )


def _metadata(period: Period, hours: Sequence[HourFile], proof: str) -> dict[str, str]:
    """Where the rows came from, by stretches of equal sources; the ledger keeps each hour's own inputs hash."""
    sources: dict[str, list[list[object]]] = {}
    for hour in hours:
        first, end = f"{hour.hour:%Y-%m-%dT%H}", f"{hour.hour + HOUR:%Y-%m-%dT%H}"
        for stream, ref in orjson.loads(hour.sources).items():
            found = sources.setdefault(stream, [])
            same = [ref["kind"], ref["reference"]]
            if found and found[-1][2:] == same:
                found[-1][1] = end
            else:
                found.append([first, end, *same])
    return {
        "lake.symbol": period.symbol,
        "lake.period": period.name,
        "lake.hours": f"{bitmap(period.start, (hour.hour for hour in hours)):x}",
        "lake.rows_hash": proof,
        "lake.schema_hash": hours[0].schema_hash,
        "lake.code_version": ",".join(sorted({hour.code_version for hour in hours})),
        "lake.sources": json.dumps(sources, sort_keys=True, separators=(",", ":")),
    }
