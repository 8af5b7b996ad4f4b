"""The streams of Binance's spot market.

Belongs here: one `Stream` per stream. Does not belong here: its columns (`wire_columns`), the market's rules
(`market`), how a table uses it.
"""

from __future__ import annotations

from datetime import date, timedelta

from lake_resources.binance.market import SPOT, SPOT_KLINES
from lake_resources.binance.stream import ArchiveFiles, RestHistory, SocketFrames, Stream
from lake_resources.binance.wire_columns import AGG_TRADE_COLUMNS, KLINE_COLUMNS, TRADE_COLUMNS
from lake_resources.binance.witness import ContiguousIds, Grid, NoWitness, Total
from lake_resources.binance.ws import frames

_FIRST_DAY = date(2017, 8, 17)
_BYTES = {"1s": 2_500_000, "1m": 60_000}
"""About how large a day's file of a large symbol is; of longer intervals it is smaller."""
_INTERVALS = {
    "1s": (timedelta(seconds=1), "one second"),
    "1m": (timedelta(minutes=1), "one minute"),
    "5m": (timedelta(minutes=5), "5 minutes"),
    "15m": (timedelta(minutes=15), "15 minutes"),
    "1h": (timedelta(hours=1), "one hour"),
    "1d": (timedelta(days=1), "one day"),
}


def _klines(interval: str) -> Stream:
    step, text = _INTERVALS[interval]
    return Stream(
        f"klines_{interval}",
        SPOT,
        KLINE_COLUMNS,
        key=("open_time",),
        time_column="open_time",
        text=f"{text} of trading: OHLC, volumes, taker buys",
        witness=Grid(step, bars_of_trades=True),
        archive=ArchiveFiles("klines", interval, "daily", 12, _FIRST_DAY, typical_bytes=_BYTES.get(interval, 20_000)),
        rest=RestHistory(SPOT_KLINES, "grid", interval=interval),
        # Sent once a second, also where nothing was traded.
        socket=SocketFrames("kline_1s", "kline", frames.KLINE, "", spared=True) if interval == "1s" else None,
    )


_KLINES = {interval: _klines(interval) for interval in _INTERVALS}
KLINES_1S = _KLINES["1s"]
KLINES_1M = _KLINES["1m"]
AGG_TRADES = Stream(
    "agg_trades",
    SPOT,
    AGG_TRADE_COLUMNS,
    key=("agg_trade_id",),
    time_column="transact_time",
    text="fills of one taker order at one price",
    witness=ContiguousIds(
        "agg_trade_id",
        "first_trade_id",
        "last_trade_id",
        against=KLINES_1M.name,
        fills="count",
        totals=(Total(("quantity",), "volume"), Total(("price", "quantity"), "quote_volume")),
    ),
    # The eighth column says whether it was the best match, which is always true.
    archive=ArchiveFiles("aggTrades", None, "daily", 8, _FIRST_DAY, typical_bytes=12_000_000),
    rest=RestHistory(SPOT.agg_trades, "ids"),
)
TRADES = Stream(
    "trades",
    SPOT,
    TRADE_COLUMNS,
    key=("id",),
    time_column="time",
    text="one fill",
    witness=ContiguousIds(
        "id",
        "id",
        "id",
        against=KLINES_1M.name,
        fills="count",
        totals=(Total(("qty",), "volume"), Total(("quote_qty",), "quote_volume")),
    ),
    archive=ArchiveFiles("trades", None, "daily", 7, _FIRST_DAY, typical_bytes=30_000_000),
    socket=SocketFrames("trade", "trade", frames.TRADE, "", together_s=120.0, row_id="t"),
)
BOOK_TICKER = Stream(
    "book_ticker",
    SPOT,
    {},
    key=(),
    time_column="",
    text="each change of the best bid or ask; it carries no time of the exchange",
    witness=NoWitness("a socket alone sends it, and no history is published"),
    socket=SocketFrames("bookTicker", None, frames.BOOK_TICKER, "", proves_route=True, silence_s=60.0),
)

SPOT_STREAMS: dict[str, Stream] = {
    stream.name: stream for stream in (*_KLINES.values(), AGG_TRADES, TRADES, BOOK_TICKER)
}
