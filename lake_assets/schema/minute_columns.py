"""The 66 columns of the minute table, each declared once and in order: 58 canonical ones, then 8 coverage flags.

Belongs here: all that is said of a column by its name: type, unit, class, stream, sources per band, fill policy,
definition, bounds, how it rolls up. Does not belong here: how a value is computed (`transforms`), or anything that
follows from the list (`table`).
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import polars as pl

from lake_assets.schema.column import (
    FRACTION,
    LIVE,
    NOT_NEGATIVE,
    POSITIVE,
    SIGNED_FRACTION,
    Column,
    Sources,
)
from lake_assets.schema.column_set import ColumnSet, numbered
from lake_assets.schema.rolling import (
    ALL_TRUE,
    ANY_TRUE,
    BAR_START,
    EARLIEST,
    FIRST,
    HIGHEST,
    LAST,
    LATEST,
    LOWEST,
    MEAN,
    NOT_DERIVABLE,
    SUM,
    Rollup,
    if_known,
    ratio,
)

INT = pl.Int64()
FLOAT = pl.Float64()
BOOL = pl.Boolean()
MINUTE_START = pl.Datetime("us", "UTC")

EPOCH_MS = "ms since epoch, UTC"
BASE = "base asset"
QUOTE = "quote asset"
RATIO = "fraction 0..1"

KLINES: Sources = ("klines",) * 3
AGG_TRADES: Sources = ("aggTrades", "aggTrades (48 h)", "aggTrades")
BOOK: Sources = ("bookTicker (2023-05-16 to 2024-03-30 only)", "-", "WS bookTicker")

NO_NULLS = "no nulls"
ZERO_IF_NONE = "0 if none"
NULL_IF_MISSING = "NULL if inputs missing"
LIQUIDATION_FILL = "as liq_long_vol_usdt"
METRICS_FILL = (
    "known 5 minutes after its create_time; then filled forward up to max_ffill_minutes (60); then NULL with a warning"
)

# Columns of one stream share what they inherit from it; each names the rest.
_kline = partial(Column, stream="klines_1m", quiet="always", sources=KLINES)
_price = partial(_kline, dtype=FLOAT, unit="USDT", support_class="HARD_REQUIRED", fill_policy=NO_NULLS, bounds=POSITIVE)
_amount = partial(
    _kline, support_class="HARD_REQUIRED", fill_policy="0 allowed", bounds=NOT_NEGATIVE, role="volume", rollup=SUM
)
_taker = partial(_kline, dtype=FLOAT, support_class="BACKFILL_AVAILABLE", bounds=NOT_NEGATIVE, rollup=SUM)
_trade = partial(
    Column, stream="agg_trades", witness="count_buy_trades", support_class="BACKFILL_AVAILABLE", bounds=NOT_NEGATIVE
)
_tick = partial(_trade, sources=AGG_TRADES, quiet="zero", fill_policy="0 if none; NULL if aggTrades absent", rollup=SUM)
_top = partial(Column, stream="book_ticker", support_class="BACKFILL_AVAILABLE", dtype=FLOAT, sources=BOOK)
_book = partial(
    _top, quiet="carried", rollup=MEAN,
    fill_policy="filled forward up to max_ffill_minutes while the source is present; else NULL",
)  # fmt: skip
_metric = partial(
    Column, stream="metrics", quiet="carried", support_class="BACKFILL_AVAILABLE", dtype=FLOAT, bounds=NOT_NEGATIVE,
    fill_policy=METRICS_FILL, rollup=LAST,
)  # fmt: skip
_live = partial(Column, stream=LIVE, quiet="null", support_class="LIVE_ONLY")
_depth = partial(_live, witness="has_depth")
_latency = partial(_live, dtype=INT, unit="ms", witness="has_ws_latency", rollup=NOT_DERIVABLE)
_liquidation = partial(
    _live, witness="has_liq", quiet="zero", sources=("-", "-", "WS forceOrder"), bounds=NOT_NEGATIVE, rollup=SUM
)
_reference_price = partial(
    Column, dtype=FLOAT, unit="USDT", support_class="HARD_REQUIRED", bounds=POSITIVE, hole_excuses=True,
    fill_policy="no nulls (known exchange holes excepted)", quiet="always",
)  # fmt: skip
_mark = partial(_reference_price, stream="mark_price_klines_1m", sources=("markPriceKlines",) * 3)
_index = partial(
    _reference_price, stream="index_price_klines_1m",
    sources=("indexPriceKlines", "indexPriceKlines (pair)", "indexPriceKlines (pair)"),
)  # fmt: skip
_flag = partial(Column, dtype=BOOL, unit="", group="coverage", quiet="always", rollup=ALL_TRUE)
_never_null = partial(_flag, fill_policy="never NULL", never_null=True)
_sometimes = partial(_flag, support_class="LIVE_ONLY", stream=LIVE)


def _of_notional(side: str, condition: str) -> str:
    return f"sum of q of aggTrades with is_buyer_maker = {side} and {condition} (both bounds inclusive, USDT notional)"


def _avg_fill_price(_: str) -> pl.Expr:
    # A minute's quantity is its notional over its average price.
    notional = pl.col("liq_long_vol_usdt") + pl.col("liq_short_vol_usdt")
    quantity = (notional / pl.col("liq_avg_fill_price")).sum()
    value = pl.when(quantity > 0).then(notional.sum() / quantity)
    return if_known(value, "liq_long_vol_usdt", "liq_short_vol_usdt")


_EVENTS_AND_PRICES = (
    _depth(
        name="event_time", dtype=INT, unit=EPOCH_MS, sources=("-", "-", "WS depth E"), bounds=POSITIVE, rollup=LATEST,
        fill_policy="NULL if not collected",
        definition="latest exchange event time E among the depth events of the minute",
    ),
    _trade(
        name="transact_time", dtype=INT, unit=EPOCH_MS, quiet="null", bounds=POSITIVE, rollup=LATEST,
        sources=("aggTrades T", "aggTrades T (48 h)", "WS/REST aggTrades T"), fill_policy="NULL if no trade",
        definition="latest aggTrade time T in the minute; never a depth time",
    ),
    _depth(
        name="arrival_time", dtype=INT, unit=EPOCH_MS, sources=("-", "-", "local clock at the socket"),
        bounds=POSITIVE, rollup=LATEST, fill_policy="NULL if not collected",
        definition="latest local receive time among the depth events of the minute",
    ),
    _latency(
        name="latency_engine", sources=("-", "-", "WS depth E - T"), fill_policy=NULL_IF_MISSING,
        definition="95th percentile (nearest rank, ceil(0.95 n)) of E - T over the minute's depth events",
    ),
    _latency(
        name="latency_network", sources=("-", "-", "arrival - WS depth E"), fill_policy=NULL_IF_MISSING,
        definition="95th percentile (nearest rank) of arrival - E; negative under clock skew: kept",
    ),
    _depth(
        name="update_id_start", dtype=INT, unit="id", sources=("-", "-", "WS depth U"), bounds=NOT_NEGATIVE,
        rollup=EARLIEST, fill_policy="NULL if no depth", definition="smallest U of the minute; never filled forward",
    ),
    _depth(
        name="update_id_end", dtype=INT, unit="id", sources=("-", "-", "WS depth u"), bounds=NOT_NEGATIVE,
        rollup=LATEST, fill_policy="NULL if no depth", definition="largest u of the minute; never filled forward",
    ),
    _kline(
        name="timestamp", wire="open_time", dtype=MINUTE_START, unit="minute start", support_class="HARD_REQUIRED",
        fill_policy=NO_NULLS, rollup=BAR_START,
        definition="UTC start of the minute; bucket is timestamp <= event < timestamp + 60 s",
    ),
    _price(name="open", wire="open", role="open", rollup=FIRST, definition="kline open, verbatim"),
    _price(name="high", wire="high", role="high", rollup=HIGHEST, definition="kline high, verbatim"),
    _price(name="low", wire="low", role="low", rollup=LOWEST, definition="kline low, verbatim"),
    _price(name="close", wire="close", role="close", rollup=LAST, definition="kline close, verbatim"),
    _kline(  # without aggTrades the klines give it: it is known wherever there is a row
        name="vwap_1m", dtype=FLOAT, unit="USDT", support_class="BACKFILL_AVAILABLE", bounds=POSITIVE,
        sources=("aggTrades, else klines", "aggTrades (48 h), else klines", "aggTrades, else klines"),
        fill_policy="close if no volume",
        definition="sum(p q)/sum(q) over aggTrades; without aggTrades volume_usdt/volume_btc; with zero volume close; "
        "never NaN",
        rollup=Rollup(
            "sum(volume_usdt)/sum(volume_btc); close if no volume",
            lambda _: ratio("volume_usdt", "volume_btc", pl.col("close").last()),
            "vwap",
            ("volume_usdt", "volume_btc", "close"),
        ),
    ),
    _top(
        name="micro_price_close", unit="USDT", quiet="null", rollup=LAST,
        fill_policy="NULL if no snapshot; never filled",
        bounds=NOT_NEGATIVE,  # 0 while one side of the book is empty
        definition="(bid ask_qty + ask bid_qty)/(bid_qty + ask_qty) of the last bookTicker in the minute; "
        "NULL if both quantities are 0",
    ),
)  # fmt: skip

_TRADES = (
    _amount(
        name="volume_btc", wire="volume", dtype=FLOAT, unit=BASE,
        definition="kline base volume (base asset of any symbol, whatever the name says)",
    ),
    _amount(name="volume_usdt", wire="quote_volume", dtype=FLOAT, unit=QUOTE, definition="kline quote volume"),
    _amount(
        name="trade_count", wire="count", dtype=INT, unit="trades",
        definition="kline number of trades (individual trades, not aggTrades)",
    ),
    _kline(
        name="avg_trade_size_btc", dtype=FLOAT, unit=BASE, support_class="BACKFILL_AVAILABLE", quiet="computed",
        sources=("derived",) * 3, bounds=NOT_NEGATIVE, fill_policy="0 if trade_count = 0",
        definition="volume_btc/trade_count",
        rollup=Rollup(
            "sum(volume_btc)/sum(trade_count); 0 if no trade",
            lambda _: ratio("volume_btc", "trade_count", pl.lit(0.0)),
            needs=("volume_btc", "trade_count"),
        ),
    ),
    _tick(
        name="max_trade_size_btc", dtype=FLOAT, unit=BASE, definition="largest aggTrade quantity", rollup=HIGHEST
    ),
    _taker(
        name="taker_buy_vol_btc", wire="taker_buy_volume", unit=BASE, fill_policy=ZERO_IF_NONE,
        definition="kline taker buy base volume (klines only: aggTrades differ at minute edges)",
    ),
    _taker(
        name="taker_buy_vol_usdt", wire="taker_buy_quote_volume", unit=QUOTE, fill_policy=ZERO_IF_NONE,
        definition="kline taker buy quote volume",
    ),
    _kline(
        name="net_taker_vol_btc", dtype=FLOAT, unit=BASE, support_class="BACKFILL_AVAILABLE", quiet="computed",
        fill_policy=ZERO_IF_NONE, definition="2 taker_buy_vol_btc - volume_btc", rollup=SUM,
    ),
    _tick(
        name="count_buy_trades", dtype=INT, unit="aggTrades", definition="aggTrades with is_buyer_maker = false"
    ),
    _tick(name="count_sell_trades", dtype=INT, unit="aggTrades", definition="aggTrades with is_buyer_maker = true"),
    _kline(
        name="taker_buy_ratio", dtype=FLOAT, unit=RATIO, support_class="BACKFILL_AVAILABLE", quiet="computed",
        fill_policy="NULL if volume = 0", definition="taker_buy_vol_btc/volume_btc", bounds=FRACTION,
        rollup=Rollup(
            "sum(taker_buy_vol_btc)/sum(volume_btc); NULL if no volume",
            lambda _: ratio("taker_buy_vol_btc", "volume_btc", pl.lit(None, pl.Float64)),
            needs=("taker_buy_vol_btc", "volume_btc"),
        ),
    ),
    _tick(name="vol_buy_whale_btc", dtype=FLOAT, unit=BASE, definition=_of_notional("false", "p q >= 100000")),
    _tick(name="vol_sell_whale_btc", dtype=FLOAT, unit=BASE, definition=_of_notional("true", "p q >= 100000")),
    _tick(name="vol_buy_retail_btc", dtype=FLOAT, unit=BASE, definition=_of_notional("false", "p q <= 1000")),
    _tick(name="vol_sell_retail_btc", dtype=FLOAT, unit=BASE, definition=_of_notional("true", "p q <= 1000")),
    _tick(name="whale_trade_count", dtype=INT, unit="aggTrades", definition="aggTrades with p q >= 100000"),
    _tick(
        name="realized_vol_1m", dtype=FLOAT, unit="log return",
        definition="sqrt(sum(ln(p_i/p_(i-1))^2)) within the minute, ticks ordered by aggTrade id",
        fill_policy="0 if fewer than 2 ticks; NULL if aggTrades absent",
        rollup=Rollup(
            "sqrt(sum of squares): the returns within the minutes, not those between them; NULL if a minute's is",
            lambda column: if_known(pl.col(column).pow(2).sum().sqrt(), column),
            "realized_vol",
            ("realized_vol_1m",),
        ),
    ),
)  # fmt: skip

_LIQUIDATIONS = (
    _liquidation(
        name="liq_long_vol_usdt", dtype=FLOAT, unit="USDT",
        fill_policy="NULL unless the collector was alive all minute; then 0 if none",
        definition="sum(price z) of side SELL; price = ap, or p where ap <= 0; z = accumulated fill",
    ),
    _liquidation(
        name="liq_short_vol_usdt", dtype=FLOAT, unit="USDT", fill_policy=LIQUIDATION_FILL,
        definition="the same for side BUY",
    ),
    _liquidation(
        name="liq_long_count", dtype=INT, unit="orders", fill_policy=LIQUIDATION_FILL,
        definition="forceOrders of side SELL (the stream samples one per symbol and second: a lower bound)",
    ),
    _liquidation(
        name="liq_short_count", dtype=INT, unit="orders", fill_policy=LIQUIDATION_FILL,
        definition="forceOrders of side BUY",
    ),
    _liquidation(
        name="liq_avg_fill_price", dtype=FLOAT, unit="USDT", quiet="null", bounds=POSITIVE,
        fill_policy="NULL without events", definition="sum(price z)/sum(z)",
        rollup=Rollup(
            "sum(price z)/sum(z) with z from each minute's notional and price; NULL without events",
            _avg_fill_price,
            needs=("liq_long_vol_usdt", "liq_short_vol_usdt", "liq_avg_fill_price"),
        ),
    ),
    _liquidation(
        name="liq_unfilled_ratio", dtype=FLOAT, unit=RATIO, quiet="null", bounds=FRACTION, rollup=NOT_DERIVABLE,
        fill_policy="NULL without events or without q and z", definition="sum(max(q - z, 0))/sum(q)",
    ),
)  # fmt: skip

_BOOK = (
    _book(name="avg_spread_usdt", unit="USDT", definition="mean of ask - bid over the minute's updates"),
    _book(
        name="bid_ask_imbalance", unit="-1..1", bounds=SIGNED_FRACTION,
        definition="mean of (bid_qty - ask_qty)/(bid_qty + ask_qty); updates with both 0 left out",
    ),
    _book(name="avg_bid_depth", unit=BASE, bounds=NOT_NEGATIVE, definition="mean best bid quantity"),
    _book(name="avg_ask_depth", unit=BASE, bounds=NOT_NEGATIVE, definition="mean best ask quantity"),
    _book(
        name="spread_pct", unit="fraction", definition="mean of (ask - bid)/mid; a fraction, not a percentage"
    ),
    _live(
        # NULL until the book was in sync; the price is NULL also where the book is too thin.
        name="price_impact_100k", witness="impact_fillable", dtype=FLOAT, unit="fraction", bounds=NOT_NEGATIVE,
        sources=("-", "-", "local L2 book"), rollup=LAST,
        fill_policy="NULL unless the book was in sync; never filled",
        definition="(average execution price - mid)/mid of a 100000 USDT market buy on the last synchronised book of "
        "the minute; NULL if it cannot be filled",
    ),
)  # fmt: skip

_SLOW = (
    _metric(
        name="oi_contracts", wire="sum_open_interest", unit=BASE,
        sources=("metrics sum_open_interest", "openInterestHist (30 d)", "openInterestHist"),
        definition="open interest, as published (never divided by anything)",
    ),
    _metric(
        name="oi_value_usdt", wire="sum_open_interest_value", unit="USDT",
        sources=("metrics sum_open_interest_value", "openInterestHist (30 d)", "openInterestHist"),
        definition="open interest value, as published",
    ),
    _metric(
        name="top_trader_ls_ratio_acct", wire="count_toptrader_long_short_ratio", unit="ratio",
        sources=(
            "metrics count_toptrader_long_short_ratio", "topLongShortAccountRatio (30 d)", "topLongShortAccountRatio",
        ),
        definition="top trader long/short ratio by accounts",
    ),
    _metric(
        name="global_ls_ratio_acct", wire="count_long_short_ratio", unit="ratio",
        sources=(
            "metrics count_long_short_ratio", "globalLongShortAccountRatio (30 d)", "globalLongShortAccountRatio",
        ),
        definition="global long/short ratio by accounts",
    ),
    Column(
        name="ls_ratio_divergence", stream="metrics", quiet="computed", dtype=FLOAT, unit="ratio",
        support_class="BACKFILL_AVAILABLE", sources=("derived",) * 3, fill_policy="NULL unless both", rollup=LAST,
        definition="top_trader_ls_ratio_acct - global_ls_ratio_acct",
    ),
    _metric(
        name="top_trader_long_pct", quiet="computed", unit=RATIO, bounds=FRACTION,
        sources=("metrics", "topLongShortAccountRatio", "topLongShortAccountRatio"),
        definition="r/(1 + r) of top_trader_ls_ratio_acct",
    ),
    _metric(
        name="top_trader_short_pct", quiet="computed", unit=RATIO, bounds=FRACTION,
        sources=("metrics", "topLongShortAccountRatio", "topLongShortAccountRatio"), definition="1/(1 + r)",
    ),
    _mark(name="mark_price_open", wire="open", rollup=FIRST, definition="mark price open of the minute"),
    _mark(name="mark_price_close", wire="close", rollup=LAST, definition="mark price close of the minute"),
    _index(name="index_price_open", wire="open", rollup=FIRST, definition="index price open of the minute"),
    _index(name="index_price_close", wire="close", rollup=LAST, definition="index price close of the minute"),
    Column(
        # No bounds: in a squeeze the exchange publishes more than 1, and an hour is not refused over it.
        name="premium_index", stream="premium_index_klines_1m", wire="close", quiet="null", dtype=FLOAT,
        unit="fraction", support_class="BACKFILL_AVAILABLE", sources=("premiumIndexKlines",) * 3, rollup=LAST,
        fill_policy="NULL where not published",
        definition="close of the published premium index kline (mark/index - 1 is basis, another quantity)",
    ),
    Column(
        name="funding_rate", stream="funding_rate", wire="last_funding_rate", quiet="carried", dtype=FLOAT,
        unit="fraction per interval", support_class="BACKFILL_AVAILABLE",
        sources=("fundingRate (monthly) or REST", "fundingRate", "fundingRate"), bounds=SIGNED_FRACTION, rollup=LAST,
        # An interval may grow to 8 hours after a rate was settled, so each rate is held as the longest ones are.
        fill_policy="step function: the last settled rate, up to its interval + 1 h", carried_for=timedelta(hours=9),
        definition="last settled rate at or before the minute; never the running estimate",
    ),
    _live(
        name="predicted_funding", dtype=FLOAT, unit="fraction per interval", bounds=SIGNED_FRACTION, rollup=LAST,
        sources=("-", "-", "WS markPrice r, or premiumIndex.lastFundingRate polled in that minute"),
        fill_policy="NULL historically", definition="last running estimate seen in the minute",
    ),
    _live(
        name="next_funding_time", dtype=INT, unit=EPOCH_MS, bounds=POSITIVE, rollup=LAST,
        sources=("-", "-", "WS markPrice T, or premiumIndex.nextFundingTime polled in that minute"),
        fill_policy="NULL historically; 0 becomes NULL", definition="next settlement seen in the minute",
    ),
)  # fmt: skip

_FLAGS = (
    _never_null(
        name="has_ws_latency", stream=LIVE, support_class="LIVE_ONLY", sources=("false", "false", "depth events"),
        definition="at least one depth event of the minute has E, T and a receive time",
    ),
    _never_null(
        name="has_depth", stream=LIVE, support_class="LIVE_ONLY", sources=("false", "false", "depth events"),
        definition="at least one depth event arrived in the minute",
    ),
    _never_null(
        name="has_liq", stream=LIVE, support_class="LIVE_ONLY", sources=("false", "false", "collector liveness"),
        definition="the forceOrder collector was provably alive for the whole minute",
    ),
    _never_null(
        name="has_ls_ratio", stream="metrics", quiet="computed", support_class="BACKFILL_AVAILABLE",
        sources=("metrics", "REST", "REST"), definition="both ratios are present after their fill limit",
    ),
    _sometimes(
        name="ws_latency_bad", witness="has_ws_latency", sources=("-", "-", "latency_*"), rollup=ANY_TRUE,
        fill_policy="NULL if has_ws_latency is false",
        definition="latency_engine > 500 or latency_network > 500 (the percentiles)",
    ),
    _sometimes(
        name="liq_unfilled_supported", witness="has_liq", sources=("-", "-", "forceOrder"),
        fill_policy="NULL if has_liq is false", definition="every event of the minute carried q and z",
    ),
    _sometimes(
        name="impact_fillable", sources=("-", "-", "local L2 book"), fill_policy="NULL until the book was in sync",
        definition="the 100000 USDT buy could be filled",
    ),
    _sometimes(
        name="depth_degraded", witness="has_depth", sources=("-", "-", "local L2 book"), rollup=ANY_TRUE,
        fill_policy="NULL if has_depth is false",
        definition="a resync or continuity break in the minute, or not fillable, or spread over 2 % of mid",
    ),
)  # fmt: skip

COLUMNS = ColumnSet(numbered(*_EVENTS_AND_PRICES, *_TRADES, *_LIQUIDATIONS, *_BOOK, *_SLOW, *_FLAGS))
"""The columns of the minute table."""
