"""How a window of history is asked for in pages, one function per way of paging that a stream declares.

Belongs here: cursors, Binance's inclusive bounds, what must hold between pages.
Does not belong here: page sizes (`binance.market`), the call itself (`rest_client`), the shape of a body
(`rest_payloads`). All windows are half-open [start_ms, end_ms) in epoch milliseconds UTC.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

import polars as pl

from lake_resources.binance.market import Endpoint
from lake_resources.binance.rest import rest_payloads
from lake_resources.binance.stream import RestHistory, Stream
from lake_resources.clock import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS
from lake_resources.errors import MalformedAnswer
from lake_resources.http import Query

INTERVALS_MS = {
    f"{count}{unit}": count * size
    for unit, size, counts in (
        ("s", SECOND_MS, (1,)),
        ("m", MINUTE_MS, (1, 3, 5, 15, 30)),
        ("h", HOUR_MS, (1, 2, 4, 6, 8, 12)),
        ("d", DAY_MS, (1, 3)),
    )
    for count in counts
}
# Documented: endTime - startTime < 1 h.
_AGG_TRADE_WINDOW_MS = HOUR_MS

_EPOCH, _MILLISECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(milliseconds=1)

Call = Callable[[Endpoint, Query, Callable[[object, str], pl.DataFrame]], pl.DataFrame]
"""One request: endpoint, query, parser of the body and the request's text."""


@dataclass(frozen=True)
class WantedRows:
    """A window of a stream's history.

    Attributes:
        stream: it.
        rest: how REST serves it.
        symbol: e.g. `BTCUSDT`.
        start_ms: first instant.
        end_ms: instant after the last.
    """

    stream: Stream
    rest: RestHistory
    symbol: str
    start_ms: int
    end_ms: int

    def joined(self, pages: list[pl.DataFrame]) -> pl.DataFrame:
        """All pages as one frame."""
        return pl.concat(pages) if pages else pl.DataFrame(schema=self.stream.columns)


def klines(call: Call, want: WantedRows, interval: str) -> pl.DataFrame:
    """Bars of an interval; the open one is still among them.

    Pages are cut on the grid of open times, not by the last row seen: a page with a missing bar is no end.
    """
    step_ms, endpoint = INTERVALS_MS[interval], want.rest.endpoint
    asked: Query = {"pair": want.stream.market.pair(want.symbol)} if want.rest.by_pair else {"symbol": want.symbol}
    first_ms = -(-want.start_ms // step_ms) * step_ms
    pages = []
    for page_ms in range(first_ms, want.end_ms, endpoint.page * step_ms):
        last_ms = min(page_ms + endpoint.page * step_ms, want.end_ms) - 1
        query: Query = {
            **asked,
            "interval": interval,
            "startTime": page_ms,
            "endTime": last_ms,
            "limit": (last_ms - page_ms) // step_ms + 1,
        }
        parse = partial(
            _within,
            symbol=want.symbol,
            parse=rest_payloads.klines,
            column="open_time",
            first_ms=page_ms,
            last_ms=last_ms,
        )
        pages.append(call(endpoint, query, parse))
    return want.joined(pages)


def first_bar(call: Call, endpoint: Endpoint, symbol: str, now_ms: int) -> datetime | None:
    """Open time of the first bar of a symbol that there ever was, to the second; None where there is none yet.

    The first minute is asked for, and then its first second: bars of seconds may not reach back as far.
    """
    first, end_ms = None, now_ms
    for interval, limit in (("1m", 1), ("1s", MINUTE_MS // SECOND_MS)):
        start_ms = 0 if first is None else (first - _EPOCH) // _MILLISECOND
        query: Query = {
            "symbol": symbol, "interval": interval, "startTime": start_ms, "endTime": end_ms, "limit": limit,
        }  # fmt: skip
        parse = partial(
            _within, symbol=symbol, parse=rest_payloads.klines, column="open_time", first_ms=start_ms, last_ms=end_ms
        )
        found = call(endpoint, query, parse)["open_time"].min()
        if not isinstance(found, datetime):
            break
        first, end_ms = found, (found - _EPOCH) // _MILLISECOND + MINUTE_MS - 1
    return first


def agg_trades(call: Call, want: WantedRows, now_ms: int) -> pl.DataFrame:
    """aggTrades: the first page by time, all others by id, so that trades of one millisecond are never lost.

    Args:
        call: one request.
        want: what of which symbol.
        now_ms: a window that ends later has no end yet: it ends at the first page that is not full.

    Raises:
        MalformedAnswer: ids are missing within or between pages.
    """
    endpoint = want.rest.endpoint
    pages = []
    page = _first_agg_trades(call, want)
    while page.height:
        pages.append(page)
        if _epoch_ms(page, "transact_time") >= want.end_ms:
            break
        next_id = int(page["agg_trade_id"][-1]) + 1
        parse = partial(_agg_trades_from, from_id=next_id)
        query: Query = {"symbol": want.symbol, "fromId": next_id, "limit": endpoint.page}
        page = call(endpoint, query, parse)
        if want.end_ms > now_ms and page.height < endpoint.page:
            pages.append(page)
            break
    return want.joined(pages)


def _first_agg_trades(call: Call, want: WantedRows) -> pl.DataFrame:
    """The first page with a trade at or after the start, walking windows below an hour over quiet times."""
    endpoint = want.rest.endpoint
    for first_ms in range(want.start_ms, want.end_ms, _AGG_TRADE_WINDOW_MS):
        last_ms = min(first_ms + _AGG_TRADE_WINDOW_MS, want.end_ms) - 1
        query: Query = {"symbol": want.symbol, "startTime": first_ms, "endTime": last_ms, "limit": endpoint.page}
        parse = partial(
            _within,
            symbol=want.symbol,
            parse=rest_payloads.agg_trades,
            column="transact_time",
            first_ms=first_ms,
            last_ms=last_ms,
        )
        page = call(endpoint, query, parse)
        if page.height:
            return page
    return want.joined([])


def metrics(call: Call, want: WantedRows) -> pl.DataFrame:
    """Rows of the archive's metrics from the endpoints of their columns, labelled as the archive labels them.

    A column that an endpoint did not have at a time is null.
    """
    period = want.rest.interval or ""
    step_ms = INTERVALS_MS[period]
    joined: pl.DataFrame | None = None
    for part in want.rest.parts:
        pages = []
        shift_ms, page_rows = part.shift // timedelta(milliseconds=1), part.endpoint.page
        stop_ms = want.end_ms + shift_ms
        for page_ms in range(want.start_ms + shift_ms, stop_ms, page_rows * step_ms):
            last_ms = min(page_ms + page_rows * step_ms, stop_ms) - 1
            query: Query = {
                "symbol": want.symbol,
                "period": period,
                "startTime": page_ms,
                "endTime": last_ms,
                "limit": page_rows,
            }
            rows = partial(rest_payloads.futures_data, fields=part.fields)
            parse = partial(
                _within, symbol=want.symbol, parse=rows, column="timestamp", first_ms=page_ms, last_ms=last_ms
            )
            pages.append(call(part.endpoint, query, parse))
        if not pages:
            break
        label = pl.col("timestamp") - part.shift
        source = pl.concat(pages).select(label.alias("create_time"), *part.fields)
        joined = source if joined is None else joined.join(source, on="create_time", how="full", coalesce=True)
    if joined is None:
        return want.joined([])
    return joined.with_columns(symbol=pl.lit(want.symbol)).select(*want.stream.columns).sort("create_time")


def funding_rate(call: Call, want: WantedRows) -> pl.DataFrame:
    """Funding settlements, a page after the other until an empty one."""
    pages = []
    cursor_ms, last_ms = want.start_ms, want.end_ms - 1
    while cursor_ms <= last_ms:
        query: Query = {
            "symbol": want.symbol,
            "startTime": cursor_ms,
            "endTime": last_ms,
            "limit": want.rest.endpoint.page,
        }
        parse = partial(
            _within,
            symbol=want.symbol,
            parse=rest_payloads.funding_rate,
            column="calc_time",
            first_ms=cursor_ms,
            last_ms=last_ms,
        )
        page = call(want.rest.endpoint, query, parse)
        if not page.height:
            break
        pages.append(page)
        cursor_ms = _epoch_ms(page, "calc_time") + 1
    return want.joined(pages)


def _within(
    body: object,
    endpoint: str,
    *,
    symbol: str,
    parse: Callable[[object, str], pl.DataFrame],
    column: str,
    first_ms: int,
    last_ms: int,
) -> pl.DataFrame:
    """Parse, and hold the exchange to the symbol and the bounds that were asked; a row in microseconds lies outside."""
    frame = parse(body, endpoint)
    rows = body if isinstance(body, list) else []
    named = {str(row["symbol"])[:40] for row in rows if isinstance(row, dict) and "symbol" in row}
    others = sorted(named - {symbol})
    if others:
        raise MalformedAnswer(endpoint, f"rows of {', '.join(others[:3])}, asked for {symbol}")
    ends = frame.get_column(column).min(), frame.get_column(column).max()
    if all(isinstance(end, datetime) and first_ms <= (end - _EPOCH) // _MILLISECOND <= last_ms for end in ends):
        return frame
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
