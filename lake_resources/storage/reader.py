"""Reading the rows of a table.

Belongs here: lazy scans over the exact files that the ledger names: files of partitions, days and months, whichever
serves a partition. Does not belong here: listing directories (a scan by glob over years of hours is two orders of
magnitude slower), or any change of what is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime

import polars as pl

from lake_resources.errors import StorageError
from lake_resources.layout import TableLayout
from lake_resources.storage.catalog import utc
from lake_resources.storage.ledger.ledger import Partition
from lake_resources.storage.placement import Stretch, joined, stretches
from lake_resources.storage.store import Store


def scan(
    store: Store,
    symbol: str,
    start: datetime,
    end: datetime,
    columns: Sequence[str] | None = None,
    *,
    schema: Mapping[str, pl.DataType] | None = None,
) -> pl.LazyFrame:
    """Committed rows of `[start, end)`, sorted by time.

    Args:
        store: the table.
        symbol: whose rows.
        start: first instant, UTC.
        end: first instant that is not wanted, UTC.
        columns: columns to read, in this order; all of them by default.
        schema: the table's schema. With it, an empty range is an empty frame, partitions written before a column was
            added read as NULL there, and the scan is a third faster.

    Raises:
        StorageError: the range holds no committed partition and no schema is given.
    """
    start, end = utc(start), utc(end)
    # Making one of a table's columns takes as long as finding its files.
    declared = schema if schema is None or isinstance(schema, pl.Schema) else pl.Schema(schema)
    parts = [_scan(store, part, declared) for part in joined(stretches(store, symbol, start, end))]
    if parts:
        found = parts[0] if len(parts) == 1 else pl.concat(parts)
    elif declared is not None:
        found = pl.LazyFrame(schema=declared)
    else:
        raise StorageError(
            f"{store.layout.title}, {symbol}: no committed {store.layout.span} in "
            f"[{start.isoformat()}, {end.isoformat()})",
            remedy=f"Materialize these {store.layout.span}s, or pass the table's schema to get an empty frame",
        )
    return found if columns is None else found.select(columns)


@contextmanager
def reading(layout: TableLayout, symbol: str, start: datetime, end: datetime) -> Iterator[None]:
    """Collect a scan inside of it: a file that is gone or torn becomes an error that says what to do.

    Raises:
        StorageError: a file of the window does not read.
    """
    try:
        yield
    except (pl.exceptions.PolarsError, OSError) as error:
        raise StorageError(
            f"{layout.title}, {symbol}: {layout.span}s of {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} "
            f"do not read: {error}",
            remedy="Run `lake audit --full` and `lake backfill-range` over the window",
        ) from error


def read_partition(store: Store, partition: Partition) -> pl.DataFrame:
    """Rows of a committed partition, wherever they lie now."""
    return scan(store, partition.symbol, partition.start, partition.start + store.layout.step).collect()


def _scan(store: Store, stretch: Stretch, schema: pl.Schema | None) -> pl.LazyFrame:
    rows = pl.scan_parquet(
        store.files.here_all(stretch.paths),
        schema=schema,
        missing_columns="raise" if schema is None else "insert",
        glob=False,
        hive_partitioning=False,
    )
    if stretch.cut:
        time = pl.col(store.layout.time_column)
        rows = rows.filter(time >= stretch.start, time < stretch.end)
    return rows
