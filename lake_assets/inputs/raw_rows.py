"""Rows of typed raw files, and which of several files does not read.

Belongs here: reading one file, naming a damaged one, cutting a sorted frame by time. Does not belong here: which file
is read (`sources`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from lake_resources.binance.stream import Stream
from lake_resources.errors import StorageError


def read_raw(path: Path, stream: Stream, start: datetime, end: datetime) -> pl.DataFrame:
    """Rows in `[start, end)` of one raw file, as the stream's wire columns.

    Raises:
        StorageError: the file does not read.
    """
    time = pl.col(stream.time_column)
    with reading_raw([path]):
        rows = pl.scan_parquet(path, glob=False).filter((time >= start) & (time < end))
        return rows.select(list(stream.columns)).collect()


def between(rows: pl.DataFrame, column: str, start: datetime, end: datetime) -> pl.DataFrame:
    """Rows in `[start, end)` of a frame that is sorted by a time column."""
    times = rows[column]
    first, last = times.search_sorted(pl.Series([start, end], dtype=times.dtype), side="left").to_list()
    return rows.slice(first, last - first)


@contextmanager
def reading_raw(paths: Sequence[Path]) -> Iterator[None]:
    """Name the raw file that does not read.

    Raises:
        StorageError: one of them does not.
    """
    try:
        yield
    except (pl.exceptions.PolarsError, pa.ArrowException, OSError) as error:
        damaged = next((path for path in paths if not _readable(path)), paths[0])
        raise StorageError(
            f"raw file {damaged} does not read back: {error}",
            remedy="Check the disk, remove the file and materialize the partition again: it is fetched anew",
        ) from error


def _readable(path: Path) -> bool:
    try:
        pq.read_table(path)
    except (pa.ArrowException, OSError):
        return False
    return True


def row_group_bounds(statistics: pq.Statistics | None) -> tuple[datetime, datetime] | None:
    """First and last time of a row group, where its writer noted them."""
    if statistics is None or not statistics.has_min_max:
        return None
    first, last = statistics.min, statistics.max
    assert isinstance(first, datetime)
    assert isinstance(last, datetime)
    return first, last
