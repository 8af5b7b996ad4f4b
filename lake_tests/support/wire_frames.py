"""Wire frames for tests, row by row or generated, with the types of the real streams.

Belongs here: builders whose arguments are what a test wants to vary. Does not belong here: any expected value.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from lake_assets.transforms.assemble import MinuteInputs
from lake_assets.transforms.book import book_features
from lake_assets.transforms.trades import trade_features
from lake_resources.binance.um_streams import UM_STREAMS
from lake_resources.clock import HOUR, MINUTE

TEN = datetime(2026, 1, 15, 10, tzinfo=UTC)


def wire(stream: str, rows: Sequence[Sequence[Any]] = ()) -> pl.DataFrame:
    """Rows in the column order of the stream."""
    return pl.DataFrame([list(row) for row in rows], schema=UM_STREAMS[stream].columns, orient="row")


def kline(
    at: datetime,
    ohlc: tuple[float, float, float, float] = (100.0, 101.0, 99.0, 100.5),
    volume: float = 2.0,
    quote: float = 200_000.0,
    count: int = 20,
    taker: float = 1.1,
    taker_quote: float = 110_000.0,
) -> tuple[Any, ...]:
    """One row of a kline stream."""
    return (at, *ohlc, volume, at + MINUTE - timedelta(milliseconds=1), quote, count, taker, taker_quote)


def agg_trade(number: int, at: datetime, price: float, quantity: float, *, maker: bool) -> tuple[Any, ...]:
    """One row of `agg_trades` that merges one single trade."""
    return (number, price, quantity, number, number, at, maker)


def metrics_row(
    at: datetime, oi: float | None, value: float | None, top: float | None, world: float | None
) -> tuple[Any, ...]:
    """One row of `metrics`; columns the lake does not use are 1."""
    return (at, "BTCUSDT", oi, value, top, 1.0, world, 1.0)


def coverage(hours: Iterable[datetime], *, agg_trades: bool = True, book_ticker: bool = True) -> pl.DataFrame:
    """The same coverage for all hours."""
    rows = [(hour, agg_trades, book_ticker) for hour in hours]
    schema = {"hour": pl.Datetime("us", "UTC"), "trades_filed": pl.Boolean(), "book_filed": pl.Boolean()}
    return pl.DataFrame(rows, schema=schema, orient="row")


BARS = {
    "mark_price_klines_1m": "mark",
    "index_price_klines_1m": "index",
    "premium_index_klines_1m": "premium",
}
"""Short names of the bars beside the klines."""


def inputs(start: datetime, end: datetime, **streams: pl.DataFrame | None) -> MinuteInputs:
    """Inputs of a window; ticks may be given raw as `agg_trades` and `book_ticker`, streams not given are absent."""
    trades, book = streams.get("agg_trades"), streams.get("book_ticker")
    first = start.replace(minute=0)
    hours = [first + HOUR * i for i in range(int((end - first) / HOUR) + 1)]
    given = streams.get("coverage")
    klines = streams.get("klines")
    return MinuteInputs(
        start=start,
        end=end,
        klines=wire("klines_1m") if klines is None else klines,
        bars={name: streams.get(short) for name, short in BARS.items()},
        trades=None if trades is None else trade_features(trades),
        book=None if book is None else book_features(book),
        metrics=streams.get("metrics"),
        funding=streams.get("funding"),
        coverage=given
        if given is not None
        else coverage(hours, agg_trades=trades is not None, book_ticker=book is not None),
    )
