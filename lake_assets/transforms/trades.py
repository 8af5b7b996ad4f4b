"""Tick features of a minute from aggTrades, and the bars that the same trades make.

Belongs here: everything the minute table takes from aggTrades, the sums and bars that compare them with klines.
Does not belong here: what a minute without trades or without a source gets (`assemble`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

from lake_assets.transforms.distinct import distinct_rows
from lake_assets.transforms.trade_columns import STRADDLE_US, TIMESTAMP, TRADE_FEATURES, TRADE_MINUTES
from lake_resources.bar_values import PRICES
from lake_resources.clock import MINUTE_US

WHALE_NOTIONAL_USDT = 100_000.0
RETAIL_NOTIONAL_USDT = 1_000.0

# p q of two decimals read as doubles is off by at most 3 half-ulps; three ulps of play make both bounds inclusive for
# the decimal product, and stay far below the smallest step between two notionals of the exchange.
_WHALE_AT_LEAST = WHALE_NOTIONAL_USDT - 3 * math.ulp(WHALE_NOTIONAL_USDT)
_RETAIL_AT_MOST = RETAIL_NOTIONAL_USDT + 3 * math.ulp(RETAIL_NOTIONAL_USDT)

_Number = TypeVar("_Number", np.int64, np.float64)

_NOTIONAL, _QUANTITY, _SELL = pl.col("notional"), pl.col("quantity"), pl.col("sell")
_WHALE, _RETAIL = _NOTIONAL >= _WHALE_AT_LEAST, _NOTIONAL <= _RETAIL_AT_MOST
# Expressions are made once: making them costs as much as what they do to a chunk.
_PARTS = {"whale": _WHALE} | {
    name: pl.when(condition).then(value).otherwise(0.0)
    for name, condition, value in (
        ("buy_whale", _WHALE & ~_SELL, _QUANTITY),
        ("sell_whale", _WHALE & _SELL, _QUANTITY),
        ("buy_retail", _RETAIL & ~_SELL, _QUANTITY),
        ("sell_retail", _RETAIL & _SELL, _QUANTITY),
        ("bought", ~_SELL, _QUANTITY),
        ("bought_worth", ~_SELL, _NOTIONAL),
        (
            "squared_return",
            pl.col("minute") == pl.col("minute").shift(1),
            (pl.col("price") / pl.col("price").shift(1)).log().pow(2),
        ),
    )
}
_AGGREGATES = {
    "transact_time": pl.col("time_us").max() // 1000,
    "max_trade_size_btc": _QUANTITY.max(),
    "count_buy_trades": pl.len().cast(pl.Int64) - _SELL.sum().cast(pl.Int64),
    "count_sell_trades": _SELL.sum().cast(pl.Int64),
    "vol_buy_whale_btc": pl.col("buy_whale").sum(),
    "vol_sell_whale_btc": pl.col("sell_whale").sum(),
    "vol_buy_retail_btc": pl.col("buy_retail").sum(),
    "vol_sell_retail_btc": pl.col("sell_retail").sum(),
    "whale_trade_count": pl.col("whale").sum().cast(pl.Int64),
    "realized_vol_1m": pl.col("squared_return").sum().sqrt(),
    "agg_quantity": _QUANTITY.sum(),
    "agg_notional": _NOTIONAL.sum(),
    "raw_trade_count": pl.col("single_trades").sum(),
    "first_price": pl.col("price").first(),
    "highest_price": pl.col("price").max(),
    "lowest_price": pl.col("price").min(),
    "last_price": pl.col("price").last(),
    "bought_quantity": pl.col("bought").sum(),
    "bought_notional": pl.col("bought_worth").sum(),
}
_AS_MINUTES = {name: pl.col(name).cast(dtype) for name, dtype in TRADE_MINUTES.items()} | {
    "timestamp": (pl.col("minute") * MINUTE_US).cast(TIMESTAMP)
}

_TAKEN = ("taker_buy_volume", "taker_buy_quote_volume")
_SUMS = ("volume", "quote_volume", *_TAKEN)
TRADE_BARS: dict[str, pl.DataType] = {
    "timestamp": TIMESTAMP,
    "bar_rows": pl.Int64(),
    "bar_count": pl.Int64(),
    **{f"bar_{name}": pl.Float64() for name in (*PRICES, *_SUMS)},
}
"""A minute of aggTrades by the names of klines: rows, single trades, prices by id, sums of quantity and of notional."""
_UNLIKE: dict[str, pl.DataType] = {
    "timestamp": TIMESTAMP,
    "column": pl.String(),
    "said": pl.Float64(),
    "traded": pl.Float64(),
}
_DIGITS = 1e-9
"""Relative: sums of decimals read as doubles differ in the last digits, nothing more."""
_UNIT = 1e-6
"""How far a printed notional may be from its product, per row."""


def trade_features(agg_trades: pl.DataFrame) -> pl.DataFrame:
    """Those columns of `trade_minutes` that are `TRADE_FEATURES`."""
    return trade_minutes(agg_trades).select(list(TRADE_FEATURES))


def trade_minutes(agg_trades: pl.DataFrame) -> pl.DataFrame:
    """Features of every minute that has a trade, and what its bar is made of.

    A minute never looks at another one. Formulas: data dictionary, columns `transact_time` to `realized_vol_1m`.

    Args:
        agg_trades: wire rows, whole minutes only; in any order and several times, as `ticks_of` takes them.

    Returns:
        One row per minute with trades, columns `TRADE_MINUTES`, sorted by `timestamp` (UTC).
    """
    ticks = ticks_of(agg_trades)
    return as_minutes([minute_sums(ticks, minute_edges(ticks))])


def minute_sums(ticks: pl.DataFrame, edges: MinuteEdges) -> pl.DataFrame:
    """What `as_minutes` makes `trade_minutes` of: this is called for every chunk of a day, that once.

    Args:
        ticks: as `ticks_of` gives them, whole minutes only.
        edges: their `minute_edges`.
    """
    made = ticks.with_columns(**_PARTS).group_by("minute", maintain_order=True).agg(**_AGGREGATES)
    quantity = ticks["quantity"].to_numpy()
    return made.hstack([pl.Series(f"{side}_quantity", rows.sums(quantity)) for side, rows in edges.near.items()])


def as_minutes(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Columns `TRADE_MINUTES` of `minute_sums`, at least one, in their order."""
    return pl.concat(parts).select(**_AS_MINUTES)


class NearEdge(NamedTuple):
    """The few rows of ticks that lie near one edge of their minute.

    Attributes:
        rows: where they are, in order.
        minutes: which minute of the ticks each of them is in, counted from 0.
        of_minutes: how many minutes the ticks have.
    """

    rows: npt.NDArray[np.int64]
    minutes: npt.NDArray[np.int64]
    of_minutes: int

    def sums(self, values: npt.NDArray[_Number]) -> npt.NDArray[_Number]:
        """Sum per minute of a column of the ticks, over these rows."""
        found = np.zeros(self.of_minutes, values.dtype)
        np.add.at(found, self.minutes, values[self.rows])
        return found


class MinuteEdges(NamedTuple):
    """Where the minutes of ticks begin, and the rows within `STRADDLE_US` of a minute's start and of its end."""

    begins: npt.NDArray[np.int64]
    near: dict[str, NearEdge]


def minute_edges(ticks: pl.DataFrame) -> MinuteEdges:
    """The edges of the minutes of some ticks; `near` has `head` and `tail`.

    Args:
        ticks: as `ticks_of` gives them.
    """
    minute, times = ticks["minute"].to_numpy(), ticks["time_us"].to_numpy()
    begins = np.concatenate(([0], np.flatnonzero(minute[1:] != minute[:-1]) + 1))[: minute.size]
    starts = minute[begins] * MINUTE_US
    heads, tails = starts + STRADDLE_US, starts + MINUTE_US - STRADDLE_US
    if bool((times[1:] >= times[:-1]).all()):
        ends = np.append(begins[1:], times.size)[: begins.size]
        near = {
            "head": _stretches(begins, np.searchsorted(times, heads)),
            "tail": _stretches(np.searchsorted(times, tails), ends),
        }
    else:  # neighbouring ids may step back a little
        of_row = np.repeat(np.arange(begins.size), np.diff(begins, append=times.size))
        rows = {"head": np.flatnonzero(times < heads[of_row]), "tail": np.flatnonzero(times >= tails[of_row])}
        near = {side: NearEdge(found, of_row[found], begins.size) for side, found in rows.items()}
    return MinuteEdges(begins, near)


def _stretches(first: npt.NDArray[np.int64], end: npt.NDArray[np.int64]) -> NearEdge:
    """One stretch of rows of each minute."""
    lengths = end - first
    minutes = np.repeat(np.arange(first.size), lengths)
    before = np.cumsum(lengths) - lengths
    return NearEdge(np.arange(minutes.size) + (first - before)[minutes], minutes, first.size)


def ticks_of(agg_trades: pl.DataFrame, *, ids_increase: bool = False) -> pl.DataFrame:
    """Wire rows with their epoch minute and notional, in order of minutes and ids, each id once.

    Args:
        agg_trades: wire frame of `agg_trades`; rows may come in any order and several times.
        ids_increase: the caller knows that each id is larger than the one before it.

    Returns:
        Columns `id`, `minute` (flagged as sorted), `time_us`, `price`, `quantity`, `notional`, `first_trade`,
        `last_trade`, `single_trades` (sum of them: single trades), `sell`; one chunk each, for the sum of a float
        column depends on how it is chunked.
    """
    ticks = _ticks(agg_trades)
    repeated = not ids_increase and ticks.select((pl.col("id").diff() <= 0).any()).item()
    if repeated or not ticks["minute"].is_sorted():
        ticks = _ticks(distinct_rows(agg_trades, "agg_trade_id")).sort("minute", "id")
    return ticks.replace_column(ticks.get_column_index("minute"), ticks["minute"].set_sorted())


_TIME_US = pl.col("transact_time").cast(TIMESTAMP).to_physical()
_TICKS = {
    "id": pl.col("agg_trade_id"),
    "time_us": _TIME_US,
    "price": pl.col("price"),
    "quantity": pl.col("quantity"),
    "notional": pl.col("price") * pl.col("quantity"),
    "first_trade": pl.col("first_trade_id"),
    "last_trade": pl.col("last_trade_id"),
    "single_trades": pl.col("last_trade_id") - pl.col("first_trade_id") + 1,
    "sell": pl.col("is_buyer_maker"),
    "minute": _TIME_US // MINUTE_US,
}


def _ticks(agg_trades: pl.DataFrame) -> pl.DataFrame:
    return agg_trades.select(**_TICKS).rechunk()


def bars_of(minutes: pl.DataFrame) -> pl.DataFrame:
    """Bars of the minutes that have a trade.

    Args:
        minutes: columns `TRADE_MINUTES`.

    Returns:
        Columns `TRADE_BARS`, in the same order.
    """
    return minutes.select(
        "timestamp",
        bar_rows=pl.col("count_buy_trades") + pl.col("count_sell_trades"),
        bar_count="raw_trade_count",
        bar_open="first_price",
        bar_high="highest_price",
        bar_low="lowest_price",
        bar_close="last_price",
        bar_volume="agg_quantity",
        bar_quote_volume="agg_notional",
        bar_taker_buy_volume="bought_quantity",
        bar_taker_buy_quote_volume="bought_notional",
    ).cast(pl.Schema(TRADE_BARS))


def unlike_bars(klines: pl.DataFrame, bars: pl.DataFrame) -> pl.DataFrame:
    """Where klines say other prices or taker volumes than the trades that they count.

    A minute is compared where number, volume and quote volume of the kline are exactly those of the trades: then they
    are the same trades, and everything else follows from them. At other edges an aggTrade straddles the minute, or the
    trades are not whole, which their own witness says.

    Args:
        klines: wire frame of `klines_1m`.
        bars: columns `TRADE_BARS`.

    Returns:
        `timestamp`, `column`, `said` (by the kline), `traded` (by the trades), a row per value that differs, in order.
    """
    if bars.is_empty():
        return pl.DataFrame(schema=_UNLIKE)
    both = klines.join(bars, left_on="open_time", right_on="timestamp", how="inner", maintain_order="left")
    rounding = (pl.col("bar_rows") + 1) * _UNIT

    def same(name: str) -> pl.Expr:
        off = (pl.col(name) - pl.col(f"bar_{name}")).abs()
        return off <= pl.col(f"bar_{name}").abs() * _DIGITS + (rounding if "quote" in name else 1e-9)

    judged = both.filter((pl.col("count") == pl.col("bar_count")) & same("volume") & same("quote_volume"))
    unlike = {name: ~same(name) | pl.col(name).is_null() for name in (*PRICES, *_TAKEN)}
    found = judged.select(expr.any().alias(name) for name, expr in unlike.items()).row(0, named=True)
    parts = [
        judged.filter(unlike[name]).select(
            pl.col("open_time").cast(TIMESTAMP).alias("timestamp"),
            column=pl.lit(name),
            said=pl.col(name),
            traded=f"bar_{name}",
        )
        for name in unlike
        if found[name]
    ]
    if not parts:
        return pl.DataFrame(schema=_UNLIKE)
    return pl.concat(parts).sort("timestamp", maintain_order=True)
