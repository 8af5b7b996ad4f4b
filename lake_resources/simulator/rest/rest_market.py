"""REST endpoints of prices and trades: the kline family, aggTrades, trades, depth, tickers.

Belongs here: their parameters, windows and rows. Does not belong here: weights and routes (rest.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lake_resources.simulator.market.bars import (
    DAY_MS,
    INTERVAL_MINUTES,
    SECOND,
    Bars,
    interval_end_ms,
    interval_start_ms,
    roll_up,
)
from lake_resources.simulator.market.book import Side
from lake_resources.simulator.market.decimals import texts
from lake_resources.simulator.market.derive import retail_quantity
from lake_resources.simulator.market.feed import SymbolFeed
from lake_resources.simulator.market.rng import Ints
from lake_resources.simulator.market.trades import HOUR_MINUTES, MINUTE_MS, Trades
from lake_resources.simulator.rest.rest_query import (
    BAD_DEPTH_LIMIT,
    BAD_INTERVAL,
    BAD_PARAMETER,
    NOT_TRADING,
    NOT_TRADING_TEXT,
    WINDOW_TOO_LONG,
    WINDOW_TOO_OLD,
    ApiError,
    Query,
)

AGG_TRADE_RETENTION_MS = 2 * DAY_MS
AGG_TRADE_WINDOW_MS = HOUR_MINUTES * MINUTE_MS
"""Both ends lie an hour apart at most; the rule has been seen unenforced, too."""
DEPTH_LIMITS = (5, 10, 20, 50, 100, 500, 1000)
CONTRACT_TYPES = ("PERPETUAL", "CURRENT_QUARTER", "NEXT_QUARTER", "TRADIFI_PERPETUAL")
Json = Any


def _window_minutes(query: Query, feed: SymbolFeed, interval: str, limit: int) -> tuple[int, int]:
    """Minutes [start, end) to look at for the bars asked for, at least those."""
    start, end = query.window()
    first_ms = feed.market.first_minute * MINUTE_MS
    if feed.market.end_minute is not None:
        last_ms = min(query.now_ms, feed.market.end_minute * MINUTE_MS - 1)
    else:
        last_ms = query.now_ms
    width = (INTERVAL_MINUTES[interval] or 44_640) * MINUTE_MS
    end_open = interval_start_ms(last_ms if end is None else min(end, last_ms), interval)
    if start is None:
        low = end_open - (limit - 1) * width
    else:
        low = interval_start_ms(max(start, first_ms - width) + width - 1, interval)
        end_open = min(end_open, interval_start_ms(low + limit * width, interval))
    low = max(low, interval_start_ms(first_ms, interval))
    return low // MINUTE_MS, interval_end_ms(end_open, interval) // MINUTE_MS


def _window_seconds(query: Query, feed: SymbolFeed, limit: int) -> tuple[int, int]:
    """Epoch seconds [start, end) of the bars of one second asked for."""
    start, end = query.window()
    last = (query.now_ms if end is None else min(end, query.now_ms)) // 1000
    first = feed.market.first_minute * 60
    low = last - limit + 1 if start is None else max(-(-start // 1000), first)
    return max(low, first), min(last + 1, low + limit)


def _select(bars: Bars, query: Query, limit: int) -> Bars:
    start, end = query.window()
    low = start or 0
    chosen = bars.between(low, (end if end is not None else query.now_ms) + 1)
    return chosen.take(slice(0, limit)) if start is not None else chosen.take(slice(max(len(chosen) - limit, 0), None))


def trade_klines(query: Query, largest: int = 1500) -> tuple[list[Json], Ints]:
    """Rows of `klines`, the running bar last."""
    return _trade_rows(query, query.feed(), largest)


def _trade_rows(query: Query, feed: SymbolFeed, largest: int) -> tuple[list[Json], Ints]:
    known = (SECOND, *INTERVAL_MINUTES) if query.spot else tuple(INTERVAL_MINUTES)
    interval = query.choice("interval", known, BAD_INTERVAL)
    limit = query.limit(500, largest)
    if interval == SECOND:
        found = feed.second_bars(*_window_seconds(query, feed, limit), query.now_ms)
    else:
        found = feed.interval_bars(interval, *_window_minutes(query, feed, interval, limit), query.now_ms)
    bars, spec, texts = _select(found, query, limit), feed.spec, query.texts
    price = [texts(values, spec.price_digits) for values in (bars.open, bars.high, bars.low, bars.close)]
    volume, taker = texts(bars.volume, spec.quantity_digits), texts(bars.taker_volume, spec.quantity_digits)
    quote, taker_quote = texts(bars.quote, spec.quote_digits), texts(bars.taker_quote, spec.quote_digits)
    close_ms = [interval_end_ms(int(at), interval) - 1 for at in bars.open_ms]
    rows = zip(
        bars.open_ms.tolist(), *price, volume, close_ms, quote, bars.count.tolist(), taker, taker_quote,
        ["0"] * len(bars), strict=True,
    )  # fmt: skip
    return [list(row) for row in rows], bars.open_ms


def reference_klines(query: Query, kind: str) -> tuple[list[Json], Ints]:
    """Rows of mark, index (by pair) or premium index klines; element 8 counts samples."""
    feed = query.pair() if kind == "index" else query.feed()
    interval = query.choice("interval", tuple(INTERVAL_MINUTES), BAD_INTERVAL)
    limit = query.limit(500, 1500)
    first, end = _window_minutes(query, feed, interval, limit)
    bars = _select(roll_up(feed.reference_bars(kind, first, end, query.now_ms), interval), query, limit)
    price = [texts(values, 8) for values in (bars.open, bars.high, bars.low, bars.close)]
    close_ms = [interval_end_ms(int(at), interval) - 1 for at in bars.open_ms]
    zeros = ["0"] * len(bars)
    rows = zip(
        bars.open_ms.tolist(), *price, zeros, close_ms, zeros, bars.count.tolist(), zeros, zeros, zeros, strict=True
    )
    return [list(row) for row in rows], bars.open_ms


def continuous_klines(query: Query) -> tuple[list[Json], Ints]:
    """Rows of `continuousKlines`: of the perpetual; those of other contract types are empty."""
    contract, feed = query.choice("contractType", CONTRACT_TYPES, BAD_PARAMETER), query.pair()
    if contract != "PERPETUAL" or not feed.spec.perpetual:
        return [], np.zeros(0, np.int64)
    return _trade_rows(query, feed, 1500)


def _aggregates_from(feed: SymbolFeed, minute: int, now_ms: int, keep_from: tuple[str, int], limit: int) -> Trades:
    """The first aggregates at or after an id or a time, finished at `now_ms`, at least `limit` where they exist."""
    name, value = keep_from
    end = minute + HOUR_MINUTES
    while True:
        found = feed.trades(minute, min(end, now_ms // MINUTE_MS + 1))
        mask = feed.finished(found, now_ms) & (getattr(found, name) >= value)
        found = found.aggregates(mask)
        if len(found.agg_id) >= limit or end > now_ms // MINUTE_MS:
            return found
        end += 4 * (end - minute)


def agg_trades(query: Query) -> tuple[list[Json], Ints]:
    """Rows of futures' `aggTrades`, with the quantity of normal orders; the last 2 days of them are kept."""
    found = aggregates(query, kept_ms=AGG_TRADE_RETENTION_MS)
    feed = query.feed()
    normal = texts(found.quantity - retail_quantity(feed, found), feed.spec.quantity_digits)
    return [
        row | {"nq": shown} for row, shown in zip(aggregate_rows(query, feed, found), normal, strict=True)
    ], found.agg_time


def aggregates(query: Query, kept_ms: int | None) -> Trades:
    """Aggregates by id, from a start time, up to an end time, or the most recent."""
    feed = query.feed()
    limit = query.limit(500, 1000)
    from_id = query.number("fromId")
    start, end = query.window()
    if start is not None and end is not None and end - start > AGG_TRADE_WINDOW_MS:
        raise ApiError(WINDOW_TOO_LONG, "More than 1 hours between startTime and endTime.")
    oldest = 0 if kept_ms is None else query.now_ms - kept_ms
    too_old = ApiError(WINDOW_TOO_OLD, "Search window is restricted to recent 2 days only.")
    if (start is not None and start < oldest) or (start is None and end is not None and end < oldest):
        raise too_old
    if from_id is not None:
        minute = feed.market.minute_of_agg(max(from_id, 1))
        if (minute + 1) * MINUTE_MS <= oldest:
            raise too_old
        found = _aggregates_from(feed, minute, query.now_ms, ("agg_id", from_id), limit)
        found = found.aggregates(found.agg_time >= (start or 0))
    elif start is not None:
        found = _aggregates_from(feed, start // MINUTE_MS, query.now_ms, ("agg_time", start), limit)
    else:
        found = feed.trades_until(min(query.now_ms, end if end is not None else query.now_ms), limit)
        found = found.aggregates(np.arange(len(found.agg_id)) >= len(found.agg_id) - limit)
    if end is not None:
        found = found.aggregates(found.agg_time <= end)
    return found.aggregates(np.arange(len(found.agg_id)) < limit)


def aggregate_rows(query: Query, feed: SymbolFeed, found: Trades) -> list[dict[str, Json]]:
    """Aggregates as both markets print them."""
    spec = feed.spec
    price = query.texts(found.price, spec.price_digits)
    columns = zip(
        found.agg_id.tolist(), price, query.texts(found.quantity, spec.quantity_digits),
        found.first_id.tolist(), found.last_id.tolist(), found.agg_time.tolist(), found.buyer_maker.tolist(),
        strict=True,
    )  # fmt: skip
    return [dict(zip(("a", "p", "q", "f", "l", "T", "m"), row, strict=True)) for row in columns]


def recent_trades(query: Query) -> tuple[list[Json], Ints]:
    """Rows of `trades`: the most recent fills."""
    feed = query.feed()
    limit = query.limit(500, 1000)
    found = feed.trades_until(query.now_ms, limit)
    return fill_rows(query, feed, found, slice(max(len(found.fill_id) - limit, 0), None))


def fill_rows(query: Query, feed: SymbolFeed, found: Trades, chosen: slice) -> tuple[list[Json], Ints]:
    """Some of the fills as both markets print them."""
    price, quantity = found.price[found.fill_agg][chosen], found.fill_quantity[chosen]
    ids, times, maker = found.fill_id[chosen], found.fill_time[chosen], found.buyer_maker[found.fill_agg][chosen]
    spec, texts = feed.spec, query.texts
    columns = zip(
        ids.tolist(), texts(price, spec.price_digits), texts(quantity, spec.quantity_digits),
        texts(price * quantity, spec.quote_digits), times.tolist(), maker.tolist(), strict=True,
    )  # fmt: skip
    names = ("id", "price", "qty", "quoteQty", "time", "isBuyerMaker")
    return [dict(zip(names, row, strict=True)) for row in columns], times


def _one_or_all(query: Query, rows: list[Json]) -> Json:
    if not query.values.get("symbol"):
        return rows
    if not rows:
        raise ApiError(NOT_TRADING, NOT_TRADING_TEXT)
    return rows[0]


def depth(query: Query) -> Json:
    """The order book now; the streams' differences fit it."""
    limit = query.number("limit")
    limit = 500 if limit is None else limit
    if limit not in DEPTH_LIMITS:
        raise ApiError(BAD_DEPTH_LIMIT, f"Depth limit {limit} is not valid.")
    return order_book(query, limit)


def order_book(query: Query, limit: int) -> Json:
    """The order book of a market, with times, or the recorded one where the symbol is replayed."""
    replay = query.exchange.replay
    if replay is not None and replay.owns(query.required("symbol"), spot=query.spot):
        recorded = replay.depth(query.required("symbol"), limit)
        if recorded is None:
            raise ApiError(NOT_TRADING, NOT_TRADING_TEXT)
        return recorded
    feed = query.feed()
    book = query.book(feed).snapshot(query.now_ms, limit)
    if book is None:
        raise ApiError(NOT_TRADING, NOT_TRADING_TEXT)

    def side(levels: Side) -> list[list[str]]:
        price = query.texts(levels.price, feed.spec.price_digits)
        quantity = query.texts(levels.quantity, feed.spec.quantity_digits)
        return [list(pair) for pair in zip(price, quantity, strict=True)]

    return {
        "lastUpdateId": book.update_id, "E": query.now_ms, "T": book.changed_ms,
        "bids": side(book.bids), "asks": side(book.asks),
    }  # fmt: skip


def book_ticker(query: Query) -> Json:
    """The best bid and ask now; a list where no symbol is given."""
    rows = []
    for feed in query.feeds():
        top = query.book(feed).updates(query.now_ms, query.now_ms + 1)
        if not len(top.update_id):
            continue
        spec = feed.spec
        rows.append(
            {
                "symbol": spec.symbol,
                "bidPrice": query.text(int(top.bid[-1]), spec.price_digits),
                "bidQty": query.text(int(top.bid_quantity[-1]), spec.quantity_digits),
                "askPrice": query.text(int(top.ask[-1]), spec.price_digits),
                "askQty": query.text(int(top.ask_quantity[-1]), spec.quantity_digits),
                "time": int(top.transaction_ms[-1]),
                "lastUpdateId": int(top.update_id[-1]),
            }
        )
    return _one_or_all(query, rows)


def last_price(query: Query) -> Json:
    """`ticker/price`: the price of the last fill."""
    rows = []
    for feed in query.feeds():
        found = feed.trades_until(query.now_ms, 1)
        if not len(found.agg_id):
            continue
        price = query.text(int(found.price[-1]), feed.spec.price_digits)
        rows.append({"symbol": feed.spec.symbol, "price": price, "time": int(found.agg_time[-1])})
    return _one_or_all(query, rows)


def day_ticker(query: Query) -> Json:
    """`ticker/24hr`: the last 1,440 minutes, the running one included."""
    rows = []
    for feed in query.feeds():
        minute = query.now_ms // MINUTE_MS
        bars = feed.bars(minute - 1439, minute + 1, query.now_ms)
        if not len(bars):
            continue
        spec = feed.spec
        opened, close, volume = int(bars.open[0]), int(bars.close[-1]), int(bars.volume.sum())
        last = feed.trades_until(query.now_ms, 1)
        count = int(bars.count.sum())
        quote = int(bars.quote.sum())
        mean = quote / max(volume, 1) / 10**spec.price_digits
        rows.append(
            {
                "symbol": spec.symbol,
                "priceChange": query.text(close - opened, spec.price_digits),
                "priceChangePercent": f"{(close - opened) / opened * 100:.3f}",
                "weightedAvgPrice": f"{mean:.{spec.price_digits}f}",
                "lastPrice": query.text(close, spec.price_digits),
                "lastQty": query.text(int(last.fill_quantity[-1]), spec.quantity_digits),
                "openPrice": query.text(opened, spec.price_digits),
                "highPrice": query.text(int(bars.high.max()), spec.price_digits),
                "lowPrice": query.text(int(bars.low.min()), spec.price_digits),
                "volume": query.text(volume, spec.quantity_digits),
                "quoteVolume": query.text(quote, spec.quote_digits),
                "openTime": int(bars.open_ms[0]),
                "closeTime": query.now_ms,
                "firstId": int(last.fill_id[-1]) - count + 1,
                "lastId": int(last.fill_id[-1]),
                "count": count,
            }
        )
    return _one_or_all(query, rows)
