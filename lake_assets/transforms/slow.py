"""As-of joins of slow series onto minutes, by what was knowable at the end of the minute.

Belongs here: metrics (every 5 minutes), funding settlements, and carrying any series forward for a limited time.
Does not belong here: series that have a row per minute (`assemble`).
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from lake_assets.schema.minute_columns import COLUMNS
from lake_resources.binance.um_streams import METRICS

_TIMESTAMP = pl.Datetime("us", "UTC")

METRICS_DELAY = pl.duration(minutes=5)
"""A metrics row is knowable 5 minutes after its create_time: since 2026-06-25 the label is the start of the period,
before it was the end; adding 5 minutes is right for the first and safe for the second (BTCUSDT and all others)."""

METRICS_COLUMNS = {wire: name for name, wire in COLUMNS.verbatim(METRICS.name).items()}
"""Wire column of `metrics` to column of the minute table. `count_` are ratios of accounts, and no integers."""


def carry_forward(
    series: pl.DataFrame, minutes: pl.DataFrame, columns: Sequence[str], max_minutes: int
) -> pl.DataFrame:
    """The last non-NULL value of each column at or before each minute, not older than a limit.

    Args:
        series: `timestamp` (minute from which the values are known, UTC) and the columns; sorted, may repeat a minute.
        minutes: one column `timestamp`, sorted, without repetition.
        columns: columns to carry, each for itself.
        max_minutes: a value of that many minutes ago still counts, an older one does not.

    Returns:
        One row per minute: `timestamp` and the columns.
    """
    known = series.select(pl.col("timestamp").cast(_TIMESTAMP), *columns, _asked=pl.lit(value=False))
    asked = minutes.select("timestamp", _asked=pl.lit(value=True))
    timeline = pl.concat([known, asked], how="diagonal").sort("timestamp", "_asked", maintain_order=True)
    limit = pl.duration(minutes=max_minutes)
    fresh = [
        pl.when(
            pl.col("timestamp") - pl.when(pl.col(name).is_not_null()).then("timestamp").forward_fill() <= limit
        ).then(pl.col(name).forward_fill())
        for name in columns
    ]
    return (
        timeline.with_columns(expr.alias(name) for name, expr in zip(columns, fresh, strict=True))
        .filter("_asked")
        .select("timestamp", *columns)
    )


def metrics_by_minute(metrics: pl.DataFrame, minutes: pl.DataFrame, max_minutes: int) -> pl.DataFrame:
    """Open interest and long/short ratios as known in each minute.

    A row counts from the minute in which `create_time` + 5 min falls, and is carried up to `max_minutes` after it.

    Args:
        metrics: wire frame of `metrics`, in any order, repeated rows allowed, with look-back before the first minute.
        minutes: one column `timestamp`, sorted, without repetition.
        max_minutes: the limit, inclusive.

    Returns:
        One row per minute: `timestamp` and the columns `METRICS_COLUMNS` names.
    """
    values = list(METRICS_COLUMNS)
    available = pl.col("create_time").cast(_TIMESTAMP) + METRICS_DELAY
    known = (
        metrics.select("create_time", pl.col(values).cast(pl.Float64).fill_nan(None))
        .sort("create_time", *values)
        .select(available.dt.truncate("1m").alias("timestamp"), pl.col(values).name.map(METRICS_COLUMNS.__getitem__))
    )
    return carry_forward(known, minutes, list(METRICS_COLUMNS.values()), max_minutes)


def funding_by_minute(funding_rate: pl.DataFrame, minutes: pl.DataFrame) -> pl.DataFrame:
    """The last settled funding rate of each minute: a step, held until the next settlement that is known.

    The settlement time carries some ms of jitter and is rounded to the minute. Binance lengthens intervals by rule, so
    each rate is held for as long as its column declares, which is the longest interval there is and one hour; whether
    a settlement is missed in between is a matter of evidence (`inputs.row_evidence`).

    Args:
        funding_rate: wire frame of `funding_rate`, in any order, repeated rows allowed, with look-back.
        minutes: one column `timestamp`, sorted, without repetition.

    Returns:
        One row per minute: `timestamp` and `funding_rate` (fraction per interval).
    """
    settled = pl.col("settled")
    settlements = (
        funding_rate.select(
            pl.col("calc_time").cast(_TIMESTAMP).dt.round("1m").alias("settled"),
            pl.col("funding_interval_hours").cast(pl.Int64),
            pl.col("last_funding_rate").cast(pl.Float64).fill_nan(None).alias("funding_rate"),
        )
        .drop_nulls("funding_rate")
        # NULL sorts first: of a REST row and an archive row the latter, which knows the interval, is kept.
        .sort("settled", "funding_interval_hours", "funding_rate")
        .unique("settled", keep="last", maintain_order=True)
    )
    held = pl.col("timestamp") - settled <= COLUMNS.column("funding_rate").carried_for
    return (
        minutes.select("timestamp")
        .join_asof(settlements.set_sorted("settled"), left_on="timestamp", right_on="settled", strategy="backward")
        .select("timestamp", pl.when(held).then("funding_rate"))
    )
