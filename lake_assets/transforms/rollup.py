"""Minutes rolled up to longer bars.

Belongs here: one rule per column of the minute table, and the roll-up by them. Does not belong here: reading minutes,
filling gaps. A bar with absent minutes is made of those that are there, so its sums are partial; it says so in
`minutes` and `complete`. A value that needs a minute that is there but whose value is not known is NULL. What cannot be
derived from minutes exactly (percentiles, ratios without their denominators) is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import polars as pl

from lake_resources.errors import SettingsError

Timeframe = Literal["1m", "5m", "15m", "1h", "1d"]
Incomplete = Literal["mark", "omit"]

TIMEFRAMES: dict[Timeframe, timedelta] = {
    "1m": timedelta(minutes=1),
    "5m": timedelta(minutes=5),
    "15m": timedelta(minutes=15),
    "1h": timedelta(hours=1),
    "1d": timedelta(days=1),
}
MINUTES, COMPLETE = "minutes", "complete"
"""Columns that a roll-up adds, next to the time: minutes that are there, and whether these are all of the bar."""


@dataclass(frozen=True)
class Rule:
    """How a column of a bar follows from the column of its minutes.

    Attributes:
        text: the rule in words.
        name: the column's name in the bar; empty keeps the minute's.
        needs: columns of the minutes that it is computed from; empty means the column itself.
        build: the expression over the minutes of a bar; None leaves the column out.
    """

    text: str
    build: Callable[[str], pl.Expr] | None
    name: str = ""
    needs: tuple[str, ...] = ()


def _known(*columns: str) -> pl.Expr:
    """Whether no minute of the bar lacks a value in any of the columns."""
    return pl.all_horizontal(pl.col(column).null_count() == 0 for column in columns)


def _if_known(value: pl.Expr, *columns: str) -> pl.Expr:
    return pl.when(_known(*columns)).then(value)


def _sum(name: str) -> Rule:
    return Rule("sum; NULL if a minute's is", lambda column: _if_known(pl.col(column).sum(), column), name)


def _ratio(top: str, bottom: str, otherwise: pl.Expr) -> pl.Expr:
    total = pl.col(bottom).sum()
    return _if_known(pl.when(total > 0).then(pl.col(top).sum() / total).otherwise(otherwise), top, bottom)


def _avg_fill_price(_: str) -> pl.Expr:
    # A minute's quantity is its notional over its average price.
    notional = pl.col("liq_long_vol_usdt") + pl.col("liq_short_vol_usdt")
    quantity = (notional / pl.col("liq_avg_fill_price")).sum()
    value = pl.when(quantity > 0).then(notional.sum() / quantity)
    return _if_known(value, "liq_long_vol_usdt", "liq_short_vol_usdt")


_FIRST = Rule("of the first minute", lambda column: pl.col(column).first())
_LAST = Rule("of the last minute", lambda column: pl.col(column).last())
_HIGH = Rule("largest; NULL if a minute's is", lambda column: _if_known(pl.col(column).max(), column))
_LOW = Rule("smallest; NULL if a minute's is", lambda column: _if_known(pl.col(column).min(), column))
_LATEST = Rule("largest of those minutes that have one", lambda column: pl.col(column).max())
_EARLIEST = Rule("smallest of those minutes that have one", lambda column: pl.col(column).min())
_SUM = _sum("")
_MEAN = Rule("mean of the minutes; NULL if a minute's is", lambda column: _if_known(pl.col(column).mean(), column))
_ALL = Rule("true in every minute", lambda column: _if_known(pl.col(column).all(), column))
_ANY = Rule("true in any minute; NULL if a minute's is", lambda column: _if_known(pl.col(column).any(), column))
_NOT_DERIVABLE = Rule("left out: it does not follow from minutes", None)

RULES: dict[str, Rule] = {
    "event_time": _LATEST,
    "transact_time": _LATEST,
    "arrival_time": _LATEST,
    "latency_engine": _NOT_DERIVABLE,
    "latency_network": _NOT_DERIVABLE,
    "update_id_start": _EARLIEST,
    "update_id_end": _LATEST,
    "timestamp": Rule("start of the bar, UTC; the bar is [timestamp, timestamp + timeframe)", None),
    "open": _FIRST,
    "high": _HIGH,
    "low": _LOW,
    "close": _LAST,
    "vwap_1m": Rule(
        "sum(volume_usdt)/sum(volume_btc); close if no volume",
        lambda _: _ratio("volume_usdt", "volume_btc", pl.col("close").last()),
        "vwap",
        ("volume_usdt", "volume_btc", "close"),
    ),
    "micro_price_close": _LAST,
    "volume_btc": _SUM,
    "volume_usdt": _SUM,
    "trade_count": _SUM,
    "avg_trade_size_btc": Rule(
        "sum(volume_btc)/sum(trade_count); 0 if no trade",
        lambda _: _ratio("volume_btc", "trade_count", pl.lit(0.0)),
        needs=("volume_btc", "trade_count"),
    ),
    "max_trade_size_btc": _HIGH,
    "taker_buy_vol_btc": _SUM,
    "taker_buy_vol_usdt": _SUM,
    "net_taker_vol_btc": _SUM,
    "count_buy_trades": _SUM,
    "count_sell_trades": _SUM,
    "taker_buy_ratio": Rule(
        "sum(taker_buy_vol_btc)/sum(volume_btc); NULL if no volume",
        lambda _: _ratio("taker_buy_vol_btc", "volume_btc", pl.lit(None, pl.Float64)),
        needs=("taker_buy_vol_btc", "volume_btc"),
    ),
    "vol_buy_whale_btc": _SUM,
    "vol_sell_whale_btc": _SUM,
    "vol_buy_retail_btc": _SUM,
    "vol_sell_retail_btc": _SUM,
    "whale_trade_count": _SUM,
    "realized_vol_1m": Rule(
        "sqrt(sum of squares): the returns within the minutes, not those between them; NULL if a minute's is",
        lambda column: _if_known(pl.col(column).pow(2).sum().sqrt(), column),
        "realized_vol",
        ("realized_vol_1m",),
    ),
    "liq_long_vol_usdt": _SUM,
    "liq_short_vol_usdt": _SUM,
    "liq_long_count": _SUM,
    "liq_short_count": _SUM,
    "liq_avg_fill_price": Rule(
        "sum(price z)/sum(z) with z from each minute's notional and price; NULL without events",
        _avg_fill_price,
        needs=("liq_long_vol_usdt", "liq_short_vol_usdt", "liq_avg_fill_price"),
    ),
    "liq_unfilled_ratio": _NOT_DERIVABLE,
    "avg_spread_usdt": _MEAN,
    "bid_ask_imbalance": _MEAN,
    "avg_bid_depth": _MEAN,
    "avg_ask_depth": _MEAN,
    "spread_pct": _MEAN,
    "price_impact_100k": _LAST,
    "oi_contracts": _LAST,
    "oi_value_usdt": _LAST,
    "top_trader_ls_ratio_acct": _LAST,
    "global_ls_ratio_acct": _LAST,
    "ls_ratio_divergence": _LAST,
    "top_trader_long_pct": _LAST,
    "top_trader_short_pct": _LAST,
    "mark_price_open": _FIRST,
    "mark_price_close": _LAST,
    "index_price_open": _FIRST,
    "index_price_close": _LAST,
    "premium_index": _LAST,
    "funding_rate": _LAST,
    "predicted_funding": _LAST,
    "next_funding_time": _LAST,
    "has_ws_latency": _ALL,
    "has_depth": _ALL,
    "has_liq": _ALL,
    "has_ls_ratio": _ALL,
    "ws_latency_bad": _ANY,
    "liq_unfilled_supported": _ALL,
    "impact_fillable": _ALL,
    "depth_degraded": _ANY,
}
"""The rule of each column of the minute table."""


def rolled_columns(columns: Sequence[str] | None = None) -> tuple[str, ...]:
    """Columns of the minute table that a bar has, of those wanted (default: all that can be derived).

    Raises:
        SettingsError: a wanted column is not one of the table, or cannot be derived from minutes.
    """
    if columns is None:
        return tuple(name for name, rule in RULES.items() if rule.build is not None)
    wanted = [name for name in dict.fromkeys(columns) if name != "timestamp"]
    for name in wanted:
        if name not in RULES:
            raise SettingsError(f"the minute table has no column {name!r}", remedy="See docs/data-dictionary.md")
        if RULES[name].build is None:
            raise SettingsError(
                f"{name} has no value for bars longer than a minute", remedy="Ask for it in the timeframe 1m"
            )
    return tuple(wanted)


def needed_columns(columns: Sequence[str]) -> tuple[str, ...]:
    """Columns of the minutes that these columns of a bar are computed from, `timestamp` first."""
    needed = (name for column in columns for name in (RULES[column].needs or (column,)))
    return tuple(dict.fromkeys(("timestamp", *needed)))


def rollup(
    minutes: pl.LazyFrame,
    timeframe: Timeframe,
    columns: Sequence[str] | None = None,
    *,
    incomplete: Incomplete = "mark",
) -> pl.LazyFrame:
    """Bars of a timeframe, aligned to UTC midnight.

    Args:
        minutes: rows of the minute table, sorted by `timestamp`, each minute at most once; at least the columns of
            `needed_columns`.
        timeframe: length of a bar; `1m` gives the minutes themselves, with the two further columns.
        columns: columns of the minute table, default all that can be derived; `timestamp` comes first in any case.
        incomplete: bars that lack a minute are kept, of the minutes that are there, with `complete` false; or they are
            left out. They are never filled.

    Returns:
        `timestamp`, `minutes` (that are there), `complete` (these are all), then the columns (`vwap_1m` is named `vwap`
        there, `realized_vol_1m` `realized_vol`). A bar of which no minute is there is no row.
    """
    length = TIMEFRAMES[timeframe]
    if timeframe == "1m":
        chosen = pl.exclude("timestamp") if columns is None else pl.col([n for n in columns if n != "timestamp"])
        marks = pl.lit(1, pl.Int64).alias(MINUTES), pl.lit(value=True).alias(COMPLETE)
        return minutes.select("timestamp", *marks, chosen)
    built = []
    for column in rolled_columns(columns):
        rule = RULES[column]
        if rule.build is not None:
            built.append(rule.build(column).alias(rule.name or column))
    bars = minutes.group_by_dynamic("timestamp", every=length, closed="left", label="left").agg(
        pl.len().cast(pl.Int64).alias(MINUTES), *built
    )
    whole = (pl.col(MINUTES) == length // timedelta(minutes=1)).alias(COMPLETE)
    bars = bars.select("timestamp", MINUTES, whole, pl.exclude("timestamp", MINUTES))
    return bars.filter(pl.col(COMPLETE)) if incomplete == "omit" else bars
