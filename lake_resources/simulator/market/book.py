"""The order book of one symbol at any instant, and what changed in it between two instants.

Belongs here: the top of book around the trades, the quantities of deeper levels, snapshots and differences that fit
each other exactly. Does not belong here: which stream asks for them, printing.

Every best price comes from `book_updates`. A deeper level holds a quantity that is redrawn each 25.6 s at a phase of
its own, so that any level is known at any time without its history, and few levels change in each 100 ms.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lake_resources.simulator.market.derive import BookUpdates, book_updates, update_id
from lake_resources.simulator.market.feed import DayCache, SymbolFeed
from lake_resources.simulator.market.rng import Ints
from lake_resources.simulator.market.trades import HOUR_MINUTES, MINUTE_MS, Mask

TICK_MS = 100
REACH = 1300
"""Ticks below the best price within which every change is told; about 1,100 of them hold a quantity."""

_PERIOD = 256
_BLOCK = 4096
_EMPTY_SHARE = 0.15
_LONGEST_LOOK = 30 * 24 * HOUR_MINUTES


@dataclass(frozen=True)
class Side:
    """Levels of one side: which window or row they belong to, price and quantity as integers, best first."""

    row: Ints
    price: Ints
    quantity: Ints


@dataclass(frozen=True)
class Changes:
    """What changed in the windows (bounds[i], bounds[i + 1]] of a book, with final quantities (0: gone)."""

    end_ms: Ints
    first_id: Ints
    last_id: Ints
    previous_id: Ints
    bids: Side
    asks: Side


@dataclass(frozen=True)
class Snapshot:
    """The book at one instant; prices and quantities as integers, best first."""

    update_id: int
    changed_ms: int
    bids: Side
    asks: Side


class _Levels:
    """Quantities below the best price of one side, by signed tick: bids count up, asks count down (negative)."""

    def __init__(self, feed: SymbolFeed, lane: str) -> None:
        self._rng = feed.rng
        self._lane = lane
        self._phases: dict[int, Ints] = {}
        self._scale = 20 * feed.spec.typical_fill_usdt / feed.spec.base_price * 10**feed.spec.quantity_digits

    def _phase(self, low: int, high: int) -> Ints:
        parts = []
        for block in range(low // _BLOCK, (high - 1) // _BLOCK + 1):
            if block not in self._phases:
                ticks = np.arange(block * _BLOCK, (block + 1) * _BLOCK)
                self._phases[block] = self._rng.below(f"{self._lane} phase", ticks, _PERIOD)
            parts.append(self._phases[block])
        first = low // _BLOCK * _BLOCK
        return np.concatenate(parts)[low - first : high - first]

    def redrawn(self, low: int, high: int, first_tick: int, last_tick: int) -> Ints:
        """Levels of [low, high) that are redrawn in the 100 ms ticks first..last."""
        if last_tick < first_tick or high <= low:
            return np.zeros(0, np.int64)
        age = (self._phase(low, high) + last_tick) % _PERIOD
        return low + np.flatnonzero(age <= last_tick - first_tick)

    def quantity(self, level: Ints, tick: Ints) -> Ints:
        """Quantity of levels at 100 ms ticks, 0 where nobody has an order."""
        phase = self._rng.below(f"{self._lane} phase", level, _PERIOD)
        counter = level * 1_000_003 + (tick + phase) // _PERIOD
        size = 1 + np.floor(self._scale * np.exp(self._rng.bell(f"{self._lane} size", counter))).astype(np.int64)
        return np.where(self._rng.uniform(f"{self._lane} empty", counter) < _EMPTY_SHARE, 0, size)


class Book:
    """The order book of one symbol.

    Args:
        feed: the symbol's trades.
    """

    def __init__(self, feed: SymbolFeed) -> None:
        self.feed = feed
        self._minutes = DayCache(16)
        self._sides = {1: _Levels(feed, "bids"), -1: _Levels(feed, "asks")}

    def updates(self, start_ms: int, end_ms: int) -> BookUpdates:
        """Changes of the top of book in [start, end), after the last one before them where there is one."""
        first = start_ms // MINUTE_MS
        parts = [
            self._minutes.get((minute,), lambda minute=minute: self._minute(minute))  # type: ignore[misc]
            for minute in range(first, (end_ms - 1) // MINUTE_MS + 1)
        ]
        head, rest = parts[0], [part.take(part.transaction_ms >= part.start_ms) for part in parts[1:]]
        found = BookUpdates.concat([head.updates, *rest])
        low = max(int(np.searchsorted(found.transaction_ms, start_ms)) - 1, 0)
        high = int(np.searchsorted(found.transaction_ms, end_ms))
        return found.take(slice(low, high))

    def _minute(self, minute: int) -> _Part:
        start, end = minute * MINUTE_MS, (minute + 1) * MINUTE_MS
        first, last = self.feed.market.first_minute, self.feed.market.end_minute
        back, ahead = 2, 2
        while True:
            found = self.feed.trades(minute - back, minute + 1 + ahead)
            time = found.agg_time
            before = int(np.searchsorted(time, start))
            # Two trades ahead of the minute, so that the last state of the minute before does not depend on where
            # the array begins; one after it, because the states between two trades are spread over their distance.
            enough = before >= 2 or minute - back <= first or back > _LONGEST_LOOK
            known = (len(time) and time[-1] >= end) or ahead > HOUR_MINUTES or (last is not None and minute >= last)
            if enough and known:
                break
            back, ahead = back * (1 if enough else 4), ahead * (1 if known else 4)
        book = book_updates(self.feed, found)
        low = max(int(np.searchsorted(book.transaction_ms, start)) - 1, 0)
        high = int(np.searchsorted(book.transaction_ms, end))
        return _Part(start, book.take(slice(low, high)))

    def snapshot(self, now_ms: int, limit: int) -> Snapshot | None:
        """The book at an instant, `limit` levels a side; None before the first trade."""
        top = self.updates(now_ms, now_ms + 1)
        if not len(top.update_id):
            return None
        at = np.array([now_ms])
        last = top.take(slice(len(top.update_id) - 1, None))
        sides = (self._top(sign, last, at, limit) for sign in (1, -1))
        return Snapshot(update_id(now_ms), int(last.transaction_ms[0]), *sides)

    def tops(self, at_ms: Ints, limit: int) -> tuple[Side, Side]:
        """The best `limit` levels of both sides at each of several instants, which must lie after the first trade."""
        book = self.updates(int(at_ms[0]), int(at_ms[-1]) + 1)
        state = book.take(np.searchsorted(book.transaction_ms, at_ms, side="right") - 1)
        return self._top(1, state, at_ms, limit), self._top(-1, state, at_ms, limit)

    def _best(self, sign: int, book: BookUpdates) -> tuple[Ints, Ints]:
        price, quantity = (book.bid, book.bid_quantity) if sign > 0 else (book.ask, book.ask_quantity)
        return sign * (price // self.feed.spec.tick), quantity

    def _top(self, sign: int, state: BookUpdates, at_ms: Ints, limit: int) -> Side:
        best, best_quantity = self._best(sign, state)
        width = REACH if limit > 100 else 2 * limit + 12
        level = best[:, None] - np.arange(width)
        quantity = self._sides[sign].quantity(level, np.broadcast_to(at_ms[:, None] // TICK_MS, level.shape))
        quantity[:, 0] = best_quantity
        quantity[(level <= 0) if sign > 0 else (level >= 0)] = 0
        held = quantity > 0
        chosen = held & (np.cumsum(held, axis=1) <= limit)
        row = np.broadcast_to(np.arange(len(at_ms))[:, None], level.shape)[chosen]
        return Side(row, sign * level[chosen] * self.feed.spec.tick, quantity[chosen])

    def changes(self, bounds_ms: Ints) -> Changes | None:
        """What changed between each two neighbours of `bounds_ms` (ascending); None before the first trade.

        A client that applies the windows to a snapshot taken at any instant holds the book of each window's end.
        """
        book = self.updates(int(bounds_ms[0]), int(bounds_ms[-1]) + 1)
        at = np.searchsorted(book.transaction_ms, bounds_ms, side="right") - 1
        if not len(book.update_id) or at[0] < 0:
            return None
        ids = update_id(bounds_ms)
        # Futures leave out some numbers between two events, but none that a snapshot could carry.
        first = ids[:-1] + 1 + self.feed.rng.below("skipped ids", bounds_ms[1:], 60)
        sides = (self._side(sign, book, at, bounds_ms) for sign in (1, -1))
        return Changes(bounds_ms[1:], first, ids[1:], ids[:-1], *sides)

    def _side(self, sign: int, book: BookUpdates, at: Ints, bounds_ms: Ints) -> Side:
        best, best_quantity = self._best(sign, book)
        levels = self._sides[sign]
        ticks = bounds_ms // TICK_MS
        touched = [
            np.unique(np.concatenate(list(_touched(levels, best[low : high + 1], int(early) + 1, int(late)))))[::-1]
            for low, high, early, late in zip(at[:-1], at[1:], ticks[:-1], ticks[1:], strict=True)
        ]
        size = np.array([len(each) for each in touched])
        row = np.repeat(np.arange(len(touched)), size)
        level = np.concatenate(touched)
        level, row = level[sign * level > 0], row[sign * level > 0]
        final = best[at[1:]][row]
        quantity = levels.quantity(level, ticks[1:][row])
        quantity = np.where(level > final, 0, np.where(level == final, best_quantity[at[1:]][row], quantity))
        return Side(row, sign * level * self.feed.spec.tick, quantity)


@dataclass(frozen=True)
class _Part:
    start_ms: int
    updates: BookUpdates

    @property
    def transaction_ms(self) -> Ints:
        return self.updates.transaction_ms

    def take(self, index: Mask) -> BookUpdates:
        return self.updates.take(index)


def _touched(levels: _Levels, best: Ints, first_tick: int, last_tick: int) -> Iterator[Ints]:
    low, high, start = int(best.min()), int(best.max()), int(best[0])
    # All that the best price passed, and always the best level itself: no window is empty.
    yield np.arange(low, high + 1)
    yield levels.redrawn(low - REACH, high, first_tick, last_tick)
    if low < start:
        # Levels that come within reach again may have changed untold while they were out of it.
        yield np.arange(low - REACH, start - REACH)
