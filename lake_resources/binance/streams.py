"""The archive streams of Binance USD-M futures: names, columns, paths.

Belongs here: one `Stream` per stream, with Binance's own column names and the typed frame that both REST and
Vision deliver for it. Does not belong here: any column of the lake, any request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

import polars as pl

UTC_US = pl.Datetime("us", "UTC")

KLINE_COLUMNS: dict[str, pl.DataType] = {
    "open_time": UTC_US,
    "open": pl.Float64(),
    "high": pl.Float64(),
    "low": pl.Float64(),
    "close": pl.Float64(),
    "volume": pl.Float64(),
    "close_time": UTC_US,
    "quote_volume": pl.Float64(),
    "count": pl.Int64(),
    "taker_buy_volume": pl.Float64(),
    "taker_buy_quote_volume": pl.Float64(),
}
AGG_TRADE_COLUMNS: dict[str, pl.DataType] = {
    "agg_trade_id": pl.Int64(),
    "price": pl.Float64(),
    "quantity": pl.Float64(),
    "first_trade_id": pl.Int64(),
    "last_trade_id": pl.Int64(),
    "transact_time": UTC_US,
    "is_buyer_maker": pl.Boolean(),
}
TRADE_COLUMNS: dict[str, pl.DataType] = {
    "id": pl.Int64(),
    "price": pl.Float64(),
    "qty": pl.Float64(),
    "quote_qty": pl.Float64(),
    "time": UTC_US,
    "is_buyer_maker": pl.Boolean(),
}
BOOK_TICKER_COLUMNS: dict[str, pl.DataType] = {
    "update_id": pl.Int64(),
    "best_bid_price": pl.Float64(),
    "best_bid_qty": pl.Float64(),
    "best_ask_price": pl.Float64(),
    "best_ask_qty": pl.Float64(),
    "transaction_time": UTC_US,
    "event_time": UTC_US,
}
BOOK_DEPTH_COLUMNS: dict[str, pl.DataType] = {
    "timestamp": UTC_US,
    "percentage": pl.Float64(),
    "depth": pl.Float64(),
    "notional": pl.Float64(),
}
METRICS_COLUMNS: dict[str, pl.DataType] = {
    "create_time": UTC_US,
    "symbol": pl.String(),
    "sum_open_interest": pl.Float64(),
    "sum_open_interest_value": pl.Float64(),
    "count_toptrader_long_short_ratio": pl.Float64(),
    "sum_toptrader_long_short_ratio": pl.Float64(),
    "count_long_short_ratio": pl.Float64(),
    "sum_taker_long_short_vol_ratio": pl.Float64(),
}
FUNDING_RATE_COLUMNS: dict[str, pl.DataType] = {
    "calc_time": UTC_US,
    "funding_interval_hours": pl.Int64(),
    "last_funding_rate": pl.Float64(),
}


@dataclass(frozen=True)
class Stream:
    """One archive stream.

    Attributes:
        name: the lake's name of the stream, the last part of its asset key.
        vision_type: Binance's directory, e.g. `markPriceKlines`.
        interval: interval directory, or None.
        cadence: `daily` or `monthly` archive files.
        columns: typed columns, in the order of the archive CSV (klines drop the last, unused one).
        csv_columns: how many columns the CSV has.
        time_column: the event time a row is bucketed by.
        key: columns that identify a row; rows are stored sorted by them.
        first_day: first day that can exist in the archive.
        last_day: last day that exists in the archive, or None while it goes on.
        text: one line of what a row is.
        rest_decimals: columns that REST publishes with fewer decimals than the archive.
    """

    name: str
    vision_type: str
    interval: str | None
    cadence: str
    columns: dict[str, pl.DataType]
    csv_columns: int
    time_column: str
    key: tuple[str, ...]
    first_day: date
    last_day: date | None
    text: str
    rest_decimals: Mapping[str, int] = field(default_factory=dict)

    def file_name(self, symbol: str, period: str) -> str:
        """Name of the zip; `period` is `YYYY-MM-DD`, or `YYYY-MM` for a monthly stream."""
        return f"{symbol}-{self.interval or self.vision_type}-{period}.zip"

    def url_path(self, symbol: str, period: str) -> str:
        """Path of the zip below the Vision base URL; its checksum is the same path + `.CHECKSUM`."""
        interval = f"{self.interval}/" if self.interval else ""
        return f"/data/futures/um/{self.cadence}/{self.vision_type}/{symbol}/{interval}{self.file_name(symbol, period)}"


def _kline(name: str, vision_type: str, first_day: date, text: str) -> Stream:
    return Stream(
        name, vision_type, "1m", "daily", KLINE_COLUMNS, 12, "open_time", ("open_time",), first_day, None, text
    )


STREAMS: dict[str, Stream] = {
    stream.name: stream
    for stream in (
        _kline("klines_1m", "klines", date(2019, 12, 31), "one minute of trading: OHLC, volumes, taker buys"),
        _kline("mark_price_klines_1m", "markPriceKlines", date(2020, 1, 1), "mark price OHLC of one minute"),
        _kline("index_price_klines_1m", "indexPriceKlines", date(2020, 1, 1), "index price OHLC of one minute"),
        _kline("premium_index_klines_1m", "premiumIndexKlines", date(2020, 1, 1), "premium index OHLC of one minute"),
        Stream(
            "agg_trades", "aggTrades", None, "daily", AGG_TRADE_COLUMNS, 7, "transact_time", ("agg_trade_id",),
            date(2019, 12, 31), None, "fills of one taker order at one price within 100 ms",
        ),
        Stream(
            "metrics", "metrics", None, "daily", METRICS_COLUMNS, 8, "create_time", ("create_time",),
            date(2020, 9, 1), None, "open interest and long/short ratios, every 5 minutes",
            dict.fromkeys([name for name in METRICS_COLUMNS if name.endswith("_ratio")], 4),
        ),
        Stream(
            "book_ticker", "bookTicker", None, "daily", BOOK_TICKER_COLUMNS, 7, "transaction_time", ("update_id",),
            date(2023, 5, 16), date(2024, 3, 30), "each change of the best bid or ask",
        ),
        Stream(
            "trades", "trades", None, "daily", TRADE_COLUMNS, 6, "time", ("id",),
            date(2019, 12, 31), None, "one fill",
        ),
        Stream(
            "book_depth", "bookDepth", None, "daily", BOOK_DEPTH_COLUMNS, 4, "timestamp", ("timestamp", "percentage"),
            date(2023, 1, 1), None, "depth within ±x % of mid, about every 30 s",
        ),
        Stream(
            "funding_rate", "fundingRate", None, "monthly", FUNDING_RATE_COLUMNS, 3, "calc_time", ("calc_time",),
            date(2020, 1, 1), None, "one funding settlement",
        ),
    )
}  # fmt: skip
KLINE_STREAMS = ("klines_1m", "mark_price_klines_1m", "index_price_klines_1m", "premium_index_klines_1m")
