"""Columns of what a minute takes from trades.

Belongs here: names and types, and the span that two of them are sums of. Does not belong here: how they are made
(`trades`): who only reads such rows starts without what that needs.
"""

from __future__ import annotations

import polars as pl

from lake_assets.schema.minute_columns import COLUMNS
from lake_resources.binance.um_streams import AGG_TRADES

TIMESTAMP = pl.Datetime("us", "UTC")
STRADDLE_US = 100_000
"""Binance merges fills of one taker order within 100 ms into one aggTrade, also over a minute edge."""

TRADE_FEATURES: dict[str, pl.DataType] = {
    "timestamp": TIMESTAMP,
    **{column.name: column.dtype for column in COLUMNS.of_stream(AGG_TRADES.name)},
    "agg_quantity": pl.Float64(),
    "agg_notional": pl.Float64(),
    "raw_trade_count": pl.Int64(),
    "head_quantity": pl.Float64(),
    "tail_quantity": pl.Float64(),
}
"""Columns of `trade_features`: those of the minute table by its names; then sum(q), sum(p q), the number of single
trades sum(last - first + 1), and the quantity within `STRADDLE_US` of the minute's start and of its end."""
TRADE_MINUTES: dict[str, pl.DataType] = TRADE_FEATURES | dict.fromkeys(
    ("first_price", "highest_price", "lowest_price", "last_price", "bought_quantity", "bought_notional"), pl.Float64()
)
"""Columns of `trade_minutes`: the features, then prices in the order of ids, and what takers bought."""
