"""The streams of Binance USD-M futures.

Belongs here: one `Stream` per stream. Does not belong here: its columns (`wire_columns`), the market's rules
(`market`), how a table uses it.
"""

from __future__ import annotations

from datetime import date, timedelta

from lake_resources.binance.market import UM, UM_FUNDING_RATE, futures_data, um_klines
from lake_resources.binance.stream import ArchiveFiles, Part, RestHistory, SocketFrames, Stream
from lake_resources.binance.wire_columns import (
    AGG_TRADE_COLUMNS,
    BOOK_DEPTH_COLUMNS,
    BOOK_TICKER_COLUMNS,
    FUNDING_RATE_COLUMNS,
    KLINE_COLUMNS,
    METRICS_COLUMNS,
    TRADE_COLUMNS,
)
from lake_resources.binance.witness import ContiguousIds, Grid, NoWitness, Settlements, Total
from lake_resources.binance.ws import frames
from lake_resources.clock import MINUTE

_METRICS_STEP = timedelta(minutes=5)


def _klines(
    name: str, kind: str, first_day: date, text: str, *, by_pair: bool = False, bars_of_trades: bool = False
) -> Stream:
    return Stream(
        name,
        UM,
        KLINE_COLUMNS,
        key=("open_time",),
        time_column="open_time",
        text=text,
        witness=Grid(MINUTE, bars_of_trades),
        archive=ArchiveFiles(kind, "1m", "daily", 12, first_day),
        rest=RestHistory(um_klines(kind), "grid", interval="1m", by_pair=by_pair),
        socket=SocketFrames("kline_1m", "kline", frames.KLINE, "market", spared=True) if bars_of_trades else None,
    )


KLINES_1M = _klines(
    "klines_1m", "klines", date(2019, 12, 31), "one minute of trading: OHLC, volumes, taker buys", bars_of_trades=True
)
MARK_PRICE_KLINES_1M = _klines(
    "mark_price_klines_1m", "markPriceKlines", date(2020, 1, 1), "mark price OHLC of one minute"
)
INDEX_PRICE_KLINES_1M = _klines(
    "index_price_klines_1m", "indexPriceKlines", date(2020, 1, 1), "index price OHLC of one minute", by_pair=True
)
PREMIUM_INDEX_KLINES_1M = _klines(
    "premium_index_klines_1m", "premiumIndexKlines", date(2020, 1, 1), "premium index OHLC of one minute"
)
LIQUIDATIONS = Stream(
    "liquidations",
    UM,
    {},
    key=(),
    time_column="",
    text="the latest liquidation order of each second",
    witness=NoWitness("a socket sends the latest of each second alone, and no history is published"),
    socket=SocketFrames("forceOrder", "forceOrder", frames.FORCE_ORDER, "market"),
)
AGG_TRADES = Stream(
    "agg_trades",
    UM,
    AGG_TRADE_COLUMNS,
    key=("agg_trade_id",),
    time_column="transact_time",
    text="fills of one taker order at one price within 100 ms",
    witness=ContiguousIds(
        "agg_trade_id",
        "first_trade_id",
        "last_trade_id",
        against=KLINES_1M.name,
        fills="count",
        totals=(Total(("quantity",), "volume"), Total(("price", "quantity"), "quote_volume")),
    ),
    archive=ArchiveFiles("aggTrades", None, "daily", 7, date(2019, 12, 31), typical_bytes=13_000_000),
    rest=RestHistory(UM.agg_trades, "ids", retention=timedelta(hours=48)),
    socket=SocketFrames(
        "aggTrade", "aggTrade", frames.AGG_TRADE, "market", together_s=120.0, row_id="a", healed_by=("a", "a")
    ),
)
# Open interest and account ratios are stamped at the end of their 5 minutes, the taker ratio at the start.
_METRICS_PARTS = (
    Part(
        futures_data("openInterestHist"),
        _METRICS_STEP,
        {"sum_open_interest": "sumOpenInterest", "sum_open_interest_value": "sumOpenInterestValue"},
    ),
    Part(
        futures_data("topLongShortAccountRatio"), _METRICS_STEP, {"count_toptrader_long_short_ratio": "longShortRatio"}
    ),
    Part(
        futures_data("topLongShortPositionRatio"), _METRICS_STEP, {"sum_toptrader_long_short_ratio": "longShortRatio"}
    ),
    Part(futures_data("globalLongShortAccountRatio"), _METRICS_STEP, {"count_long_short_ratio": "longShortRatio"}),
    Part(futures_data("takerlongshortRatio"), timedelta(), {"sum_taker_long_short_vol_ratio": "buySellRatio"}),
)
METRICS = Stream(
    "metrics",
    UM,
    METRICS_COLUMNS,
    key=("create_time",),
    time_column="create_time",
    text="open interest and long/short ratios, every 5 minutes",
    witness=Grid(_METRICS_STEP),
    archive=ArchiveFiles("metrics", None, "daily", 8, date(2020, 9, 1), typical_bytes=12_000),
    rest=RestHistory(
        _METRICS_PARTS[0].endpoint,
        "periods",
        retention=timedelta(days=30),
        interval="5m",
        decimals=dict.fromkeys([name for name in METRICS_COLUMNS if name.endswith("_ratio")], 4),
        parts=_METRICS_PARTS,
    ),
)
BOOK_TICKER = Stream(
    "book_ticker",
    UM,
    BOOK_TICKER_COLUMNS,
    key=("update_id",),
    time_column="transaction_time",
    text="each change of the best bid or ask",
    witness=NoWitness("its update ids skip the changes of the rest of the book"),
    archive=ArchiveFiles(
        "bookTicker", None, "daily", 7, date(2023, 5, 16), date(2024, 3, 30), typical_bytes=250_000_000
    ),
    socket=SocketFrames("bookTicker", "bookTicker", frames.BOOK_TICKER, "public", proves_route=True, silence_s=60.0),
)
DEPTH = Stream(
    "depth",
    UM,
    {},
    key=(),
    time_column="",
    text="changes of the order book, every 100 ms",
    witness=NoWitness("its update ids prove that frames follow each other, and no history is published"),
    socket=SocketFrames("depth@100ms", "depthUpdate", frames.DEPTH, "public", proves_route=True, silence_s=30.0),
)
MARK_PRICE = Stream(
    "mark_price",
    UM,
    {},
    key=(),
    time_column="",
    text="mark price, index price and funding estimate, every second",
    witness=NoWitness("a socket alone sends it, and no history is published"),
    socket=SocketFrames(
        "markPrice@1s", "markPriceUpdate", frames.MARK_PRICE, "market", proves_route=True, silence_s=10.0
    ),
)
TRADES = Stream(
    "trades",
    UM,
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
    archive=ArchiveFiles("trades", None, "daily", 6, date(2019, 12, 31)),
)
BOOK_DEPTH = Stream(
    "book_depth",
    UM,
    BOOK_DEPTH_COLUMNS,
    key=("timestamp", "percentage"),
    time_column="timestamp",
    text="depth within ±x % of mid, about every 30 s",
    witness=NoWitness("its snapshots come about every 30 s, at no fixed instants"),
    archive=ArchiveFiles("bookDepth", None, "daily", 4, date(2023, 1, 1)),
)
FUNDING_RATE = Stream(
    "funding_rate",
    UM,
    FUNDING_RATE_COLUMNS,
    key=("calc_time",),
    time_column="calc_time",
    text="one funding settlement",
    witness=Settlements("funding_interval_hours", longest=timedelta(hours=8), jitter=timedelta(seconds=30)),
    archive=ArchiveFiles("fundingRate", None, "monthly", 3, date(2020, 1, 1), typical_bytes=1_000),
    rest=RestHistory(UM_FUNDING_RATE, "cursor"),
    perpetuals_only=True,
)

UM_STREAMS: dict[str, Stream] = {
    stream.name: stream
    for stream in (
        KLINES_1M,
        MARK_PRICE_KLINES_1M,
        INDEX_PRICE_KLINES_1M,
        PREMIUM_INDEX_KLINES_1M,
        LIQUIDATIONS,
        AGG_TRADES,
        METRICS,
        BOOK_TICKER,
        TRADES,
        BOOK_DEPTH,
        FUNDING_RATE,
        MARK_PRICE,
        DEPTH,
    )
}
