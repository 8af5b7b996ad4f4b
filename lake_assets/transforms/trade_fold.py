"""Bars of any length from single trades, as the exchange makes its klines of them.

Belongs here: which trades are one of a kind, between which instants they are proven whole, folding them.
Does not belong here: quotes (`quote_placing`), where trades come from, tick features of minutes (`trades`).

Trades of a symbol carry ids that grow by one. Between two trades whose ids touch nothing else was traded, however long
that took: ids prove quiet seconds. Where ids do not touch, what lies between is not known, and no bar is made of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from lake_assets.transforms.exact_sums import decimals_of, from_units, in_units
from lake_resources.bar_values import PRICES
from lake_resources.binance.wire_columns import KLINE_COLUMNS, UTC_US

FILLS: dict[str, pl.DataType] = {
    "first_id": pl.Int64(),
    "last_id": pl.Int64(),
    "time": UTC_US,
    "price": pl.Float64(),
    "qty": pl.Float64(),
    "is_buyer_maker": pl.Boolean(),
}
"""Trades, single ones or several in a row: ids of the first and of the last, time (UTC), price, quantity (base asset),
and whether the buyer was the maker, which makes it a sale by the taker. Of a row with no quantity nobody knows what was
traded, only that something was."""

_MILLISECOND = timedelta(milliseconds=1)
LEAST_QTY = 0.5e-8
"""Quantities have eight decimals at most; what is less than half a unit is none."""
_DIGITS, _UNIT = 1e-6, 1e-6
"""How far price times quantity may be from the notional that is printed beside them: relative, and absolute."""
_AMOUNTS = [name for name in KLINE_COLUMNS if name == "count" or "volume" in name]


def fills_of_trades(trades: pl.DataFrame) -> pl.DataFrame:
    """A wire frame of `trades` as `FILLS`; each row is one trade.

    A row whose notional, where it tells one, is not its price times its quantity contradicts itself: it keeps no
    quantity.
    """
    told = pl.col("quote_qty") if "quote_qty" in trades.columns else pl.lit(None, pl.Float64)
    product = pl.col("price") * pl.col("qty")
    sound = (told - product).abs() <= product.abs() * _DIGITS + _UNIT
    return trades.select(
        first_id="id",
        last_id="id",
        time="time",
        price="price",
        qty=pl.when(sound.fill_null(value=True)).then("qty").otherwise(0.0),
        is_buyer_maker="is_buyer_maker",
    ).cast(pl.Schema(FILLS))


def fills_of_agg_trades(agg_trades: pl.DataFrame) -> pl.DataFrame:
    """A wire frame of spot's `agg_trades` as `FILLS`: trades of one time, price and taker order in one row."""
    return agg_trades.select(
        first_id="first_trade_id",
        last_id="last_trade_id",
        time="transact_time",
        price="price",
        qty="quantity",
        is_buyer_maker="is_buyer_maker",
    ).cast(pl.Schema(FILLS))


def each_once(fills: pl.DataFrame) -> pl.DataFrame:
    """Fills by id, each trade once, whatever the order they came in and however often.

    Where a row of several trades holds one that is there by itself as well, the row of several stays: single trades
    were heard, and rows of several were fetched for what was missed between them.
    """
    ordered = fills.sort(["first_id", "last_id"], descending=[False, True])
    held = pl.col("last_id").cum_max().shift(1)
    return ordered.filter((pl.col("last_id") > held).fill_null(value=True))


@dataclass(frozen=True)
class HeardSpan:
    """Instants between which all trades were heard, beside what ids prove.

    Attributes:
        since: from here on nothing before the first trade is missed, UTC; None where nobody knows.
        until: up to here nothing after the last trade is missed, UTC; None where nobody knows.
    """

    since: datetime | None = None
    until: datetime | None = None


NOTHING_BESIDE = HeardSpan()
"""Ids alone speak."""


def proven_spans(fills: pl.DataFrame, step: timedelta, heard: HeardSpan = NOTHING_BESIDE) -> pl.DataFrame:
    """Spans of whole bars whose trades are all among these, as ids prove it.

    Args:
        fills: as `each_once` gives them.
        step: length of a bar; bars begin at multiples of it since the epoch.
        heard: what is known before the first and after the last of them.

    Returns:
        `run` (number of the run of ids that touch), `start` and `end` (half-open, UTC), in order; a run that holds no
        whole bar is left out.
    """
    time = pl.col("time")
    every = f"{step // timedelta(microseconds=1)}us"
    runs = (
        fills.with_columns(run=_run())
        .group_by("run", maintain_order=True)
        .agg(first=time.first(), last=time.last())
        .with_columns(at=pl.int_range(pl.len()), of=pl.len())
    )
    # Others may have been traded in the bar of the first one before it, and in that of the last one after it.
    start = pl.when((pl.col("at") == 0) & pl.lit(heard.since is not None)).then(
        _rounded_up(pl.lit(heard.since, UTC_US), every)
    )
    end = pl.when((pl.col("at") == pl.col("of") - 1) & pl.lit(heard.until is not None)).then(
        pl.lit(heard.until, UTC_US).dt.truncate(every)
    )
    return (
        runs.select(
            "run",
            start=pl.coalesce(start, pl.col("first").dt.truncate(every).dt.offset_by(every)),
            end=pl.coalesce(end, pl.col("last").dt.truncate(every)),
        )
        .cast({"run": pl.Int64(), "start": UTC_US, "end": UTC_US})
        .filter(pl.col("start") < pl.col("end"))
    )


def folded(fills: pl.DataFrame, step: timedelta, heard: HeardSpan = NOTHING_BESIDE) -> pl.DataFrame:
    """Bars of all spans in which the trades are proven whole, in the exchange's own columns and by its rules.

    A bar in which nothing was traded carries the close before it and zeros, as the exchange's klines do; where no trade
    before it is known there is none. Prices and sums equal those that the exchange publishes, to the last digit.

    Args:
        fills: frame of `FILLS`, in any order.
        step: length of a bar.
        heard: what is known before the first and after the last trade.

    Returns:
        A wire frame of klines, sorted by `open_time`; bars that are not proven are not in it, nor those with a trade
        of no quantity, nor quiet ones after them.
    """
    return _bars(fills, step, heard).filter(~pl.col("void")).drop("void")


def doubted_bars(fills: pl.DataFrame, step: timedelta) -> pl.DataFrame:
    """Bars that are proven by ids and hold a trade of no quantity, which no trade has: what is said of them is wrong.

    Args:
        fills: frame of `FILLS`, in any order.
        step: length of a bar.

    Returns:
        A wire frame of klines, sorted by `open_time`.
    """
    return _bars(fills, step, NOTHING_BESIDE).filter("void").drop("void")


def _bars(fills: pl.DataFrame, step: timedelta, heard: HeardSpan) -> pl.DataFrame:
    """Wire klines of all proven spans, with `void`: the bar, or the last one before it with trades, is in doubt."""
    once = each_once(fills)
    if once.is_empty():
        return pl.DataFrame(schema=KLINE_COLUMNS | {"void": pl.Boolean()})
    every = f"{step // timedelta(microseconds=1)}us"
    traded = _traded(once, every)
    spans = proven_spans(once, step, heard)
    grid = spans.select("run", open_time=pl.datetime_ranges("start", "end", every, closed="left")).explode(
        "open_time", empty_as_null=False
    )
    # The trades of the bar in which a run begins tell its price, though they may not be all.
    prices = traded.select("open_time", "run", "void", last="close").sort("open_time")
    bars = (
        grid.sort("open_time")
        .join(traded.drop("run", "void"), on="open_time", how="left", maintain_order="left")
        .join_asof(prices.rename({"open_time": "priced_at"}), left_on="open_time", right_on="priced_at", by="run",
                   strategy="backward", check_sortedness=False)
        .filter(pl.col("last").is_not_null())
    )  # fmt: skip
    quiet = pl.col("count").is_null()
    return (
        bars.select(
            "open_time",
            *(pl.when(quiet).then("last").otherwise(name).alias(name) for name in PRICES),
            *(pl.col(name).fill_null(0) for name in _AMOUNTS),
            "void",
            close_time=pl.col("open_time") + step - _MILLISECOND,
        )
        .select(*KLINE_COLUMNS, "void")
        .cast(pl.Schema(KLINE_COLUMNS))
    )


def _run() -> pl.Expr:
    """Number of the run of touching ids that a fill belongs to."""
    return (pl.col("first_id") != pl.col("last_id").shift(1) + 1).fill_null(value=False).cum_sum().cast(pl.Int64)


def _rounded_up(instant: pl.Expr, every: str) -> pl.Expr:
    floor = instant.dt.truncate(every)
    return pl.when(floor == instant).then(floor).otherwise(floor.dt.offset_by(every))


def _traded(fills: pl.DataFrame, every: str) -> pl.DataFrame:
    """Bars of what was traded, by run: a bar that a gap of ids lies in has a row for each side of it."""
    of_price, of_qty = decimals_of(fills["price"]), decimals_of(fills["qty"])
    price, qty, bought = pl.col("price"), pl.col("units"), ~pl.col("is_buyer_maker")
    bars = (
        fills.with_columns(
            run=_run(),
            open_time=pl.col("time").dt.truncate(every),
            units=in_units(pl.col("qty"), of_qty),
            worth=in_units(price, of_price) * in_units(pl.col("qty"), of_qty),
        )
        .group_by("open_time", "run", maintain_order=True)
        .agg(
            open=price.first(),
            high=price.max(),
            low=price.min(),
            close=price.last(),
            volume=qty.sum(),
            quote_volume=pl.col("worth").sum(),
            count=(pl.col("last_id") - pl.col("first_id") + 1).sum(),
            taker_buy_volume=qty.filter(bought).sum(),
            taker_buy_quote_volume=pl.col("worth").filter(bought).sum(),
            void=(pl.col("qty") < LEAST_QTY).any(),
        )
    )
    decimals = {
        "volume": of_qty, "taker_buy_volume": of_qty,
        "quote_volume": of_price + of_qty, "taker_buy_quote_volume": of_price + of_qty,
    }  # fmt: skip
    return bars.with_columns(from_units(bars[name], count).alias(name) for name, count in decimals.items())
