"""How a window of history is asked for in pages, one function per kind of endpoint.

Belongs here: page sizes, cursors, Binance's inclusive bounds, what must hold between pages.
Does not belong here: the call itself (rest.py), the shape of a body (rest_payloads.py).
All windows are half-open [start_ms, end_ms) in epoch milliseconds UTC.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial

import polars as pl

from lake_resources.binance.rest import rest_payloads, weights
from lake_resources.binance.streams import METRICS_COLUMNS, STREAMS
from lake_resources.errors import MalformedAnswer
from lake_resources.http import Query

INTERVALS_MS = {
    f"{count}{unit}": count * size
    for unit, size, counts in (
        ("m", 60_000, (1, 3, 5, 15, 30)),
        ("h", 3_600_000, (1, 2, 4, 6, 8, 12)),
        ("d", 86_400_000, (1, 3)),
    )
    for count in counts
}
METRICS_STEP = timedelta(minutes=5)
_STEP_MS = 300_000
# Documented: endTime - startTime < 1 h.
_AGG_TRADE_WINDOW_MS = 3_600_000

# Path of each /futures/data endpoint → (shift of its timestamp against the archive's create_time, its columns).
# Open interest and account ratios are stamped at the end of their 5 minutes, the taker ratio at the start.
METRICS_SOURCES: dict[str, tuple[int, dict[str, str]]] = {
    "openInterestHist": (
        _STEP_MS,
        {"sum_open_interest": "sumOpenInterest", "sum_open_interest_value": "sumOpenInterestValue"},
    ),
    "topLongShortAccountRatio": (_STEP_MS, {"count_toptrader_long_short_ratio": "longShortRatio"}),
    "topLongShortPositionRatio": (_STEP_MS, {"sum_toptrader_long_short_ratio": "longShortRatio"}),
    "globalLongShortAccountRatio": (_STEP_MS, {"count_long_short_ratio": "longShortRatio"}),
    "takerlongshortRatio": (0, {"sum_taker_long_short_vol_ratio": "buySellRatio"}),
}


Call = Callable[[str, Query, Callable[[object, str], pl.DataFrame]], pl.DataFrame]
"""One request: path, query, parser of the body and the endpoint's text."""


def klines(call: Call, stream_name: str, symbol: str, start_ms: int, end_ms: int, interval: str) -> pl.DataFrame:
    """The kline family, 499 rows (weight 2) a page; the open kline is still in it.

    Pages are cut on the grid of open times, not by the last row seen: a page with a missing minute is no end.
    """
    step_ms = INTERVALS_MS[interval]
    name = "pair" if stream_name == "index_price_klines_1m" else "symbol"
    first_ms = -(-start_ms // step_ms) * step_ms
    pages = []
    for page_ms in range(first_ms, end_ms, weights.KLINE_PAGE * step_ms):
        last_ms = min(page_ms + weights.KLINE_PAGE * step_ms, end_ms) - 1
        query: Query = {
            name: symbol,
            "interval": interval,
            "startTime": page_ms,
            "endTime": last_ms,
            "limit": (last_ms - page_ms) // step_ms + 1,
        }
        parse = partial(_within, parse=rest_payloads.klines, column="open_time", first_ms=page_ms, last_ms=last_ms)
        pages.append(call(weights.KLINE_PATHS[stream_name], query, parse))
    return _joined(pages, stream_name)


def agg_trades(call: Call, symbol: str, start_ms: int, end_ms: int, now_ms: int) -> pl.DataFrame:
    """aggTrades: the first page by time, all others by id, so that trades of one millisecond are never lost.

    Args:
        call: one request.
        symbol: e.g. `BTCUSDT`.
        start_ms: first instant.
        end_ms: instant after the last.
        now_ms: a window that ends later has no end yet: it ends at the first page that is not full.

    Raises:
        MalformedAnswer: ids are missing within or between pages.
    """
    pages = []
    page = _first_agg_trades(call, symbol, start_ms, end_ms)
    while page.height:
        pages.append(page)
        if _epoch_ms(page, "transact_time") >= end_ms:
            break
        next_id = int(page["agg_trade_id"][-1]) + 1
        parse = partial(_agg_trades_from, from_id=next_id)
        query: Query = {"symbol": symbol, "fromId": next_id, "limit": weights.AGG_TRADE_PAGE}
        page = call(weights.AGG_TRADES, query, parse)
        if end_ms > now_ms and page.height < weights.AGG_TRADE_PAGE:
            pages.append(page)
            break
    return _joined(pages, "agg_trades")


def _first_agg_trades(call: Call, symbol: str, start_ms: int, end_ms: int) -> pl.DataFrame:
    """The first page with a trade at or after start_ms, walking windows below an hour over quiet times."""
    for first_ms in range(start_ms, end_ms, _AGG_TRADE_WINDOW_MS):
        last_ms = min(first_ms + _AGG_TRADE_WINDOW_MS, end_ms) - 1
        query: Query = {
            "symbol": symbol,
            "startTime": first_ms,
            "endTime": last_ms,
            "limit": weights.AGG_TRADE_PAGE,
        }
        parse = partial(
            _within, parse=rest_payloads.agg_trades, column="transact_time", first_ms=first_ms, last_ms=last_ms
        )
        page = call(weights.AGG_TRADES, query, parse)
        if page.height:
            return page
    return _joined([], "agg_trades")


def metrics(call: Call, symbol: str, start_ms: int, end_ms: int) -> pl.DataFrame:
    """The archive's metrics rows from the five `/futures/data` endpoints, labelled as the archive labels them.

    A column that an endpoint did not have at a time is null.
    """
    joined: pl.DataFrame | None = None
    for name, (shift_ms, fields) in METRICS_SOURCES.items():
        pages = []
        stop_ms = end_ms + shift_ms
        for page_ms in range(start_ms + shift_ms, stop_ms, weights.FUTURES_DATA_PAGE * _STEP_MS):
            last_ms = min(page_ms + weights.FUTURES_DATA_PAGE * _STEP_MS, stop_ms) - 1
            query: Query = {
                "symbol": symbol,
                "period": "5m",
                "startTime": page_ms,
                "endTime": last_ms,
                "limit": weights.FUTURES_DATA_PAGE,
            }
            rows = partial(rest_payloads.futures_data, fields=fields)
            parse = partial(_within, parse=rows, column="timestamp", first_ms=page_ms, last_ms=last_ms)
            pages.append(call(weights.FUTURES_DATA + name, query, parse))
        if not pages:
            break
        label = pl.col("timestamp") - timedelta(milliseconds=shift_ms)
        source = pl.concat(pages).select(label.alias("create_time"), *fields)
        joined = source if joined is None else joined.join(source, on="create_time", how="full", coalesce=True)
    if joined is None:
        return _joined([], "metrics")
    return joined.with_columns(symbol=pl.lit(symbol)).select(*METRICS_COLUMNS).sort("create_time")


def funding_rate(call: Call, symbol: str, start_ms: int, end_ms: int) -> pl.DataFrame:
    """Funding settlements, 1000 a page, until an empty one."""
    pages = []
    cursor_ms = start_ms
    while cursor_ms < end_ms:
        query: Query = {
            "symbol": symbol,
            "startTime": cursor_ms,
            "endTime": end_ms - 1,
            "limit": weights.FUNDING_PAGE,
        }
        parse = partial(
            _within, parse=rest_payloads.funding_rate, column="calc_time", first_ms=cursor_ms, last_ms=end_ms - 1
        )
        page = call(weights.FUNDING_RATE, query, parse)
        if not page.height:
            break
        pages.append(page)
        cursor_ms = _epoch_ms(page, "calc_time") + 1
    return _joined(pages, "funding_rate")


def _within(
    body: object,
    endpoint: str,
    *,
    parse: Callable[[object, str], pl.DataFrame],
    column: str,
    first_ms: int,
    last_ms: int,
) -> pl.DataFrame:
    """Parse, and hold the exchange to the bounds that were asked (a row in microseconds is found here)."""
    frame = parse(body, endpoint)
    outside = frame.filter(~pl.col(column).dt.epoch("ms").is_between(first_ms, last_ms))
    if outside.height:
        raise MalformedAnswer(endpoint, f"{outside.height} rows lie outside of the window, first {outside[column][0]}")
    return frame


def _agg_trades_from(body: object, endpoint: str, *, from_id: int) -> pl.DataFrame:
    frame = rest_payloads.agg_trades(body, endpoint)
    if frame.height and frame["agg_trade_id"][0] != from_id:
        found = frame["agg_trade_id"][0]
        raise MalformedAnswer(endpoint, f"asked for aggTrade ids from {from_id}, got them from {found}")
    return frame


def _epoch_ms(frame: pl.DataFrame, column: str) -> int:
    return int(frame[column].dt.epoch("ms").max())  # type: ignore[arg-type]


def _joined(pages: list[pl.DataFrame], stream_name: str) -> pl.DataFrame:
    if not pages:
        return pl.DataFrame(schema=STREAMS[stream_name].columns)
    return pl.concat(pages)
