"""Rows of an archive that is out of order, in order: in memory where they are few, over the disk where they are many.

Belongs here: sorting by the stream's key, identical rows once. Does not belong here: reading the archive, typing it,
rows that share a key and differ (who writes them in order finds them).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import polars as pl
import pyarrow.parquet as pq

from lake_resources.binance.archives.archive_csv import read_frames, sorted_once
from lake_resources.binance.stream import Stream
from lake_resources.errors import ArchiveCorrupt
from lake_resources.input_limits import InputLimits
from lake_resources.storage.disk import disk_errors, of_database

_BATCH_ROWS = 20_000
_MEMORY = "40MB"


def frames_in_order(zip_path: Path, stream: Stream, temp_dir: Path, limits: InputLimits) -> Iterator[pl.DataFrame]:
    """Frames of an archive sorted by the stream's key, identical rows once.

    Args:
        zip_path: the archive.
        stream: what it holds.
        temp_dir: where rows beyond `limits.unordered_rows` are sorted.
        limits: how much one file may hold.

    Raises:
        ArchiveCorrupt: as `read_frames`; of few rows also two that share a key and differ.
        DiskFull, StorageError: the disk took not what is sorted on it.
    """
    frames = read_frames(zip_path, stream, limits=limits)
    held, rows = deque[pl.DataFrame](), 0
    for frame in frames:
        held.append(frame)
        rows += frame.height
        if rows > limits.unordered_rows:
            yield from _over_the_disk(zip_path, _handed_out(held, frames), stream, temp_dir)
            return
    yield sorted_once(zip_path, stream, list(held))


def _handed_out(held: deque[pl.DataFrame], rest: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    while held:
        yield held.popleft()
    yield from rest


def _over_the_disk(
    zip_path: Path, frames: Iterator[pl.DataFrame], stream: Stream, temp_dir: Path
) -> Iterator[pl.DataFrame]:
    with disk_errors(f"sort an archive in {temp_dir}"):
        temp_dir.mkdir(parents=True, exist_ok=True)
        folder = TemporaryDirectory(dir=temp_dir, prefix="sort-", ignore_cleanup_errors=True)
    with folder as name:
        path = Path(name) / "rows.parquet"
        with disk_errors(f"sort an archive in {temp_dir}"):
            schema = pl.DataFrame(schema=stream.columns).to_arrow().schema
            with pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=False) as writer:
                for frame in frames:
                    writer.write_table(frame.to_arrow().cast(schema))
        last = pl.DataFrame(schema=stream.columns)
        for batch in _sorted(zip_path, path, stream):
            # Identical rows are neighbours, for all columns are sorted by; the last one may be in the batch before.
            found = pl.concat([last, batch]).unique(maintain_order=True)[last.height :]
            if found.height:
                last = found.tail(1)
                yield found


def _sorted(zip_path: Path, path: Path, stream: Stream) -> Iterator[pl.DataFrame]:
    columns = [*stream.key, *(name for name in stream.columns if name not in stream.key)]
    order = ", ".join(f'"{name}"' for name in columns)
    try:
        with disk_errors(f"sort an archive in {path.parent}"), duckdb.connect() as database:
            database.execute("SET TimeZone = 'UTC'; SET threads = 1; SET enable_progress_bar = false")
            database.execute("SET preserve_insertion_order = false")
            database.execute("SET memory_limit = ?", [_MEMORY])
            database.execute("SET temp_directory = ?", [str(path.parent)])
            query = f"SELECT * FROM read_parquet(?) ORDER BY {order}"  # noqa: S608 - names of columns
            rows = database.sql(query, params=[str(path)]).to_arrow_reader(_BATCH_ROWS)
            assert rows is not None, "it is a query"
            for batch in rows:
                found = pl.DataFrame(pl.from_arrow(batch))
                yield found.cast(stream.columns)  # type: ignore[arg-type]
    except duckdb.OutOfMemoryException as error:
        raise ArchiveCorrupt(str(zip_path), "more rows out of order than can be sorted") from error
    except duckdb.Error as error:
        remedy = "Look at the disk of the lake, then materialize the archive again"
        raise of_database(f"sort an archive in {path.parent}", error, remedy) from error
