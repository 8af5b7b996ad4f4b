"""Rows of the spot tables: seconds from the exchange's klines and placed quotes, and klines as they are.

Belongs here: their formulas. Does not belong here: their columns (`schema`), folding trades (`trade_fold`), placing
quotes (`quote_placing`).
"""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from lake_assets.schema.second_columns import COLUMNS
from lake_assets.schema.table import Table
from lake_resources.binance.spot_streams import KLINES_1S

_MILLISECOND = timedelta(milliseconds=1)


def second_bars(symbol: str, klines: pl.DataFrame, quotes: pl.DataFrame) -> pl.DataFrame:
    """Bars of seconds; a second in which nothing was traded is a row with `trade_count` 0 and the close before it.

    Args:
        symbol: whose.
        klines: wire frame of `klines_1s`, sorted.
        quotes: as `quotes_at_ends` gives them for these bars, a row for each.

    Returns:
        The columns of the table without an order; `vwap` is the quote volume by the base volume, and the close where
        nothing was traded.
    """
    bars = klines.select(pl.col(wire).alias(name) for name, wire in COLUMNS.verbatim(KLINES_1S.name).items())
    traded, base = pl.col("trade_count") > 0, pl.col("volume_base")
    return pl.concat([bars, quotes], how="horizontal").with_columns(
        symbol=pl.lit(symbol),
        vwap=pl.when(base > 0).then(pl.col("volume_quote") / base).otherwise("close"),
        spread=pl.col("ask") - pl.col("bid"),
        has_trades=traded,
        has_quotes=pl.col("bid").is_not_null(),
    )


def candles(table: Table, klines: pl.DataFrame) -> pl.DataFrame:
    """Rows of a table of klines from wire klines of its stream.

    The end of a candle is computed: archives in microseconds end it at .999999, REST and archives before 2025 at .999,
    and the same candle must be the same row from each of them.
    """
    rows = klines.select(pl.col(wire).alias(name) for name, wire in table.verbatim(table.row_stream).items())
    return rows.with_columns(close_time=pl.col("open_time") + table.layout.grain - _MILLISECOND)
