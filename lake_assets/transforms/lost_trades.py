"""Minutes of which aggTrades are lost: what is counted from the rest would be too little, so it is NULL.

Belongs here: undoing the tick columns of such minutes. Does not belong here: how a loss is noticed
(`inputs.trade_id_steps`), or a stream that is absent as a whole (`assemble`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import polars as pl

from lake_assets.schema.minute_columns import COLUMNS

_FROM_TRADES = [column.name for column in COLUMNS.of_stream("agg_trades")]


def without_lost_trades(rows: pl.DataFrame, gaps: Sequence[tuple[datetime, datetime]]) -> pl.DataFrame:
    """NULL in every column that needs all aggTrades of a minute, where some of them are lost.

    `vwap_1m` falls back to the klines, as where there are no aggTrades at all.

    Args:
        rows: rows of the minute table.
        gaps: times of the trades before and after each loss, UTC.

    Returns:
        The rows, in their order, with the columns of the minute table.
    """
    if not gaps or rows.is_empty():
        return rows
    lost = pl.any_horizontal(
        pl.col("timestamp").is_between(start.replace(second=0, microsecond=0), end) for start, end in gaps
    )
    volume = pl.col("volume_btc")
    by_klines = pl.when(volume > 0).then(pl.col("volume_usdt") / volume).otherwise("close")
    return rows.with_columns(
        *(pl.when(~lost).then(pl.col(name)).alias(name) for name in _FROM_TRADES),
        vwap_1m=pl.when(lost).then(by_klines).otherwise("vwap_1m"),
    )
