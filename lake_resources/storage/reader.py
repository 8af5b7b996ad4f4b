"""Reading the minute table.

Belongs here: lazy scans over the exact files that the ledger names: hour, day and month files, whichever serves an
hour. Does not belong here: listing directories (a scan by glob over years of hours is two orders of magnitude slower),
or any change of what is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime

import polars as pl

from lake_resources.errors import StorageError
from lake_resources.storage.catalog import HOUR, Catalog, utc
from lake_resources.storage.ledger.ledger import Ledger, Partition
from lake_resources.storage.placement import Stretch, stretches

TIME_COLUMN = "timestamp"


def scan_minutes(
    catalog: Catalog,
    ledger: Ledger,
    symbol: str,
    start: datetime,
    end: datetime,
    columns: Sequence[str] | None = None,
    *,
    schema: Mapping[str, pl.DataType] | None = None,
) -> pl.LazyFrame:
    """Committed minutes of `[start, end)`, sorted by time.

    Args:
        catalog: paths of the lake.
        ledger: its ledger.
        symbol: whose minutes.
        start: first instant, UTC.
        end: first instant that is not wanted, UTC.
        columns: columns to read, in this order; all of them by default.
        schema: the table's schema. With it, an empty range is an empty frame, hours written before a column was added
            read as NULL there, and the scan is a third faster.

    Raises:
        StorageError: the range holds no committed hour and no schema is given.
    """
    start, end = utc(start), utc(end)
    declared = None if schema is None else pl.Schema(schema)
    parts = [_scan(catalog, part, declared) for part in _joined(stretches(ledger, symbol, start, end))]
    if parts:
        found = parts[0] if len(parts) == 1 else pl.concat(parts)
    elif declared is not None:
        found = pl.LazyFrame(schema=declared)
    else:
        raise StorageError(
            f"minute table, {symbol}: no committed hour in [{start.isoformat()}, {end.isoformat()})",
            remedy="Materialize these hours, or pass the table's schema to get an empty frame",
        )
    return found if columns is None else found.select(columns)


@contextmanager
def reading(symbol: str, start: datetime, end: datetime) -> Iterator[None]:
    """Collect a scan of minutes inside of it: a file that is gone or torn becomes an error that says what to do.

    Raises:
        StorageError: a file of the window does not read.
    """
    try:
        yield
    except (pl.exceptions.PolarsError, OSError) as error:
        raise StorageError(
            f"minute table, {symbol}: hours of {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} do not read: {error}",
            remedy="Run `lake audit --full` and `lake backfill-range` over the window",
        ) from error


def read_hour(catalog: Catalog, ledger: Ledger, hour: Partition) -> pl.DataFrame:
    """Rows of a committed hour, wherever they lie now."""
    return scan_minutes(catalog, ledger, hour.symbol, hour.hour, hour.hour + HOUR).collect()


def _joined(found: Sequence[Stretch]) -> list[Stretch]:
    """Neighbours that need no filter as one stretch: one scan of many files is cheaper than many scans."""
    joined: list[Stretch] = []
    for stretch in found:
        last = joined[-1] if joined else None
        if last is not None and not last.cut and not stretch.cut:
            joined[-1] = Stretch(last.paths + stretch.paths, last.start, stretch.end, cut=False)
        else:
            joined.append(stretch)
    return joined


def _scan(catalog: Catalog, stretch: Stretch, schema: pl.Schema | None) -> pl.LazyFrame:
    rows = pl.scan_parquet(
        [catalog.absolute(path) for path in stretch.paths],
        schema=schema,
        missing_columns="raise" if schema is None else "insert",
        glob=False,
        hive_partitioning=False,
    )
    if stretch.cut:
        rows = rows.filter(pl.col(TIME_COLUMN) >= stretch.start, pl.col(TIME_COLUMN) < stretch.end)
    return rows
