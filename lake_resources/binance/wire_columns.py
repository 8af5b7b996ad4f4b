"""Columns of rows as Binance publishes them, by Binance's own names, the same from REST and from the archives.

Belongs here: names and types of a stream's wire frame. Does not belong here: the streams, any column of the lake.
"""

from __future__ import annotations

import polars as pl

UTC_US = pl.Datetime("us", "UTC")

KLINE_COLUMNS: dict[str, pl.DataType] = {
    "open_time": UTC_US,
    "open": pl.Float64(),
    "high": pl.Float64(),
    "low": pl.Float64(),
    "close": pl.Float64(),
    "volume": pl.Float64(),
    "close_time": UTC_US,
    "quote_volume": pl.Float64(),
    "count": pl.Int64(),
    "taker_buy_volume": pl.Float64(),
    "taker_buy_quote_volume": pl.Float64(),
}
AGG_TRADE_COLUMNS: dict[str, pl.DataType] = {
    "agg_trade_id": pl.Int64(),
    "price": pl.Float64(),
    "quantity": pl.Float64(),
    "first_trade_id": pl.Int64(),
    "last_trade_id": pl.Int64(),
    "transact_time": UTC_US,
    "is_buyer_maker": pl.Boolean(),
}
TRADE_COLUMNS: dict[str, pl.DataType] = {
    "id": pl.Int64(),
    "price": pl.Float64(),
    "qty": pl.Float64(),
    "quote_qty": pl.Float64(),
    "time": UTC_US,
    "is_buyer_maker": pl.Boolean(),
}
BOOK_TICKER_COLUMNS: dict[str, pl.DataType] = {
    "update_id": pl.Int64(),
    "best_bid_price": pl.Float64(),
    "best_bid_qty": pl.Float64(),
    "best_ask_price": pl.Float64(),
    "best_ask_qty": pl.Float64(),
    "transaction_time": UTC_US,
    "event_time": UTC_US,
}
BOOK_DEPTH_COLUMNS: dict[str, pl.DataType] = {
    "timestamp": UTC_US,
    "percentage": pl.Float64(),
    "depth": pl.Float64(),
    "notional": pl.Float64(),
}
METRICS_COLUMNS: dict[str, pl.DataType] = {
    "create_time": UTC_US,
    "symbol": pl.String(),
    "sum_open_interest": pl.Float64(),
    "sum_open_interest_value": pl.Float64(),
    "count_toptrader_long_short_ratio": pl.Float64(),
    "sum_toptrader_long_short_ratio": pl.Float64(),
    "count_long_short_ratio": pl.Float64(),
    "sum_taker_long_short_vol_ratio": pl.Float64(),
}
FUNDING_RATE_COLUMNS: dict[str, pl.DataType] = {
    "calc_time": UTC_US,
    "funding_interval_hours": pl.Int64(),
    "last_funding_rate": pl.Float64(),
}
