"""Payloads of the streams of one symbol: times of sending and JSON texts of any span.

Belongs here: the fields of each event as Binance names and orders them. Does not belong here: bars (frames_kline.py),
who gets them and when (hub.py). Texts are put together by hand: thousands per second, every field is a number or a
decimal string.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from lake_resources.simulator.market.book import Side
from lake_resources.simulator.market.decimals import texts
from lake_resources.simulator.market.rng import Ints
from lake_resources.simulator.ws.names import Stream
from lake_resources.simulator.ws.tape import SymbolTape

Frame = tuple[int, bytes]
"""Event time (epoch ms) at which a frame is sent, and its JSON."""

Source = Callable[[int, int], list[Frame]]
"""Frames of the market's span [start, end) in the order they are sent; a few are sent after the span's end."""

_FLAG = ("false", "true")
_SPOT_DECIMALS = 8


def printer(stream: Stream) -> Callable[[Ints, int], list[str]]:
    """How a stream prints numbers: spot with 8 decimals everywhere, futures with those of the symbol."""
    if not stream.spot:
        return texts
    return lambda values, digits: texts(values, digits, max(_SPOT_DECIMALS - digits, 0))


def agg_trades(tape: SymbolTape, stream: Stream) -> Source:
    """`aggTrade`: the same ids, prices, quantities and times as REST."""
    head, symbol = '{"e":"aggTrade","E":', f'"s":"{tape.spec.symbol}"'
    shown = printer(stream)

    def frames(start_ms: int, end_ms: int) -> list[Frame]:
        found = tape.aggregates(start_ms, end_ms)
        digits = tape.spec.quantity_digits
        rows = zip(
            found.event_ms.tolist(), found.agg_id.tolist(), shown(found.price, tape.spec.price_digits),
            shown(found.quantity, digits), shown(found.normal_quantity, digits), found.first_id.tolist(),
            found.last_id.tolist(), found.at_ms.tolist(), found.buyer_maker.tolist(), strict=True,
        )  # fmt: skip
        if stream.spot:
            return [
                (event, f'{head}{event},{symbol},"a":{agg},"p":"{p}","q":"{q}","f":{f},"l":{last},"T":{t},'
                        f'"m":{_FLAG[m]},"M":true}}'.encode())
                for event, agg, p, q, _, f, last, t, m in rows
            ]  # fmt: skip
        return [
            (event, f'{head}{event},"a":{agg},{symbol},"p":"{p}","q":"{q}","nq":"{nq}","f":{f},"l":{last},"T":{t},'
                    f'"m":{_FLAG[m]},"st":1}}'.encode())
            for event, agg, p, q, nq, f, last, t, m in rows
        ]  # fmt: skip

    return frames


def trades(tape: SymbolTape, stream: Stream) -> Source:
    """`trade`: single fills; on spot without order ids, as since 2023."""
    head = '{"e":"trade","E":'
    tail = '"M":true}' if stream.spot else '"X":"MARKET"}'
    shown = printer(stream)

    def frames(start_ms: int, end_ms: int) -> list[Frame]:
        found = tape.fills(start_ms, end_ms)
        rows = zip(
            found.event_ms.tolist(), found.fill_id.tolist(), shown(found.price, tape.spec.price_digits),
            shown(found.quantity, tape.spec.quantity_digits), found.at_ms.tolist(), found.buyer_maker.tolist(),
            strict=True,
        )  # fmt: skip
        return [
            (event, f'{head}{event},"T":{t},"s":"{tape.spec.symbol}","t":{fill},"p":"{p}","q":"{q}",'
                    f'"m":{_FLAG[m]},{tail}'.encode())
            for event, fill, p, q, t, m in rows
        ]  # fmt: skip

    return frames


def book_tickers(tape: SymbolTape, stream: Stream) -> Source:
    """`bookTicker`: each change of the best bid or ask; on spot without any time."""
    symbol, pair, shown = tape.spec.symbol, tape.spec.pair, printer(stream)

    def frames(start_ms: int, end_ms: int) -> list[Frame]:
        found = tape.book.updates(start_ms, end_ms)
        # The event time never goes back, so what came before the span must not be cut off too early.
        found = found.take(found.transaction_ms >= start_ms)
        price, quantity = tape.spec.price_digits, tape.spec.quantity_digits
        rows = zip(
            found.event_ms.tolist(), found.update_id.tolist(), shown(found.bid, price),
            shown(found.bid_quantity, quantity), shown(found.ask, price), shown(found.ask_quantity, quantity),
            found.transaction_ms.tolist(), strict=True,
        )  # fmt: skip
        if stream.spot:
            return [
                (event, f'{{"u":{u},"s":"{symbol}","b":"{b}","B":"{bq}","a":"{a}","A":"{aq}"}}'.encode())
                for event, u, b, bq, a, aq, _ in rows
            ]
        return [
            (event, f'{{"e":"bookTicker","u":{u},"s":"{symbol}","ps":"{pair}","b":"{b}","B":"{bq}","a":"{a}",'
                    f'"A":"{aq}","T":{t},"E":{event},"st":1}}'.encode())
            for event, u, b, bq, a, aq, t in rows
        ]  # fmt: skip

    return frames


def _pairs(tape: SymbolTape, stream: Stream, side: Side, rows: int) -> list[str]:
    """JSON arrays of price and quantity, one text per row."""
    shown = printer(stream)
    prices, quantities = shown(side.price, tape.spec.price_digits), shown(side.quantity, tape.spec.quantity_digits)
    pairs = [f'["{price}","{quantity}"]' for price, quantity in zip(prices, quantities, strict=True)]
    edges = np.searchsorted(side.row, np.arange(rows + 1)).tolist()
    return [",".join(pairs[low:high]) for low, high in pairwise(edges)]


def _bounds(tape: SymbolTape, step_ms: int, start_ms: int, end_ms: int) -> Ints:
    """Ends of the windows in [start, end), and the one before them; off the full second, as at Binance."""
    first = -(-(start_ms - tape.phase_ms) // step_ms) * step_ms + tape.phase_ms
    bounds = np.arange(first - step_ms, end_ms, step_ms)
    book = tape.book.updates(int(bounds[0]), int(bounds[0]) + 1)
    if len(book.update_id):
        return bounds
    # Before the first trade there is no book.
    opened = tape.book.updates(int(bounds[0]), int(bounds[-1]) + 1).transaction_ms
    return bounds[bounds >= opened[0]] if len(opened) else bounds[:0]


def depth(tape: SymbolTape, stream: Stream) -> Source:
    """`depth` and `depth5/10/20`: changes of the book, or its best levels, each 100, 250 or 500 ms."""
    symbol, pair = tape.spec.symbol, tape.spec.pair

    def frames(start_ms: int, end_ms: int) -> list[Frame]:
        bounds = _bounds(tape, stream.step_ms, start_ms, end_ms)
        found = tape.book.changes(bounds) if len(bounds) > 1 else None
        if found is None:
            return []
        count = len(found.end_ms)
        sides = tape.book.tops(found.end_ms, stream.levels) if stream.levels else (found.bids, found.asks)
        bids, asks = (_pairs(tape, stream, side, count) for side in sides)
        event = (found.end_ms + 1 + tape.feed.rng.below("depth lag", found.end_ms, 8)).tolist()
        rows = zip(
            event, found.end_ms.tolist(), found.first_id.tolist(), found.last_id.tolist(), found.previous_id.tolist(),
            bids, asks, strict=True,
        )  # fmt: skip
        if stream.spot and stream.levels:
            return [(e, f'{{"lastUpdateId":{u},"bids":[{b}],"asks":[{a}]}}'.encode()) for e, _, _, u, _, b, a in rows]
        if stream.spot:
            return [
                (e, f'{{"e":"depthUpdate","E":{e},"s":"{symbol}","U":{pu + 1},"u":{u},"b":[{b}],"a":[{a}]}}'.encode())
                for e, _, _, u, pu, b, a in rows
            ]
        return [
            (e, f'{{"e":"depthUpdate","E":{e},"T":{t},"s":"{symbol}","ps":"{pair}","U":{first},"u":{u},"pu":{pu},'
                f'"b":[{b}],"a":[{a}],"st":1}}'.encode())
            for e, t, first, u, pu, b, a in rows
        ]  # fmt: skip

    return frames


def marks(tape: SymbolTape, stream: Stream) -> Source:
    """`markPrice`: mark, its mean, index and the running estimate of the funding rate, each 1 or 3 s."""
    symbol, funded = tape.spec.symbol, tape.spec.perpetual

    def frames(start_ms: int, end_ms: int) -> list[Frame]:
        found = tape.marks(start_ms, end_ms)
        index = texts(found.index, 8)
        rows = zip(
            found.at_ms.tolist(), found.event_ms.tolist(), texts(found.mark, 8), texts(found.mark_mean, 8), index,
            texts(found.rate, 8), found.next_funding_ms.tolist(), strict=True,
        )  # fmt: skip
        return [
            (e, f'{{"e":"markPriceUpdate","E":{e},"s":"{symbol}","p":"{p}","ap":"{ap}","P":"{i}","i":"{i}",'
                f'"r":"{r if funded else ""}","T":{t if funded else 0},"st":1}}'.encode())
            for at, e, p, ap, i, r, t in rows if at % stream.step_ms == 0
        ]  # fmt: skip

    return frames


def force_orders(tape: SymbolTape, stream: Stream) -> Source:  # noqa: ARG001
    """`forceOrder`: the last liquidation of each second, at its end; silent where there was none."""
    symbol, pair = tape.spec.symbol, tape.spec.pair

    def frames(start_ms: int, end_ms: int) -> list[Frame]:
        found = tape.liquidations(start_ms, end_ms)
        price, quantity = tape.spec.price_digits, tape.spec.quantity_digits
        rows = zip(
            found.at_ms.tolist(), found.event_ms.tolist(), found.sold.tolist(), found.sent.tolist(),
            texts(found.quantity, quantity), texts(found.price, price), texts(found.average, price),
            texts(found.last_fill, quantity), texts(found.filled, quantity), strict=True,
        )  # fmt: skip
        return [
            (e, f'{{"e":"forceOrder","E":{e},"o":{{"s":"{symbol}","S":"{"SELL" if sold else "BUY"}","o":"LIMIT",'
                f'"f":"IOC","q":"{q}","p":"{p}","ap":"{ap}","X":"{"FILLED" if q == z else "PARTIALLY_FILLED"}",'
                f'"l":"{last}","z":"{z}","T":{t}}},"st":1,"ps":"{pair}"}}'.encode())
            for t, e, sold, sent, q, p, ap, last, z in rows if sent
        ]  # fmt: skip

    return frames
