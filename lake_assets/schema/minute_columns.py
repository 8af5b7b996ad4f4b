"""The 66 columns of the minute table, each declared once and in order: 58 canonical ones, then 8 coverage flags.

Belongs here: name, type, unit, support class, source per band, fill policy, definition and bounds of each column.
Does not belong here: how a value is computed (`transforms`), or anything derived from the list (`tables`).
"""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from lake_assets.schema.column import (
    FRACTION,
    NOT_NEGATIVE,
    POSITIVE,
    SIGNED_FRACTION,
    UNBOUNDED,
    Bounds,
    Column,
    Group,
    SupportClass,
)

INT = pl.Int64()
FLOAT = pl.Float64()
BOOL = pl.Boolean()
MINUTE_START = pl.Datetime("us", "UTC")

EPOCH_MS = "ms since epoch, UTC"
BASE = "base asset"
QUOTE = "quote asset"
RATIO = "fraction 0..1"

Sources = tuple[str, str, str]
"""Source in the cold, warm and hot band."""

KLINES: Sources = ("klines",) * 3
DERIVED: Sources = ("derived",) * 3
AGG_TRADES: Sources = ("aggTrades", "aggTrades (48 h)", "aggTrades")
BOOK: Sources = ("bookTicker (2023-05-16 to 2024-03-30 only)", "-", "WS bookTicker")
MARK: Sources = ("markPriceKlines",) * 3
INDEX: Sources = ("indexPriceKlines", "indexPriceKlines (pair)", "indexPriceKlines (pair)")

NO_NULLS = "no nulls"
NO_NULLS_BUT_HOLES = "no nulls (known exchange holes excepted)"
ZERO_ALLOWED = "0 allowed"
ZERO_IF_NONE = "0 if none"
TICK_FILL = "0 if none; NULL if aggTrades absent"
NULL_IF_MISSING = "NULL if inputs missing"
LIQUIDATION_FILL = "as liq_long_vol_usdt"
BOOK_FILL = "filled forward up to max_ffill_minutes while the source is present; else NULL"
METRICS_FILL = (
    "known 5 minutes after its create_time; then filled forward up to max_ffill_minutes (60); then NULL with a warning"
)


def _live(hot_source: str) -> Sources:
    return "-", "-", hot_source


def _column(
    name: str,
    dtype: pl.DataType,
    unit: str,
    support_class: SupportClass,
    sources: Sources,
    fill_policy: str,
    definition: str,
    bounds: Bounds = UNBOUNDED,
    *,
    group: Group = "canonical",
    nullable: bool | None = None,
) -> Column:
    """A column whose position is given by its place in the list."""
    if nullable is None:
        nullable = support_class != "HARD_REQUIRED"
    return Column(0, name, dtype, unit, support_class, *sources, fill_policy, definition, group, bounds, nullable)


def _hard(
    name: str, sources: Sources, fill: str, definition: str, unit: str = "USDT", dtype: pl.DataType = FLOAT
) -> Column:
    bounds = NOT_NEGATIVE if fill == ZERO_ALLOWED else POSITIVE
    return _column(name, dtype, unit, "HARD_REQUIRED", sources, fill, definition, bounds)


def _backfill(
    name: str, dtype: pl.DataType, unit: str, sources: Sources, fill: str, definition: str, bounds: Bounds
) -> Column:
    return _column(name, dtype, unit, "BACKFILL_AVAILABLE", sources, fill, definition, bounds)


def _tick(name: str, dtype: pl.DataType, unit: str, definition: str, fill: str = TICK_FILL) -> Column:
    return _backfill(name, dtype, unit, AGG_TRADES, fill, definition, NOT_NEGATIVE)


def _taker(name: str, unit: str, definition: str, bounds: Bounds = NOT_NEGATIVE) -> Column:
    return _backfill(name, FLOAT, unit, KLINES, ZERO_IF_NONE, definition, bounds)


def _live_only(
    name: str,
    dtype: pl.DataType,
    unit: str,
    hot_source: str,
    fill: str,
    definition: str,
    bounds: Bounds = UNBOUNDED,
) -> Column:
    return _column(name, dtype, unit, "LIVE_ONLY", _live(hot_source), fill, definition, bounds)


def _liquidation(
    name: str, dtype: pl.DataType, unit: str, fill: str, definition: str, bounds: Bounds = NOT_NEGATIVE
) -> Column:
    return _live_only(name, dtype, unit, "WS forceOrder", fill, definition, bounds)


def _metric(name: str, unit: str, cold: str, rest: str, definition: str, bounds: Bounds = NOT_NEGATIVE) -> Column:
    retention = "" if unit == RATIO else " (30 d)"
    return _backfill(name, FLOAT, unit, (cold, rest + retention, rest), METRICS_FILL, definition, bounds)


def _flag(
    name: str,
    sources: Sources,
    fill: str,
    definition: str,
    support_class: SupportClass = "LIVE_ONLY",
) -> Column:
    nullable = fill != "never NULL"
    return _column(name, BOOL, "", support_class, sources, fill, definition, group="coverage", nullable=nullable)


def _notional_volume(name: str, side: str, condition: str) -> Column:
    return _tick(
        name,
        FLOAT,
        BASE,
        f"sum of q of aggTrades with is_buyer_maker = {side} and {condition} (both bounds inclusive, USDT notional)",
    )


_EVENTS_AND_PRICES = (
    _live_only(
        "event_time", INT, EPOCH_MS, "WS depth E", "NULL if not collected",
        "latest exchange event time E among the depth events of the minute", POSITIVE,
    ),
    _backfill(
        "transact_time", INT, EPOCH_MS, ("aggTrades T", "aggTrades T (48 h)", "WS/REST aggTrades T"),
        "NULL if no trade", "latest aggTrade time T in the minute; never a depth time", POSITIVE,
    ),
    _live_only(
        "arrival_time", INT, EPOCH_MS, "local clock at the socket", "NULL if not collected",
        "latest local receive time among the depth events of the minute", POSITIVE,
    ),
    _live_only(
        "latency_engine", INT, "ms", "WS depth E - T", NULL_IF_MISSING,
        "95th percentile (nearest rank, ceil(0.95 n)) of E - T over the minute's depth events",
    ),
    _live_only(
        "latency_network", INT, "ms", "arrival - WS depth E", NULL_IF_MISSING,
        "95th percentile (nearest rank) of arrival - E; negative under clock skew: kept",
    ),
    _live_only(
        "update_id_start", INT, "id", "WS depth U", "NULL if no depth",
        "smallest U of the minute; never filled forward", NOT_NEGATIVE,
    ),
    _live_only(
        "update_id_end", INT, "id", "WS depth u", "NULL if no depth",
        "largest u of the minute; never filled forward", NOT_NEGATIVE,
    ),
    _column(
        "timestamp", MINUTE_START, "minute start", "HARD_REQUIRED", KLINES, NO_NULLS,
        "UTC start of the minute; bucket is timestamp <= event < timestamp + 60 s",
    ),
    _hard("open", KLINES, NO_NULLS, "kline open, verbatim"),
    _hard("high", KLINES, NO_NULLS, "kline high, verbatim"),
    _hard("low", KLINES, NO_NULLS, "kline low, verbatim"),
    _hard("close", KLINES, NO_NULLS, "kline close, verbatim"),
    _backfill(
        "vwap_1m", FLOAT, "USDT", ("aggTrades, else klines", "aggTrades (48 h), else klines", "aggTrades, else klines"),
        "close if no volume",
        "sum(p q)/sum(q) over aggTrades; without aggTrades volume_usdt/volume_btc; with zero volume close; never NaN",
        POSITIVE,
    ),
    _backfill(
        "micro_price_close", FLOAT, "USDT", BOOK, "NULL if no snapshot; never filled",
        "(bid ask_qty + ask bid_qty)/(bid_qty + ask_qty) of the last bookTicker in the minute; "
        "NULL if both quantities are 0",
        NOT_NEGATIVE,  # 0 while one side of the book is empty
    ),
)  # fmt: skip

_TRADES = (
    _hard(
        "volume_btc", KLINES, ZERO_ALLOWED,
        "kline base volume (base asset of any symbol, whatever the name says)", BASE,
    ),
    _hard("volume_usdt", KLINES, ZERO_ALLOWED, "kline quote volume", QUOTE),
    _hard(
        "trade_count", KLINES, ZERO_ALLOWED, "kline number of trades (individual trades, not aggTrades)", "trades",
        INT,
    ),
    _backfill(
        "avg_trade_size_btc", FLOAT, BASE, DERIVED, "0 if trade_count = 0", "volume_btc/trade_count", NOT_NEGATIVE
    ),
    _tick("max_trade_size_btc", FLOAT, BASE, "largest aggTrade quantity"),
    _taker(
        "taker_buy_vol_btc", BASE, "kline taker buy base volume (klines only: aggTrades differ at minute edges)"
    ),
    _taker("taker_buy_vol_usdt", QUOTE, "kline taker buy quote volume"),
    _taker("net_taker_vol_btc", BASE, "2 taker_buy_vol_btc - volume_btc", UNBOUNDED),
    _tick("count_buy_trades", INT, "aggTrades", "aggTrades with is_buyer_maker = false"),
    _tick("count_sell_trades", INT, "aggTrades", "aggTrades with is_buyer_maker = true"),
    _backfill(
        "taker_buy_ratio", FLOAT, RATIO, KLINES, "NULL if volume = 0", "taker_buy_vol_btc/volume_btc", FRACTION
    ),
    _notional_volume("vol_buy_whale_btc", "false", "p q >= 100000"),
    _notional_volume("vol_sell_whale_btc", "true", "p q >= 100000"),
    _notional_volume("vol_buy_retail_btc", "false", "p q <= 1000"),
    _notional_volume("vol_sell_retail_btc", "true", "p q <= 1000"),
    _tick("whale_trade_count", INT, "aggTrades", "aggTrades with p q >= 100000"),
    _tick(
        "realized_vol_1m", FLOAT, "log return",
        "sqrt(sum(ln(p_i/p_(i-1))^2)) within the minute, ticks ordered by aggTrade id",
        "0 if fewer than 2 ticks; NULL if aggTrades absent",
    ),
)  # fmt: skip

_LIQUIDATIONS = (
    _liquidation(
        "liq_long_vol_usdt", FLOAT, "USDT", "NULL unless the collector was alive all minute; then 0 if none",
        "sum(price z) of side SELL; price = ap, or p where ap <= 0; z = accumulated fill",
    ),
    _liquidation("liq_short_vol_usdt", FLOAT, "USDT", LIQUIDATION_FILL, "the same for side BUY"),
    _liquidation(
        "liq_long_count", INT, "orders", LIQUIDATION_FILL,
        "forceOrders of side SELL (the stream samples one per symbol and second: a lower bound)",
    ),
    _liquidation("liq_short_count", INT, "orders", LIQUIDATION_FILL, "forceOrders of side BUY"),
    _liquidation("liq_avg_fill_price", FLOAT, "USDT", "NULL without events", "sum(price z)/sum(z)", POSITIVE),
    _liquidation(
        "liq_unfilled_ratio", FLOAT, RATIO, "NULL without events or without q and z", "sum(max(q - z, 0))/sum(q)",
        FRACTION,
    ),
)  # fmt: skip

_BOOK = (
    _backfill(
        "avg_spread_usdt", FLOAT, "USDT", BOOK, BOOK_FILL, "mean of ask - bid over the minute's updates", UNBOUNDED
    ),
    _backfill(
        "bid_ask_imbalance", FLOAT, "-1..1", BOOK, BOOK_FILL,
        "mean of (bid_qty - ask_qty)/(bid_qty + ask_qty); updates with both 0 left out", SIGNED_FRACTION,
    ),
    _backfill("avg_bid_depth", FLOAT, BASE, BOOK, BOOK_FILL, "mean best bid quantity", NOT_NEGATIVE),
    _backfill("avg_ask_depth", FLOAT, BASE, BOOK, BOOK_FILL, "mean best ask quantity", NOT_NEGATIVE),
    _backfill(
        "spread_pct", FLOAT, "fraction", BOOK, BOOK_FILL, "mean of (ask - bid)/mid; a fraction, not a percentage",
        UNBOUNDED,
    ),
    _live_only(
        "price_impact_100k", FLOAT, "fraction", "local L2 book", "NULL unless the book was in sync; never filled",
        "(average execution price - mid)/mid of a 100000 USDT market buy on the last synchronised book of the minute; "
        "NULL if it cannot be filled",
        NOT_NEGATIVE,
    ),
)  # fmt: skip

_SLOW = (
    _metric(
        "oi_contracts", BASE, "metrics sum_open_interest", "openInterestHist",
        "open interest, as published (never divided by anything)",
    ),
    _metric(
        "oi_value_usdt", "USDT", "metrics sum_open_interest_value", "openInterestHist",
        "open interest value, as published",
    ),
    _metric(
        "top_trader_ls_ratio_acct", "ratio", "metrics count_toptrader_long_short_ratio", "topLongShortAccountRatio",
        "top trader long/short ratio by accounts",
    ),
    _metric(
        "global_ls_ratio_acct", "ratio", "metrics count_long_short_ratio", "globalLongShortAccountRatio",
        "global long/short ratio by accounts",
    ),
    _backfill(
        "ls_ratio_divergence", FLOAT, "ratio", DERIVED, "NULL unless both",
        "top_trader_ls_ratio_acct - global_ls_ratio_acct", UNBOUNDED,
    ),
    _metric(
        "top_trader_long_pct", RATIO, "metrics", "topLongShortAccountRatio",
        "r/(1 + r) of top_trader_ls_ratio_acct", FRACTION,
    ),
    _metric("top_trader_short_pct", RATIO, "metrics", "topLongShortAccountRatio", "1/(1 + r)", FRACTION),
    _hard("mark_price_open", MARK, NO_NULLS_BUT_HOLES, "mark price open of the minute"),
    _hard("mark_price_close", MARK, NO_NULLS_BUT_HOLES, "mark price close of the minute"),
    _hard("index_price_open", INDEX, NO_NULLS_BUT_HOLES, "index price open of the minute"),
    _hard("index_price_close", INDEX, NO_NULLS_BUT_HOLES, "index price close of the minute"),
    _backfill(
        "premium_index", FLOAT, "fraction", ("premiumIndexKlines",) * 3, "NULL where not published",
        # No bounds: in a squeeze the exchange publishes more than 1, and an hour is not refused over it.
        "close of the published premium index kline (mark/index - 1 is basis, another quantity)", UNBOUNDED,
    ),
    _backfill(
        "funding_rate", FLOAT, "fraction per interval", ("fundingRate (monthly) or REST", "fundingRate", "fundingRate"),
        "step function: the last settled rate, up to its interval + 1 h",
        "last settled rate at or before the minute; never the running estimate", SIGNED_FRACTION,
    ),
    _live_only(
        "predicted_funding", FLOAT, "fraction per interval",
        "WS markPrice r, or premiumIndex.lastFundingRate polled in that minute", "NULL historically",
        "last running estimate seen in the minute", SIGNED_FRACTION,
    ),
    _live_only(
        "next_funding_time", INT, EPOCH_MS, "WS markPrice T, or premiumIndex.nextFundingTime polled in that minute",
        "NULL historically; 0 becomes NULL", "next settlement seen in the minute", POSITIVE,
    ),
)  # fmt: skip

_FLAGS = (
    _flag(
        "has_ws_latency", ("false", "false", "depth events"), "never NULL",
        "at least one depth event of the minute has E, T and a receive time",
    ),
    _flag(
        "has_depth", ("false", "false", "depth events"), "never NULL",
        "at least one depth event arrived in the minute",
    ),
    _flag(
        "has_liq", ("false", "false", "collector liveness"), "never NULL",
        "the forceOrder collector was provably alive for the whole minute",
    ),
    _flag(
        "has_ls_ratio", ("metrics", "REST", "REST"), "never NULL",
        "both ratios are present after their fill limit", "BACKFILL_AVAILABLE",
    ),
    _flag(
        "ws_latency_bad", _live("latency_*"), "NULL if has_ws_latency is false",
        "latency_engine > 500 or latency_network > 500 (the percentiles)",
    ),
    _flag(
        "liq_unfilled_supported", _live("forceOrder"), "NULL if has_liq is false",
        "every event of the minute carried q and z",
    ),
    _flag(
        "impact_fillable", _live("local L2 book"), "NULL until the book was in sync",
        "the 100000 USDT buy could be filled",
    ),
    _flag(
        "depth_degraded", _live("local L2 book"), "NULL if has_depth is false",
        "a resync or continuity break in the minute, or not fillable, or spread over 2 % of mid",
    ),
)  # fmt: skip

COLUMNS: tuple[Column, ...] = tuple(
    replace(column, position=position)
    for position, column in enumerate(
        (*_EVENTS_AND_PRICES, *_TRADES, *_LIQUIDATIONS, *_BOOK, *_SLOW, *_FLAGS),
        start=1,
    )
)
