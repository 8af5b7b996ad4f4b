"""From a stream to its frames.

Belongs here: which maker serves which kind, and the streams of all symbols together. Does not belong here: payloads
of one symbol (frames.py, frames_kline.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from heapq import merge

from lake_resources.simulator.ws import frame_texts as frames
from lake_resources.simulator.ws import frame_texts_kline as frames_kline
from lake_resources.simulator.ws.frame_texts import Frame, Source
from lake_resources.simulator.ws.names import Stream
from lake_resources.simulator.ws.tape import SymbolTape

_MAKERS = {
    "aggTrade": frames.agg_trades,
    "trade": frames.trades,
    "bookTicker": frames.book_tickers,
    "depth": frames.depth,
    "partialDepth": frames.depth,
    "markPrice": frames.marks,
    "forceOrder": frames.force_orders,
    "kline": frames_kline.klines,
}


def source_of(stream: Stream, tapes: Mapping[str, SymbolTape]) -> Source:
    """What makes the frames of a stream."""
    if stream.symbol:
        return _MAKERS[stream.kind](tapes[stream.symbol], stream)
    if stream.kind == "allMarkPrice":
        return _all_marks(stream, tapes)
    kind = {"allForceOrder": "forceOrder", "allBookTicker": "bookTicker"}[stream.kind]
    parts = [_MAKERS[kind](tape, Stream(stream.name, kind, symbol)) for symbol, tape in tapes.items()]

    def together(start_ms: int, end_ms: int) -> list[Frame]:
        if stream.step_ms:
            found = [_each_step(part, stream.step_ms, start_ms, end_ms) for part in parts]
        else:
            found = [part(start_ms, end_ms) for part in parts]
        return list(merge(*found, key=lambda frame: frame[0]))

    return together


def _each_step(part: Source, step_ms: int, start_ms: int, end_ms: int) -> list[Frame]:
    """The last frame of each step that ends in [start, end), sent a moment after its end."""
    ends = range(-(-start_ms // step_ms) * step_ms, end_ms, step_ms)
    return [(end + 20, found[-1][1]) for end in ends if (found := part(end - step_ms, end))]


def _all_marks(stream: Stream, tapes: Mapping[str, SymbolTape]) -> Source:
    """`!markPrice@arr`: the universe as two frames, the second one a few ms later."""
    symbols = list(tapes)
    halves = symbols[::2], symbols[1::2]

    def together(start_ms: int, end_ms: int) -> list[Frame]:
        found: list[Frame] = []
        for late, half in enumerate(halves):
            by_second: dict[int, list[bytes]] = {}
            for symbol in half:
                one = Stream(stream.name, "markPrice", symbol, stream.step_ms)
                for event, body in frames.marks(tapes[symbol], one)(start_ms, end_ms):
                    by_second.setdefault(event // 1000, []).append(body)
            found += [(at * 1000 + 6 + 3 * late, b"[" + b",".join(rows) + b"]") for at, rows in by_second.items()]
        return sorted(found, key=lambda frame: frame[0])

    return together
