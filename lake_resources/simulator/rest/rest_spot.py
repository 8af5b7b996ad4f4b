"""REST endpoints of the spot market, `/api/v3/…`: what differs from those of futures.

Belongs here: parameters, limits and rows that spot alone has. Does not belong here: what both markets answer alike
(`rest_market`), weights and routes (`rest_routes`). Everything is printed with 8 decimals.
"""

from __future__ import annotations

import numpy as np

from lake_resources.simulator.market.feed import SymbolFeed
from lake_resources.simulator.market.rng import Ints
from lake_resources.simulator.market.trades import MINUTE_MS
from lake_resources.simulator.rest import rest_market
from lake_resources.simulator.rest.rest_market import Json
from lake_resources.simulator.rest.rest_query import Query

KLINE_LIMIT = 1000
DEEPEST = 5000
_LONGEST_QUIET = 2_000
_BEYOND = 1 << 60


def klines(query: Query) -> tuple[list[Json], Ints]:
    """Rows of `klines`, `1s` among the intervals: a quiet second is a row as well."""
    return rest_market.trade_klines(query, largest=KLINE_LIMIT)


def agg_trades(query: Query) -> tuple[list[Json], Ints]:
    """Rows of `aggTrades`, all of which are kept; each was the best match."""
    found = rest_market.aggregates(query, kept_ms=None)
    return [row | {"M": True} for row in rest_market.aggregate_rows(query, query.feed(), found)], found.agg_time


def recent_trades(query: Query) -> tuple[list[Json], Ints]:
    """Rows of `trades`: the most recent fills."""
    rows, times = rest_market.recent_trades(query)
    return [row | {"isBestMatch": True} for row in rows], times


def historical_trades(query: Query) -> tuple[list[Json], Ints]:
    """Rows of `historicalTrades`: fills from an id on, or the most recent where none is given."""
    from_id = query.number("fromId")
    if from_id is None:
        return recent_trades(query)
    feed, limit = query.feed(), query.limit(500, 1000)
    minute = feed.market.first_minute
    low, high = minute, query.now_ms // MINUTE_MS
    # Ids grow with time: the last minute whose first fill is not beyond the id.
    while low < high:
        middle = (low + high + 1) // 2
        if _first_fill(feed, middle) <= from_id:
            low = middle
        else:
            high = middle - 1
    end = low + 10
    while True:
        found = feed.trades(low, min(end, query.now_ms // MINUTE_MS + 1))
        first = int(np.searchsorted(found.fill_id, from_id))
        last = int(np.searchsorted(found.fill_time, query.now_ms, side="right"))
        if last - first >= limit or end > query.now_ms // MINUTE_MS:
            break
        end += 4 * (end - low)
    rows, times = rest_market.fill_rows(query, feed, found, slice(first, max(first, min(last, first + limit))))
    return [row | {"isBestMatch": True} for row in rows], times


def _first_fill(feed: SymbolFeed, minute: int) -> int:
    """Id of the first fill at or after a minute; beyond any where nothing trades any more."""
    span = 1
    while span <= _LONGEST_QUIET:
        found = feed.trades(minute, minute + span)
        if len(found.fill_id):
            return int(found.fill_id[0])
        span *= 4
    return _BEYOND


def depth(query: Query) -> Json:
    """The order book, without times, up to 5,000 levels asked for."""
    answer = rest_market.order_book(query, query.limit(100, DEEPEST))
    return {name: answer[name] for name in ("lastUpdateId", "bids", "asks")}


def _without(answer: Json, *names: str) -> Json:
    """An answer of futures, one row or many, without fields that spot does not have."""
    if isinstance(answer, list):
        return [_without(row, *names) for row in answer]
    return {name: value for name, value in answer.items() if name not in names}


def book_ticker(query: Query) -> Json:
    """The best bid and ask now, without any time."""
    return _without(rest_market.book_ticker(query), "time", "lastUpdateId")


def last_price(query: Query) -> Json:
    """`ticker/price`: the price of the last fill."""
    return _without(rest_market.last_price(query), "time")


def day_ticker(query: Query) -> Json:
    """`ticker/24hr`: the last 1,440 minutes, the running one included, with the best bid and ask."""
    days, books = rest_market.day_ticker(query), rest_market.book_ticker(query)
    if not isinstance(days, list):
        return _with_book(days, books)
    by_symbol = {row["symbol"]: row for row in books}
    return [_with_book(row, by_symbol[row["symbol"]]) for row in days]


def _with_book(day: Json, book: Json) -> Json:
    names = ("bidPrice", "bidQty", "askPrice", "askQty")
    return {**day, "prevClosePrice": day["openPrice"], **{name: book[name] for name in names}}


def average_price(query: Query) -> Json:
    """`avgPrice`: the mean price of the last 5 minutes."""
    feed, minute = query.feed(), query.now_ms // MINUTE_MS
    bars = feed.bars(minute - 4, minute + 1, query.now_ms)
    volume = max(int(bars.volume.sum()), 1)
    price = int(bars.quote.sum()) // volume if bars.volume.sum() else int(bars.close[-1])
    return {"mins": 5, "price": query.text(price, feed.spec.price_digits), "closeTime": query.now_ms}
