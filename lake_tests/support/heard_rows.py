"""Live rows as the collector would have written them, from the trades of the simulated exchange, without a collector.

Belongs here: rows of minutes that heard every trade. Does not belong here: folding records (`lake_assets.live`), any
assertion.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import polars as pl

from lake_assets.lake import Lake
from lake_assets.live.row_files import LiveRows
from lake_assets.transforms.live.live_rows import LIVE_ROWS
from lake_assets.transforms.trade_columns import TRADE_FEATURES
from lake_assets.transforms.trades import trade_features
from lake_resources.binance.um_streams import AGG_TRADES

_BOOK = {
    "micro_price_close": 100.5,
    "avg_spread_usdt": 0.1,
    "bid_ask_imbalance": 0.25,
    "avg_bid_depth": 3.0,
    "avg_ask_depth": 5.0,
    "spread_pct": 0.001,
}


def hear(lake: Lake, symbols: Sequence[str], start: datetime, end: datetime) -> None:
    """Write live rows of `[start, end)`, whole minutes that are over; those that are there are replaced."""
    for symbol in symbols:
        LiveRows(lake.catalog).merge(symbol, heard(lake, symbol, start, end))


def heard(lake: Lake, symbol: str, start: datetime, end: datetime) -> pl.DataFrame:
    """The same rows, columns `LIVE_ROWS`, one per minute."""
    trades = lake.rest.fetch(AGG_TRADES, symbol, start, end)
    ids = trades.group_by(timestamp=pl.col("transact_time").dt.truncate("1m")).agg(
        first_agg_trade_id=pl.col("agg_trade_id").min(),
        last_agg_trade_id=pl.col("agg_trade_id").max(),
        agg_trades=pl.len().cast(pl.Int64),
    )
    minutes = pl.datetime_range(start, end, "1m", closed="left", time_zone="UTC", eager=True).cast(
        LIVE_ROWS["timestamp"]
    )
    rows = (
        minutes.alias("timestamp")
        .to_frame()
        .join(ids.cast({"timestamp": LIVE_ROWS["timestamp"]}), on="timestamp", how="left")
        .join(trade_features(trades), on="timestamp", how="left")
        .with_columns(pl.col("agg_trades").fill_null(0))
    )
    told = {**_BOOK, **{name: True for name, dtype in LIVE_ROWS.items() if dtype == pl.Boolean()}}
    known = {*TRADE_FEATURES, *rows.columns}
    return rows.select(
        pl.col(name)
        if name in known
        else pl.lit(told.get(name, 10 if name.endswith("_frames") else None), dtype=dtype).alias(name)
        for name, dtype in LIVE_ROWS.items()
    )
