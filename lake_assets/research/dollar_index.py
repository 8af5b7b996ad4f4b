"""The dollar index of minutes that are at hand: the view's own statements over rows instead of files.

Belongs here: that one use of them. Does not belong here: the formula (`sql/dxy_synthetic_minute.sql`), reading rows.
"""

from __future__ import annotations

from contextlib import closing

import duckdb
import polars as pl

from lake_assets.research.views_file import view_sql

INDEX = "DXY_SYN"
"""Ticker of the index in the views."""
COMPONENTS = ("EURUSD=X", "USDJPY=X", "GBPUSD=X", "USDCAD=X", "USDSEK=X", "USDCHF=X")
"""The six currencies that the index is made of."""


def dollar_index(minutes: pl.DataFrame) -> pl.DataFrame:
    """The view `dxy_synthetic_minute` of these minutes, in order of time.

    Args:
        minutes: rows of the macro table (`ticker`, `ts` in UTC, prices, `is_final`), of any tickers.

    Returns:
        `ticker` (`INDEX`), `ts` (UTC), open, high, low, close, `volume`, `is_final`, `components`, `missing`: a row
        per minute that one of the six has. Prices are NULL, and `missing` names who lacks, where not all six have it.
    """
    naive = minutes.with_columns(pl.col("ts").dt.replace_time_zone(None))
    with closing(duckdb.connect()) as connection:
        connection.execute("CREATE SCHEMA lake")
        connection.register("macro_minute", naive.to_arrow())
        connection.execute(view_sql("dxy_synthetic_minute"))
        found = pl.from_arrow(connection.sql("SELECT * FROM dxy_synthetic_minute ORDER BY ts").to_arrow_table())
    if not isinstance(found, pl.DataFrame):
        raise TypeError("a table of columns was expected")
    return found.with_columns(pl.col("ts").cast(pl.Datetime("us")).dt.replace_time_zone("UTC"))
