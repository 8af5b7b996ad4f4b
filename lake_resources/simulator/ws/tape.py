"""One symbol's market cut for streaming: trades and reference prices of any span, with the times they are sent.

Belongs here: event times (a small engine latency after the market's time), caching by minute, liquidations.
Does not belong here: payloads. All times are epoch ms UTC, prices and quantities integers of the symbol's digits.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, TypeVar, cast

import numpy as np

from lake_resources.simulator.market.book import Book
from lake_resources.simulator.market.derive import FUNDING_INTERVAL_MS, funding_rate, retail_quantity
from lake_resources.simulator.market.feed import HOUR_MS
from lake_resources.simulator.market.rng import Ints
from lake_resources.simulator.market.trades import MINUTE_MS, Mask, Trades

SECOND_MS = 1000
_SLOWEST_MS = 9
T = TypeVar("T")


@dataclass(frozen=True)
class Columns:
    """Base of the cut arrays: same length, in time order, `at_ms` is the market's time of each entry."""

    at_ms: Ints

    def between(self: T, start_ms: int, end_ms: int) -> T:
        """Entries whose time lies in [start, end)."""
        first, end = np.searchsorted(cast("Columns", self).at_ms, [start_ms, end_ms])
        return _take(self, slice(int(first), int(end)))


def _take(columns: T, index: slice | Mask) -> T:
    return type(columns)(*(getattr(columns, each.name)[index] for each in fields(cast(Any, columns))))


def _join(parts: list[T]) -> T:
    if len(parts) == 1:
        return parts[0]
    names = [each.name for each in fields(cast(Any, parts[0]))]
    return type(parts[0])(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


@dataclass(frozen=True)
class Aggregates(Columns):
    """Aggregate trades; `event_ms` comes after their last fill."""

    event_ms: Ints
    agg_id: Ints
    price: Ints
    quantity: Ints
    normal_quantity: Ints
    first_id: Ints
    last_id: Ints
    buyer_maker: Mask


@dataclass(frozen=True)
class Fills(Columns):
    """Single fills."""

    event_ms: Ints
    fill_id: Ints
    price: Ints
    quantity: Ints
    buyer_maker: Mask


@dataclass(frozen=True)
class Marks(Columns):
    """Mark price of each second, its mean over the minute, index (8 decimals), funding estimate, next funding."""

    event_ms: Ints
    mark: Ints
    mark_mean: Ints
    index: Ints
    rate: Ints
    next_funding_ms: Ints


@dataclass(frozen=True)
class Liquidations(Columns):
    """Liquidation orders. `sent` marks those of the stream: the last one of each second.

    `event_ms` is the end of that second. `filled` is the whole fill, `last_fill` its last part.
    """

    event_ms: Ints
    sold: Mask
    price: Ints
    average: Ints
    quantity: Ints
    last_fill: Ints
    filled: Ints
    sent: Mask


class SymbolTape:
    """Streams' view of one symbol; used by the event loop alone.

    Args:
        book: the symbol's book, which knows its feed.
        liquidations_per_min: mean number of liquidations per minute, before sampling.
    """

    def __init__(self, book: Book, liquidations_per_min: float = 2.0) -> None:
        self.book = book
        self.feed = book.feed
        self.spec = book.feed.spec
        self.phase_ms = int(self.feed.rng.below("depth phase", np.zeros(1, np.int64), 100)[0])
        self._liquidations_per_min = liquidations_per_min
        self._cache: OrderedDict[tuple[str, int], Any] = OrderedDict()

    def _cached(self, kind: str, minute: int, compute: Callable[[int], T]) -> T:
        key = (kind, minute)
        if key in self._cache:
            self._cache.move_to_end(key)
        else:
            self._cache[key] = compute(minute)
            while len(self._cache) > 32:
                self._cache.popitem(last=False)
        return cast(T, self._cache[key])

    def _span(self, kind: str, start_ms: int, end_ms: int, compute: Callable[[int], T]) -> T:
        minutes = range(start_ms // MINUTE_MS, max(end_ms - 1, start_ms) // MINUTE_MS + 1)
        whole = _join([self._cached(kind, minute, compute) for minute in minutes])
        return cast(T, cast(Columns, whole).between(start_ms, end_ms))

    def trades_of(self, minute: int) -> Trades:
        """All aggregates of a minute and of the one before it, with their fills."""
        return self._cached("trades", minute, lambda at: self.feed.trades(at - 1, at + 1))

    def aggregates(self, start_ms: int, end_ms: int) -> Aggregates:
        """Aggregates whose time lies in [start, end)."""
        return self._span("aggregates", start_ms, end_ms, self._aggregates)

    def _aggregates(self, minute: int) -> Aggregates:
        found = self.trades_of(minute)
        if not len(found.agg_id):
            none = found.agg_id
            return Aggregates(none, none, none, none, none, none, none, none, found.buyer_maker)
        last = np.searchsorted(found.fill_agg, np.arange(len(found.agg_id)), side="right") - 1
        lag = 1 + self.feed.rng.below("agg lag", found.agg_id, _SLOWEST_MS)
        event = np.maximum.accumulate(found.fill_time[last] + lag)
        normal = found.quantity - retail_quantity(self.feed, found)
        every = Aggregates(
            found.agg_time, event, found.agg_id, found.price, found.quantity, normal, found.first_id, found.last_id,
            found.buyer_maker,
        )  # fmt: skip
        return every.between(minute * MINUTE_MS, (minute + 1) * MINUTE_MS)

    def fills(self, start_ms: int, end_ms: int) -> Fills:
        """Fills whose time lies in [start, end)."""
        return self._span("fills", start_ms, end_ms, self._fills)

    def _fills(self, minute: int) -> Fills:
        found = self.trades_of(minute)
        price, maker = found.price[found.fill_agg], found.buyer_maker[found.fill_agg]
        event = found.fill_time + 1 + self.feed.rng.below("fill lag", found.fill_id, _SLOWEST_MS)
        event = np.maximum.accumulate(event) if len(event) else event
        every = Fills(found.fill_time, event, found.fill_id, price, found.fill_quantity, maker)
        return every.between(minute * MINUTE_MS, (minute + 1) * MINUTE_MS)

    def last_fill_before(self, at_ms: int) -> int:
        """Id of the last fill before a full minute, 0 where nothing traded before."""
        minute, back = at_ms // MINUTE_MS, 1
        while True:
            found = self.feed.trades(minute - back, minute)
            # The order that straddles the edge has fills after it as well.
            early = found.fill_id[found.fill_time < at_ms]
            if len(early) or minute - back <= self.feed.market.first_minute:
                return int(early[-1]) if len(early) else 0
            back *= 8

    def trading(self, at_ms: Ints) -> Mask:
        """Whether the symbol trades at times."""
        minute = at_ms // MINUTE_MS
        end = self.feed.market.end_minute
        return np.asarray((minute >= self.feed.market.first_minute) & (True if end is None else minute < end))

    def marks(self, start_ms: int, end_ms: int) -> Marks:
        """Mark prices of the whole seconds in [start, end), while the symbol trades."""
        return self._span("marks", start_ms, end_ms, self._marks)

    def _marks(self, minute: int) -> Marks:
        at = np.arange((minute - 1) * 60, (minute + 1) * 60) * SECOND_MS
        mark = self.feed.reference("mark", at)
        total = np.cumsum(mark)
        mean, at = (total[60:] - total[:-60]) // 60, at[60:]
        # The estimate takes in one more minute of premium as soon as that minute has begun.
        period = (at - 1) // FUNDING_INTERVAL_MS * FUNDING_INTERVAL_MS
        begun = at // FUNDING_INTERVAL_MS * FUNDING_INTERVAL_MS
        first = funding_rate(self.feed, int(begun[0]), int(at[0]))
        rest = funding_rate(self.feed, int(period[1]), int(at[1]))
        rate = np.where(np.arange(60) == 0, first, rest)
        event = at + self.feed.rng.below("mark lag", at, 5)
        index = self.feed.reference("index", at)
        every = Marks(at, event, mark[60:], mean, index, rate, begun + FUNDING_INTERVAL_MS)
        return _take(every, self.trading(at))

    def liquidations(self, start_ms: int, end_ms: int) -> Liquidations:
        """All liquidation orders with a time in [start, end); the stream shows only those that are `sent`."""
        return self._span("liquidations", start_ms, end_ms, self._liquidations)

    def _liquidations(self, minute: int) -> Liquidations:
        rng = self.feed.rng
        # Quiet most of the time, cascades now and then: the hour's and the minute's share are far from even.
        hour = rng.uniform("liquidation hour", np.array([minute * MINUTE_MS // HOUR_MS]))
        share = rng.uniform("liquidation minute", np.array([minute]))
        mean = self._liquidations_per_min * 3 * hour**2 * 4 * share**3
        count = int(mean[0] + rng.uniform("liquidation count", np.array([minute]))[0])
        number = minute * 10_000 + np.arange(min(count, 10_000))
        burst = int(rng.below("liquidation start", np.array([minute]), MINUTE_MS)[0])
        spread = rng.uniform("liquidation time", number) ** 2 * MINUTE_MS
        at = np.sort((burst + spread.astype(np.int64)) % MINUTE_MS) + minute * MINUTE_MS
        at = at[self.trading(at)]
        number = number[: len(at)]
        unit = 10**self.spec.price_digits
        mid = self.feed.market.mid(at) if len(at) else np.zeros(0)
        side = rng.uniform("liquidation side", np.array([minute]))[0]
        sold = rng.uniform("liquidation sold", number) < (0.85 if side < 0.5 else 0.15)
        slip = np.where(sold, -1, 1)
        tick = self.spec.tick
        average = np.maximum(np.round(mid * (1 + slip * 2e-4) * unit / tick), 1).astype(np.int64) * tick
        price = np.maximum(np.round(mid * (1 + slip * 4e-3) * unit / tick), 1).astype(np.int64) * tick
        median = 4 * self.spec.typical_fill_usdt / self.spec.base_price * 10**self.spec.quantity_digits
        quantity = 1 + np.floor(median * np.exp(1.5 * rng.bell("liquidation size", number))).astype(np.int64)
        partly = rng.uniform("liquidation part", number) < 0.2
        filled = np.where(partly, 1 + quantity * 7 // 10, quantity).clip(max=quantity)
        last_fill = 1 + np.floor(rng.uniform("liquidation last", number) * filled).astype(np.int64)
        last_fill = np.minimum(last_fill, filled)
        second = at // SECOND_MS
        sent = np.diff(second, append=-1) != 0
        event = (second + 1) * SECOND_MS + rng.below("liquidation lag", number, 5)
        return Liquidations(at, event, sold, price, average, quantity, last_fill, filled, sent)
