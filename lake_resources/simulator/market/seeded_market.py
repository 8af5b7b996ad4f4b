"""The seeded market: orders, fills and prices of any minute, by random access.

Belongs here: the raw truth (fills) and its aggregates for one symbol, from a seed, with closed-form ids.
Does not belong here: anything derived from them (derive.py), replayed bars (replay.py), printing.
All times are epoch milliseconds UTC, prices and quantities integers of the symbol's digits.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

import numpy as np

from lake_resources.simulator.market.bars import Bars, minute_bars
from lake_resources.simulator.market.rng import Floats, Ints, Rng
from lake_resources.simulator.market.specs import ONBOARD_MS, Listing, SymbolSpec
from lake_resources.simulator.market.trades import HOUR_MINUTES, MERGE_WINDOW_MS, MINUTE_MS, Mask, Trades

_FILL_BLOCK = 64
_QUIET_SHARE = 0.02
_STRADDLE_SHARE = 0.042
_LEVELS = range(21)
_FINE_LEVELS = range(1, 5)
ALWAYS = Listing()


class Market(Protocol):
    """One symbol's truth, seeded or replayed."""

    @property
    def spec(self) -> SymbolSpec:
        """Constants of the symbol."""

    @property
    def first_minute(self) -> int:
        """First minute (epoch minutes) of trading."""

    @property
    def end_minute(self) -> int | None:
        """First minute after the last one of trading, None while it goes on."""

    @property
    def hours(self) -> Bars | None:
        """Hour bars that are given, not rolled up from minutes; None where there are none."""

    def agg_count(self, minute: int) -> int:
        """How many aggregates came before a minute; the first of the minute has this number + 1 as id."""

    def minute_of_agg(self, agg_id: int) -> int:
        """Minute of the aggregate with this id."""

    def trades(self, start_minute: int, end_minute: int) -> Trades:
        """All aggregates whose time lies in the minutes [start, end), with all their fills."""

    def bars(self, start_minute: int, end_minute: int) -> Bars:
        """Minute bars of [start, end), within the time of trading."""

    def mid(self, time_ms: Ints) -> Floats:
        """Smooth price at any times, USDT."""


def split_total(total: Ints, weights: Ints) -> Ints:
    """Prefix sums that share each row's total among its weights.

    Args:
        total: shape (rows,), what to share.
        weights: shape (rows, n), not negative, each row's sum above 0.

    Returns:
        Shape (rows, n + 1): prefix sums from 0 to total, by exact integer arithmetic.
    """
    cumulated = np.cumsum(weights, axis=1)
    shared = total[:, None] * cumulated // cumulated[:, -1:]
    return np.concatenate([np.zeros((len(total), 1), np.int64), shared], axis=1)


def _minute(instant: datetime) -> int:
    minute, rest = divmod(int(instant.timestamp() * 1000), MINUTE_MS)
    if rest:
        raise ValueError(f"a symbol is listed and delivered at whole minutes, not at {instant}")
    return minute


class SeededMarket:
    """A market that is a pure function of (seed, symbol, time).

    Args:
        spec: the symbol's constants.
        seed: same seed, same trades.
        rate_per_min: mean number of aggregates per minute; busy and calm hours swing around it.
        fills_per_agg: mean number of fills of one aggregate, at least 1.
        listing: when it trades; ids are counted from its first minute.
    """

    def __init__(
        self,
        spec: SymbolSpec,
        seed: int,
        *,
        rate_per_min: float = 15.0,
        fills_per_agg: float = 2.0,
        listing: Listing = ALWAYS,
    ) -> None:
        if rate_per_min <= 0 or fills_per_agg < 1:
            raise ValueError("a seeded market needs rate_per_min > 0 and fills_per_agg >= 1")
        self.spec = spec
        self.first_minute = ONBOARD_MS // MINUTE_MS if listing.onboard is None else _minute(listing.onboard)
        self.end_minute: int | None = None if listing.delivery is None else _minute(listing.delivery)
        if self.end_minute is not None and self.end_minute <= self.first_minute:
            raise ValueError(f"{spec.symbol} is delivered at {listing.delivery}, before it trades")
        self.hours: Bars | None = None
        # A delivery contract trades as its pair's perpetual does, as long as it is listed.
        self._rng = Rng(seed, spec.pair)
        self._first_hour = self.first_minute // HOUR_MINUTES
        self._hour_rate = rate_per_min * HOUR_MINUTES
        self._block_extra = round((fills_per_agg - 1) * _FILL_BLOCK)

    def _count_before_hour(self, hours: Ints) -> Ints:
        # The intensity is rate * (1 + 0.45 sin day + 0.15 sin week), integrated in closed form: never below 0.4 rate.
        elapsed = np.maximum(hours - self._first_hour, 0).astype(np.float64)

        def wave(period_h: float, share: float) -> Floats:
            turn = 2 * np.pi / period_h
            return np.asarray(share / turn * (1 - np.cos(turn * elapsed)))

        return np.floor(self._hour_rate * (elapsed + wave(24.0, 0.45) + wave(168.0, 0.15))).astype(np.int64)

    def _counts(self, hours: Ints) -> Ints:
        """Aggregates before each minute of whole hours, shape (hours, 61)."""
        minutes = hours[:, None] * HOUR_MINUTES + np.arange(HOUR_MINUTES)
        weights = 200 + self._rng.below("busy", minutes, 1200)
        weights[self._rng.uniform("quiet", minutes) < _QUIET_SHARE] = 0
        weights[minutes < self.first_minute] = 0
        weights[:, -1] = np.maximum(weights[:, -1], 1)
        before = self._count_before_hour(hours)
        return before[:, None] + split_total(self._count_before_hour(hours + 1) - before, weights)

    def _minute_edges(self, start_minute: int, end_minute: int) -> Ints:
        hours = np.arange(start_minute // HOUR_MINUTES, end_minute // HOUR_MINUTES + 1)
        counts = self._counts(hours)
        flat = np.concatenate([counts[:, :-1].ravel(), counts[-1, -1:]])
        offset = start_minute - int(hours[0]) * HOUR_MINUTES
        return np.asarray(flat[offset : offset + end_minute - start_minute + 1])

    def agg_count(self, minute: int) -> int:
        """How many aggregates came before a minute."""
        return int(self._minute_edges(minute, minute)[0])

    def minute_of_agg(self, agg_id: int) -> int:
        """Minute of the aggregate with this id, by bisection over the closed-form count."""
        low, high = self._first_hour, self._first_hour + int(agg_id / self._hour_rate * 2.5) + 48
        while high - low > 1:
            middle = (low + high) // 2
            if int(self._count_before_hour(np.array([middle]))[0]) < agg_id:
                low = middle
            else:
                high = middle
        edges = self._counts(np.array([low]))[0]
        return low * HOUR_MINUTES + int(np.searchsorted(edges, agg_id, side="left")) - 1

    def _fill_edges(self, start: int, end: int) -> Ints:
        """Fills before each of the aggregates [start, end], counted from 0."""
        blocks = np.arange(start // _FILL_BLOCK, end // _FILL_BLOCK + 1)
        index = blocks[:, None] * _FILL_BLOCK + np.arange(_FILL_BLOCK)
        weights = (self._rng.uniform("fills", index) ** 4 * 1000).astype(np.int64) + 1
        inside = split_total(np.full(len(blocks), self._block_extra, np.int64), weights)[:, :-1]
        edges = inside + np.arange(_FILL_BLOCK) + blocks[:, None] * (_FILL_BLOCK + self._block_extra)
        offset = start - int(blocks[0]) * _FILL_BLOCK
        return np.asarray(edges.ravel()[offset : offset + end - start + 1])

    def trades(self, start_minute: int, end_minute: int) -> Trades:
        """All aggregates whose time lies in the minutes [start, end), with all their fills."""
        start_minute = max(start_minute, self.first_minute)
        end_minute = max(end_minute, start_minute)
        edges = self._minute_edges(start_minute, end_minute)
        first, end = int(edges[0]), int(edges[-1])
        index = np.arange(first, end)
        per_minute = np.diff(edges)
        minute = np.repeat(np.arange(start_minute, end_minute), per_minute)
        rank = index - np.repeat(edges[:-1], per_minute)
        size = np.repeat(per_minute, per_minute)
        fill_edges = self._fill_edges(first, end)
        fills = np.diff(fill_edges)

        time, tail = self._times(index, minute, rank, size, fills)
        fill_agg = np.repeat(np.arange(len(index)), fills)
        fill_id = np.arange(int(fill_edges[0]), int(fill_edges[-1]))
        later = (fill_id - fill_edges[:-1][fill_agg]) >= (fills[fill_agg] + 1) // 2
        fill_time = time[fill_agg] + np.where(later, tail[fill_agg], 0)
        buyer_maker = self._rng.uniform("side", index) < 0.5
        price = self._price(time, buyer_maker)
        fill_quantity = self._quantity(fill_id)
        quantity = np.add.reduceat(fill_quantity, fill_edges[:-1] - fill_edges[0]) if len(index) else index
        return Trades(
            index + 1, time, price, quantity, fill_edges[:-1] + 1, fill_edges[1:], buyer_maker,
            fill_id + 1, fill_time, fill_quantity, fill_agg,
        )  # fmt: skip

    def bars(self, start_minute: int, end_minute: int) -> Bars:
        """Minute bars of [start, end), from the fills; quiet minutes repeat the close before them."""
        span = HOUR_MINUTES
        while True:
            fills = self.trades(start_minute - span, end_minute)
            before = int(np.searchsorted(fills.fill_time, start_minute * MINUTE_MS))
            if before or start_minute - span <= self.first_minute:
                break
            span *= 8
        previous = int(fills.price[fills.fill_agg[before - 1]]) if before else None
        return minute_bars(fills, start_minute, end_minute, previous)

    def _times(self, index: Ints, minute: Ints, rank: Ints, size: Ints, fills: Ints) -> tuple[Ints, Ints]:
        """Time of each aggregate, and how much later its second half of fills came (0, or across the minute edge)."""
        share = (rank + self._rng.uniform("time", index)) / np.maximum(size, 1)
        # The first 100 ms stay free for fills that straddle the edge, the last 200 ms for the aggregates that do.
        offset = MERGE_WINDOW_MS + np.floor(share * (MINUTE_MS - 3 * MERGE_WINDOW_MS)).astype(np.int64)
        # One taker order that sweeps two price levels leaves two aggregates in one millisecond.
        swept = (self._rng.uniform("sweep", index) < 0.1) & (rank > 0)
        source = np.maximum.accumulate(np.where(swept, 0, np.arange(len(index)))) if len(index) else index
        offset = offset[source]
        early = 1 + self._rng.below("edge", index, 60)
        chosen = self._rng.uniform("straddle", minute) < 2 * _STRADDLE_SHARE
        straddles = chosen & (rank == size - 1) & (fills > 1)
        late = self._rng.below("late", index, 38)
        time = minute * MINUTE_MS + np.where(straddles, MINUTE_MS - early, offset)
        return time, np.where(straddles, early + late, 0)

    def _price(self, time: Ints, buyer_maker: Mask) -> Ints:
        unit = 10**self.spec.price_digits / self.spec.tick
        bid = np.maximum(np.floor(self.mid(time) * unit), 1).astype(np.int64)
        return np.asarray((bid + ~buyer_maker) * self.spec.tick)

    def _quantity(self, fill_id: Ints) -> Ints:
        median = self.spec.typical_fill_usdt / self.spec.base_price * 10**self.spec.quantity_digits
        return np.asarray(1 + np.floor(median * np.exp(1.7 * self._rng.bell("size", fill_id))).astype(np.int64))

    def mid(self, time_ms: Ints) -> Floats:
        """Smooth price at any times, USDT: octaves of noise on minutes, finer octaves inside them."""
        first = int(time_ms.min()) // MINUTE_MS if len(time_ms) else 0
        last = int(time_ms.max()) // MINUTE_MS + 1 if len(time_ms) else 0
        if last - first <= 4 * len(time_ms) + 16:
            # Every octave of a minute or more is straight inside a minute, so it is drawn once per minute edge.
            grid = self._slow_log(np.arange(first, last + 1))
            minute, inside = np.divmod(time_ms, MINUTE_MS)
            share = inside / MINUTE_MS
            log = grid[minute - first] * (1 - share) + grid[minute - first + 1] * share
        else:
            minute, inside = np.divmod(time_ms, MINUTE_MS)
            share = inside / MINUTE_MS
            log = self._slow_log(minute) * (1 - share) + self._slow_log(minute + 1) * share
        scale = 0.5 * self.spec.minute_volatility
        for level in _FINE_LEVELS:
            log = log + scale * 2 ** (-level / 2) * self._rng.noise(f"fine{level}", time_ms * 2**level / MINUTE_MS)
        return np.asarray(self.spec.base_price * np.exp(log))

    def _slow_log(self, minutes: Ints) -> Floats:
        scale = 0.5 * self.spec.minute_volatility
        total = np.zeros(len(minutes))
        for level in _LEVELS:
            total += scale * 2 ** (level / 2) * self._rng.noise(f"price{level}", minutes / 2**level)
        return total
