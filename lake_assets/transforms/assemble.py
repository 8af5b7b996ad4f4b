"""The 66 columns of the minute table from the streams of any window.

Belongs here: joining the streams, the NULL-or-0 rule, derived columns, NULL where aggTrades of a minute are lost.
Does not belong here: aggregation of ticks (`trades`, `book`), verdicts (`validation`), where inputs come from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from lake_assets.schema.minute_columns import COLUMNS
from lake_assets.transforms.book import BOOK_FEATURES, CARRIED
from lake_assets.transforms.live.live_rows import LIVE_INPUT, NEVER_NULL_FLAGS
from lake_assets.transforms.slow import carry_forward, funding_by_minute, metrics_by_minute
from lake_assets.transforms.trade_columns import TRADE_FEATURES
from lake_resources.binance.um_streams import AGG_TRADES, KLINES_1M
from lake_resources.spans import within

_TIMESTAMP = pl.Datetime("us", "UTC")

COVERAGE_SCHEMA: dict[str, pl.DataType] = {
    "hour": _TIMESTAMP,
    "trades_filed": pl.Boolean(),
    "book_filed": pl.Boolean(),
}
"""What `assemble` reads of the coverage: hours not listed are not covered, further columns are ignored."""

BARS = tuple(
    dict.fromkeys(
        column.stream
        for column in COLUMNS.columns
        if column.wire and column.quiet != "carried" and column.stream != KLINES_1M.name
    )
)
"""Streams beside the klines that have a row per minute, and whose columns are taken as they are."""

_ZERO_WITHOUT_TRADES = [column.name for column in COLUMNS.of_stream(AGG_TRADES.name, "zero")]
_FROM_TRADES = [column.name for column in COLUMNS.of_stream(AGG_TRADES.name)]
_FLOATS = [column.name for column in COLUMNS.columns if column.dtype == pl.Float64]


@dataclass(frozen=True)
class MinuteInputs:
    """All streams of a window, as they are: rows outside the window do no harm.

    Attributes:
        start: first minute of the window, UTC.
        end: first minute after it, UTC (half-open).
        klines: wire frame of `klines_1m`, closed candles only.
        bars: wire frames of the streams in `BARS`; one that is not there, or None, has no source.
        trades: `trade_features`, or None.
        book: `book_features`, with `max_ffill_minutes` of look-back before `start`, or None.
        metrics: wire frame of `metrics`, with `max_ffill_minutes` + 5 minutes of look-back, or None.
        funding: wire frame of `funding_rate`, with 9 hours of look-back (one settlement more where the interval is not
            published), or None.
        coverage: one row per hour, see `COVERAGE_SCHEMA`: was the source of these ticks there for the hour?
        live: what a collector knows of its minutes, columns `LIVE_INPUT`, with the look-back of `book`; or None
            where there was none. Its book features count in minutes that `book` does not have; `trades` must hold the
            features of the minutes in which it says `has_agg_trades`.
    """

    start: datetime
    end: datetime
    klines: pl.DataFrame
    bars: Mapping[str, pl.DataFrame | None]
    trades: pl.DataFrame | None
    book: pl.DataFrame | None
    metrics: pl.DataFrame | None
    funding: pl.DataFrame | None
    coverage: pl.DataFrame
    live: pl.DataFrame | None = None


def assemble(inputs: MinuteInputs, *, max_ffill_minutes: int = 60) -> pl.DataFrame:
    """Build the rows of the minute table for a window.

    One row per minute that has a kline. Klines that repeat each other count once; klines of one minute that contradict
    each other all come out, so that the gate sees them. NaN and infinity become NULL. Columns that only a collector can
    fill are NULL where it was not there.

    Args:
        inputs: the streams.
        max_ffill_minutes: how long open interest, ratios and book features are carried, inclusive.

    Returns:
        Exactly the 66 columns of the minute table, sorted by `timestamp` (UTC).
    """
    base = _klines(inputs)
    minutes = base.select("timestamp").unique().sort("timestamp")
    live = pl.DataFrame(schema=LIVE_INPUT) if inputs.live is None else inputs.live
    parts = [
        _covered(minutes, inputs.coverage, live),
        live.select("timestamp", *COLUMNS.collected),
        *(_verbatim(name, inputs.bars.get(name)) for name in BARS),
        _trades(inputs.trades),
        *_book(inputs.book, live, minutes, max_ffill_minutes),
        *([] if inputs.metrics is None else [metrics_by_minute(inputs.metrics, minutes, max_ffill_minutes)]),
        *([] if inputs.funding is None else [funding_by_minute(inputs.funding, minutes)]),
    ]
    joined = base
    for part in parts:
        joined = joined.join(part, on="timestamp", how="left", maintain_order="left")
    return _exact(_derived(_null_or_zero(joined)))


def _utc(column: str) -> pl.Expr:
    """Join keys are cast: polars refuses to join ms with us."""
    return pl.col(column).cast(_TIMESTAMP)


def _klines(inputs: MinuteInputs) -> pl.DataFrame:
    wire = COLUMNS.verbatim(KLINES_1M.name)
    rows = inputs.klines.select(_utc(wire.pop("timestamp")).alias("timestamp"), **wire).filter(
        within("timestamp", inputs.start, inputs.end)
    )
    if rows["timestamp"].is_sorted() and rows["timestamp"].is_unique().all():
        return rows
    return rows.unique().sort(rows.columns)


def _verbatim(stream: str, klines: pl.DataFrame | None) -> pl.DataFrame:
    wire = COLUMNS.verbatim(stream)
    if klines is None:
        return pl.DataFrame(schema={"timestamp": _TIMESTAMP} | dict.fromkeys(wire, pl.Float64()))
    rows = klines.select(_utc("open_time").alias("timestamp"), **wire)
    return rows if rows["timestamp"].is_unique().all() else rows.unique()


def _covered(minutes: pl.DataFrame, coverage: pl.DataFrame, live: pl.DataFrame) -> pl.DataFrame:
    hours = coverage.select(
        _utc("hour").alias("_hour"), _has_trades=pl.col("trades_filed"), _has_book=pl.col("book_filed")
    )
    return (
        minutes.with_columns(_hour=pl.col("timestamp").dt.truncate("1h"))
        .join(hours.unique("_hour"), on="_hour", how="left", maintain_order="left")
        .join(
            live.select("timestamp", "has_book_ticker", "has_agg_trades"),
            on="timestamp",
            how="left",
            maintain_order="left",
        )
        .with_columns(pl.col("_has_trades", "_has_book", "has_book_ticker", "has_agg_trades").fill_null(value=False))
        .select(
            "timestamp",
            _has_trades=pl.col("_has_trades") | pl.col("has_agg_trades"),
            _has_book=pl.col("_has_book") | pl.col("has_book_ticker"),
        )
    )


def _trades(features: pl.DataFrame | None) -> pl.DataFrame:
    columns = ("timestamp", "transact_time", *_ZERO_WITHOUT_TRADES, "agg_quantity", "agg_notional")
    frame = pl.DataFrame(schema=TRADE_FEATURES) if features is None else features
    return frame.select(columns).with_columns(_utc("timestamp"))


def _book(
    features: pl.DataFrame | None, live: pl.DataFrame, minutes: pl.DataFrame, max_ffill_minutes: int
) -> list[pl.DataFrame]:
    frame = pl.DataFrame(schema=BOOK_FEATURES) if features is None else features
    frame = frame.with_columns(_utc("timestamp"))
    heard = (
        live.filter(pl.col("has_book_ticker").fill_null(value=False))
        .select(frame.columns)
        .join(frame, on="timestamp", how="anti")
    )
    frame = pl.concat([frame, heard]).sort("timestamp")
    return [
        frame.select("timestamp", "micro_price_close"),
        carry_forward(frame, minutes, CARRIED, max_ffill_minutes),
    ]


def _null_or_zero(joined: pl.DataFrame) -> pl.DataFrame:
    """NULL = the source was not there. 0 = it was, and nothing happened."""
    has_trades, has_book = pl.col("_has_trades"), pl.col("_has_book")
    quantity, volume = pl.col("agg_quantity"), pl.col("volume_btc")
    return joined.with_columns(
        pl.when(has_trades).then(pl.col(_ZERO_WITHOUT_TRADES).fill_null(0)),
        pl.when(has_trades).then("transact_time"),
        pl.when(has_book).then(pl.col("micro_price_close", *CARRIED)),
        vwap_1m=pl.when(has_trades & (quantity > 0))
        .then(pl.col("agg_notional") / quantity)
        .when(~has_trades & (volume > 0))
        .then(pl.col("volume_usdt") / volume)
        .otherwise("close"),
    )


def _derived(joined: pl.DataFrame) -> pl.DataFrame:
    missing = [
        pl.lit(None, dtype=column.dtype).alias(column.name)
        for column in COLUMNS.columns
        if column.name not in joined.columns
    ]
    top, world = pl.col("top_trader_ls_ratio_acct"), pl.col("global_ls_ratio_acct")
    volume, taker_buy, trades = pl.col("volume_btc"), pl.col("taker_buy_vol_btc"), pl.col("trade_count")
    return joined.with_columns(missing).with_columns(
        avg_trade_size_btc=pl.when(trades == 0).then(0.0).otherwise(volume / trades),
        net_taker_vol_btc=2 * taker_buy - volume,
        taker_buy_ratio=pl.when(volume > 0).then(taker_buy / volume),
        ls_ratio_divergence=top - world,
        top_trader_long_pct=top / (1 + top),
        top_trader_short_pct=1 / (1 + top),
        has_ls_ratio=top.is_not_null() & world.is_not_null(),
        **{flag: pl.col(flag).fill_null(value=False) for flag in NEVER_NULL_FLAGS},
    )


def _exact(frame: pl.DataFrame) -> pl.DataFrame:
    finite = [pl.when(pl.col(name).is_finite()).then(pl.col(name)) for name in _FLOATS]
    return frame.select(COLUMNS.names).cast(COLUMNS.polars_schema).with_columns(finite)


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
