"""In which minutes live rows hold every trade: the proof, from ids and from the exchange's own count.

Belongs here: the proof. Does not belong here: reading rows (`live.row_files`), using it (`assemble`).
Binance numbers the aggTrades of a symbol without holes, and its kline says how many single trades a minute had. That
other streams of the socket live proves nothing: a single stream can fall silent.
"""

from __future__ import annotations

from datetime import datetime

import polars as pl

from lake_resources.spans import rows_within

_FIRST, _LAST = pl.col("first_agg_trade_id"), pl.col("last_agg_trade_id")


def trade_coverage(rows: pl.DataFrame, counts: pl.DataFrame, start: datetime, end: datetime) -> pl.DataFrame:
    """For each minute of `[start, end)`: were all its aggTrades heard, or healed?

    A minute is covered when its own ids are contiguous, no id is missing between it and the nearest trades known before
    and after it, and either both of these are known or its kline counts as many single trades as were heard (also
    none). A jump of ids counts against all minutes it may have happened in.

    Args:
        rows: columns `LIVE_ROWS`, of the window and of some minutes before and after it; each minute once.
        counts: `timestamp` (UTC) and `trade_count` of the klines that are known, each minute once.
        start: first minute, UTC.
        end: first minute after the window.

    Returns:
        `timestamp` (UTC) and `has_agg_trades`, one row per minute of the window, those without a live row included.
    """
    stamp = rows.schema["timestamp"]
    every = pl.datetime_range(start, end, "1m", closed="left", time_zone="UTC", eager=True).cast(stamp)
    known = rows.select("timestamp", "agg_trades", "first_agg_trade_id", "last_agg_trade_id", "raw_trade_count")
    minutes = pl.concat([known, every.alias("timestamp").to_frame()], how="diagonal").unique("timestamp", keep="first")
    klines = counts.select(pl.col("timestamp").cast(stamp), kline_count="trade_count")
    traded = pl.col("agg_trades").fill_null(0) > 0
    before, after = _LAST.forward_fill().shift(1), _FIRST.backward_fill().shift(-1)
    left = pl.when(traded).then(before + 1 == _FIRST).otherwise(after == before + 1)
    right = pl.when(traded).then(after == _LAST + 1).otherwise(after == before + 1)
    whole = pl.when(traded).then(pl.col("agg_trades") == _LAST - _FIRST + 1).otherwise(pl.lit(value=True))
    counted = pl.col("raw_trade_count").fill_null(0) == pl.col("kline_count")
    coverage = (
        minutes.lazy()
        .join(klines.lazy(), on="timestamp", how="left")
        .sort("timestamp")
        .select("timestamp", whole=whole, left=left, right=right, counted=counted)
        .select(
            "timestamp",
            has_agg_trades=pl.col("whole")
            & pl.col("left").fill_null(value=True)
            & pl.col("right").fill_null(value=True)
            & (pl.col("counted").fill_null(value=False) | (pl.col("left") & pl.col("right")).fill_null(value=False)),
        )
    )
    # One query without any reordering of its steps: each by itself takes as long as all of them.
    return rows_within(coverage.collect(optimizations=pl.QueryOptFlags.none()), "timestamp", start, end)
