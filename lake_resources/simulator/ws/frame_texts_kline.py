"""Payloads of `kline_<interval>`: the running bar a few times per second, and once closed.

Belongs here: bars of any instant inside a minute from the fills so far. Does not belong here: bars as such (bars.py).
"""

from __future__ import annotations

import numpy as np

from lake_resources.simulator.market.bars import Bars, interval_end_ms, interval_start_ms
from lake_resources.simulator.market.trades import MINUTE_MS
from lake_resources.simulator.ws.frame_texts import Frame, Source, printer
from lake_resources.simulator.ws.names import Stream
from lake_resources.simulator.ws.tape import SECOND_MS, Fills, SymbolTape


def _bar_edges(at_ms: int, interval: str) -> tuple[int, int]:
    """Open and end (exclusive) of the bar that holds a time."""
    if interval == "1s":
        start = at_ms // SECOND_MS * SECOND_MS
        return start, start + SECOND_MS
    start = interval_start_ms(at_ms, interval)
    return start, interval_end_ms(start, interval)


class _Running:
    """The bar of one interval at any instant: closed minutes before it plus the fills of its own minute."""

    def __init__(self, tape: SymbolTape, stream: Stream) -> None:
        self._tape = tape
        self._stream = stream

    def frame(self, event_ms: int, until_ms: int, *, closed: bool) -> Frame | None:
        """The bar with the fills before `until_ms`; None where it has none and the market sends nothing."""
        start, end = _bar_edges(until_ms - 1, self._stream.interval)
        minute = (until_ms - 1) // MINUTE_MS * MINUTE_MS
        cut = max(start, minute)
        fills = self._tape.fills(cut, until_ms)
        before, last_id = None, -1
        if start < cut:
            before = self._tape.feed.closed_bars(start // MINUTE_MS, cut // MINUTE_MS)
            last_id = self._tape.last_fill_before(cut)
        values = _values(fills, before, last_id)
        if values is None:
            if not self._stream.spot:
                return None
            previous = self._tape.feed.closed_bars(minute // MINUTE_MS - 1, minute // MINUTE_MS)
            earlier = self._tape.fills(minute, until_ms)
            if len(earlier.at_ms):
                close = int(earlier.price[-1])
            elif len(previous):
                close = int(previous.close[-1])
            else:
                return None
            values = (-1, -1, close, close, close, close, 0, 0, 0, 0, 0)
        return event_ms, self._json(event_ms, start, end, values, closed=closed)

    def _json(self, event_ms: int, start: int, end: int, values: tuple[int, ...], *, closed: bool) -> bytes:
        spec = self._tape.spec
        first, last, opened, close, high, low, volume, count, quote, taker, taker_quote = values
        shown = printer(self._stream)
        o, c, h, low_text = shown(np.array([opened, close, high, low]), spec.price_digits)
        v, taker_text = shown(np.array([volume, taker]), spec.quantity_digits)
        q, taker_quote_text = shown(np.array([quote, taker_quote]), spec.quote_digits)
        return (
            f'{{"e":"kline","E":{event_ms},"s":"{spec.symbol}","k":{{"t":{start},"T":{end - 1},"s":"{spec.symbol}",'
            f'"i":"{self._stream.interval}","f":{first},"L":{last},"o":"{o}","c":"{c}","h":"{h}","l":"{low_text}",'
            f'"v":"{v}","n":{count},"x":{"true" if closed else "false"},"q":"{q}","V":"{taker_text}",'
            f'"Q":"{taker_quote_text}","B":"0"}}}}'
        ).encode()


def _values(fills: Fills, before: Bars | None, last_id: int) -> tuple[int, ...] | None:
    """Bar of earlier minutes, whose last fill has `last_id`, and of fills after them; None where both are empty.

    In order: first id, last id, open, close, high, low, volume, count, quote, taker volume, taker quote.
    """
    count = len(fills.at_ms)
    bought = ~fills.buyer_maker
    value = fills.price * fills.quantity
    own = (
        int(fills.quantity.sum()), count, int(value.sum()), int(fills.quantity[bought].sum()), int(value[bought].sum())
    )  # fmt: skip
    if before is None or not int(before.count.sum()):
        if not count:
            return None
        price = fills.price
        edge = int(price[0]), int(price[-1]), int(price.max()), int(price.min())
        return (int(fills.fill_id[0]), int(fills.fill_id[-1]), *edge, *own)
    opened, close = int(before.open[0]), int(fills.price[-1]) if count else int(before.close[-1])
    high, low = int(before.high.max()), int(before.low.min())
    if count:
        high, low = max(high, int(fills.price.max())), min(low, int(fills.price.min()))
    earlier = int(before.count.sum())
    sums = (before.volume, before.count, before.quote, before.taker_volume, before.taker_quote)
    totals = [int(each.sum()) + mine for each, mine in zip(sums, own, strict=True)]
    return (last_id - earlier + 1, last_id + count, opened, close, high, low, *totals)


def klines(tape: SymbolTape, stream: Stream) -> Source:
    """`kline_<i>`: each 250 ms in which something traded, and once after the close with `x` true.

    Futures send nothing for a bar without a trade; spot sends empty bars too, each second or two.
    """
    running = _Running(tape, stream)
    step = stream.step_ms

    def frames(start_ms: int, end_ms: int) -> list[Frame]:
        found: list[Frame | None] = []
        points = np.arange(-(-start_ms // step) * step, end_ms, step)
        busy = tape.fills(int(points[0]) - step, end_ms).at_ms if len(points) else points
        for at in points.tolist():
            opened, _ = _bar_edges(at, stream.interval)
            if opened == at:
                # The last word on the bar comes a moment after its close.
                found.append(running.frame(at + 5, at, closed=True))
            elif stream.spot or np.searchsorted(busy, at - step) < np.searchsorted(busy, at):
                found.append(running.frame(at + 2, at, closed=False))
        return [each for each in found if each is not None]

    return frames
