"""Reading the minute table.

Belongs here: lazy scans over the exact files that the ledger names. Does not belong here: listing directories (a scan
by glob over years of hours is two orders of magnitude slower), or any change of what is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import polars as pl

from lake_resources.errors import StorageError
from lake_resources.storage.catalog import Catalog, floor_hour, utc
from lake_resources.storage.commit import TIME_COLUMN
from lake_resources.storage.ledger import Ledger


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
    paths = ledger.partition_paths(symbol, start, end) if start < end else []
    if paths:
        found = pl.scan_parquet(
            [catalog.absolute(path) for path in paths],
            schema=None if schema is None else dict(schema),
            missing_columns="raise" if schema is None else "insert",
            glob=False,
            hive_partitioning=False,
        )
    elif schema is not None:
        found = pl.LazyFrame(schema=dict(schema))
    else:
        raise StorageError(
            f"minute table, {symbol}: no committed hour in [{start.isoformat()}, {end.isoformat()})",
            remedy="Materialize these hours, or pass the table's schema to get an empty frame",
        )
    # Every row of an hour file lies in its hour, so a range of whole hours needs no filter.
    if start != floor_hour(start) or end != floor_hour(end):
        found = found.filter(pl.col(TIME_COLUMN) >= start, pl.col(TIME_COLUMN) < end)
    return found if columns is None else found.select(columns)
