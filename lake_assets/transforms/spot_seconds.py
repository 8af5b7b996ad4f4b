"""Rows of the table of spot seconds from the exchange's klines and placed quotes.

Belongs here: its formulas. Does not belong here: its columns (`schema.second_columns`), folding trades (`trade_fold`),
placing quotes (`quote_placing`).
"""

from __future__ import annotations

import polars as pl

_RENAMED = {
    "open_time": "window_start",
    "open": "open",
    "high": "high",
    "low": "low",
    "close": "close",
    "volume": "volume_base",
    "quote_volume": "volume_quote",
    "count": "trade_count",
    "taker_buy_volume": "taker_buy_base",
    "taker_buy_quote_volume": "taker_buy_quote",
}


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
    bars = klines.select(pl.col(wire).alias(name) for wire, name in _RENAMED.items())
    traded, base = pl.col("trade_count") > 0, pl.col("volume_base")
    return pl.concat([bars, quotes], how="horizontal").with_columns(
        symbol=pl.lit(symbol),
        vwap=pl.when(base > 0).then(pl.col("volume_quote") / base).otherwise("close"),
        spread=pl.col("ask") - pl.col("bid"),
        has_trades=traded,
        has_quotes=pl.col("bid").is_not_null(),
    )
