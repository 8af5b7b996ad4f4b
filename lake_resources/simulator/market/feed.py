"""One symbol as the exchange knows it: trades, bars, reference prices, slow series, up to a given now.

Belongs here: caching of whole days, cutting at "now", the running minute; mark, index and premium samples.
Does not belong here: the market itself (seeded_market.py, replay.py), the slow series (derive.py), JSON or CSV.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import TypeVar

import numpy as np

from lake_resources.simulator.market.bars import (
    INTERVAL_MINUTES,
    SECOND,
    Bars,
    bars_of_fills,
    concat,
    empty_bars,
    minute_bars,
    roll_up,
)
from lake_resources.simulator.market.rng import Floats, Ints, Rng
from lake_resources.simulator.market.seeded_market import Market
from lake_resources.simulator.market.trades import HOUR_MINUTES, MINUTE_MS, Mask, Trades

DAY_MINUTES = 1440
HOUR_MS = HOUR_MINUTES * MINUTE_MS
_BUSY_DAY = 200_000
REFERENCE_SCALE = 10**8
"""Mark, index and premium are printed with 8 decimals for every symbol."""

_SAMPLED_EVERY_MS = {"mark": 1_000, "index": 1_000, "premium": 5_000}

T = TypeVar("T")


class DayCache:
    """A small cache of computed days, shared by the server's threads."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: OrderedDict[tuple[object, ...], object] = OrderedDict()
        self._making: dict[tuple[object, ...], Lock] = {}
        self._lock = Lock()

    def get(self, key: tuple[object, ...], compute: Callable[[], T]) -> T:
        """The cached value, computed where absent: once, although a file and its CHECKSUM are asked for together."""
        with self._lock:
            if key in self._entries:
                return self._known(key)
            making = self._making.setdefault(key, Lock())
        with making:
            with self._lock:
                if key in self._entries:
                    return self._known(key)
            try:
                value = compute()
                with self._lock:
                    self._entries[key] = value
                    while len(self._entries) > self._size:
                        self._entries.popitem(last=False)
            finally:
                # Not before the value is there: who came in between would find neither and make it once more.
                with self._lock:
                    self._making.pop(key, None)
        return value

    def _known(self, key: tuple[object, ...]) -> T:  # type: ignore[type-var]
        self._entries.move_to_end(key)
        return self._entries[key]  # type: ignore[return-value]


class SymbolFeed:
    """Trades and bars of one symbol.

    Args:
        market: the symbol's truth.
        seed: seed of what is not in the market: premium, open interest, ratios.
        cached_days: days of minute bars kept in memory.
        spot: it is the spot market of its symbol, whose series are drawn apart from the futures'.
    """

    def __init__(self, market: Market, seed: int, *, cached_days: int = 200, spot: bool = False) -> None:
        self.market = market
        self.spec = market.spec
        self.rng = Rng(seed, f"{market.spec.pair}/{'spot derived' if spot else 'derived'}")
        self._days = DayCache(cached_days)
        self._seconds = DayCache(48)

    def ended(self, now_ms: int) -> bool:
        """Whether trading is over at `now_ms`."""
        return self.market.end_minute is not None and now_ms >= self.market.end_minute * MINUTE_MS

    def clip(self, start_minute: int, end_minute: int) -> tuple[int, int]:
        """A range of minutes cut to the time in which the symbol trades."""
        start = max(start_minute, self.market.first_minute)
        end = end_minute if self.market.end_minute is None else min(end_minute, self.market.end_minute)
        return start, max(start, end)

    def closed_bars(self, start_minute: int, end_minute: int) -> Bars:
        """Minute bars of [start, end), as they are once all minutes are over."""
        start, end = self.clip(start_minute, end_minute)
        if start >= end:
            return empty_bars()
        days = range(start // DAY_MINUTES, (end - 1) // DAY_MINUTES + 1)
        parts = [self._days.get(("bars", day), lambda day=day: self._day_bars(day)) for day in days]  # type: ignore[misc]
        return concat(parts).between(start * MINUTE_MS, end * MINUTE_MS)

    def _day_bars(self, day: int) -> Bars:
        start, end = self.clip(day * DAY_MINUTES, (day + 1) * DAY_MINUTES)
        # A busy day is reduced a few hours at a time, so that its millions of fills are never held together.
        busy = self.market.agg_count(end) - self.market.agg_count(start) > _BUSY_DAY
        step = 4 * HOUR_MINUTES if busy else DAY_MINUTES
        parts = [self.market.bars(at, min(at + step, end)) for at in range(start, end, step)]
        return concat([empty_bars(), *parts])

    def bars(self, start_minute: int, end_minute: int, now_ms: int) -> Bars:
        """Minute bars of [start, end) as seen at `now_ms`: the running minute with the fills so far, nothing later."""
        now_minute = now_ms // MINUTE_MS
        closed = self.closed_bars(start_minute, min(end_minute, now_minute))
        start, end = self.clip(now_minute, now_minute + 1)
        if start >= end or not start_minute <= now_minute < end_minute:
            return closed
        return concat([closed, self.running_bar(now_ms)])

    def interval_bars(self, interval: str, start_minute: int, end_minute: int, now_ms: int) -> Bars:
        """Bars of an interval whose opens lie in [start, end), the last one maybe unfinished.

        The bounds must be edges of the interval. Replayed hours are served as they are in the file.
        """
        if interval == SECOND:
            return self.second_bars(start_minute * 60, end_minute * 60, now_ms)
        minutes = INTERVAL_MINUTES[interval] or DAY_MINUTES
        hours = self.market.hours
        if hours is None or minutes < HOUR_MINUTES:
            return roll_up(self.bars(start_minute, end_minute, now_ms), interval)
        running = max(start_minute, now_ms // HOUR_MS * HOUR_MINUTES)
        whole = hours.between(start_minute * MINUTE_MS, min(end_minute, running) * MINUTE_MS)
        return roll_up(concat([whole, roll_up(self.bars(running, end_minute, now_ms), "1h")]), interval)

    def second_bars(self, start_s: int, end_s: int, now_ms: int) -> Bars:
        """Bars of the epoch seconds [start, end) as seen at `now_ms`: the running one with the fills so far."""
        low, high = self.clip(start_s // 60, -(-min(end_s, now_ms // 1000 + 1) // 60))
        hours = range(low // HOUR_MINUTES, (high - 1) // HOUR_MINUTES + 1) if low < high else range(0)
        now_hour = now_ms // HOUR_MS
        parts = [
            self._seconds.get((hour,), lambda hour=hour: self._hour_of_seconds(hour, None))  # type: ignore[misc]
            if hour < now_hour
            else self._hour_of_seconds(hour, now_ms)
            for hour in hours
        ]
        return concat([empty_bars(), *parts]).between(start_s * 1000, min(end_s * 1000, now_ms + 1))

    def _hour_of_seconds(self, hour: int, until_ms: int | None) -> Bars:
        start, end = self.clip(hour * HOUR_MINUTES, (hour + 1) * HOUR_MINUTES)
        if start >= end:
            return empty_bars()
        before = self.closed_bars(start - 1, start)
        found = self.market.trades(start - 1, end)
        if until_ms is not None:
            found = found.first_fills(int(np.searchsorted(found.fill_time, until_ms, side="right")))
        return bars_of_fills(found, start * 60, end * 60, int(before.close[-1]) if len(before) else None, step_ms=1000)

    def running_bar(self, now_ms: int) -> Bars:
        """The bar of the current minute with the fills up to `now_ms`."""
        minute = now_ms // MINUTE_MS
        before = self.closed_bars(minute - 1, minute)
        fills = self.market.trades(minute - 1, minute + 1)
        keep = int(np.searchsorted(fills.fill_time, now_ms, side="right"))
        return minute_bars(fills.first_fills(keep), minute, minute + 1, int(before.close[-1]) if len(before) else None)

    def trades(self, start_minute: int, end_minute: int) -> Trades:
        """All aggregates of the minutes [start, end) that lie in the time of trading."""
        start, end = self.clip(start_minute, end_minute)
        return self.market.trades(start, end)

    def trades_until(self, now_ms: int, at_least: int) -> Trades:
        """The most recent aggregates whose fills are all over at `now_ms`, at least so many where they exist."""
        end = now_ms // MINUTE_MS + 1
        span = HOUR_MINUTES
        while True:
            found = self.trades(end - span, end)
            found = found.aggregates(self.finished(found, now_ms))
            if len(found.agg_id) >= at_least or end - span <= self.market.first_minute:
                return found
            span *= 4

    @staticmethod
    def finished(trades: Trades, now_ms: int) -> Mask:
        """Mask of the aggregates whose last fill is not after `now_ms`."""
        last = np.searchsorted(trades.fill_agg, np.arange(len(trades.agg_id)), side="right") - 1
        return np.asarray(trades.fill_time[last] <= now_ms)

    def premium(self, time_ms: Ints) -> Floats:
        """Premium of the perpetual over the index, a fraction."""
        minutes = time_ms / MINUTE_MS
        waves = ((2880.0, 2.5e-4), (360.0, 1.2e-4), (32.0, 6e-5), (4.0, 3e-5), (0.25, 1.5e-5))
        value = np.full(len(time_ms), 4e-5)
        for period, size in waves:
            value += size * self.rng.noise(f"premium{period}", minutes / period)
        return value

    def reference(self, kind: str, time_ms: Ints) -> Ints:
        """Mark price, index price or premium index at any times, integers of 8 decimals.

        index = price / (1 + premium); mark = index * (1 + premium), from the rounded figures, so that anybody who
        recomputes it from what is printed gets the same to the last digit but one.
        """
        if kind == "premium":
            return np.round(self.premium(time_ms) * REFERENCE_SCALE).astype(np.int64)
        return self._references(time_ms)[kind]

    def _references(self, time_ms: Ints) -> dict[str, Ints]:
        """All three at once: what is most of the work is common to them."""
        premium = np.round(self.premium(time_ms) * REFERENCE_SCALE)
        index = np.round(self.market.mid(time_ms) / (1 + premium / REFERENCE_SCALE) * REFERENCE_SCALE)
        mark = np.round(index * (1 + premium / REFERENCE_SCALE))
        return {"premium": premium.astype(np.int64), "index": index.astype(np.int64), "mark": mark.astype(np.int64)}

    def reference_bars(self, kind: str, start_minute: int, end_minute: int, now_ms: int) -> Bars:
        """Minute bars of [start, end) of mark, index or premium as seen at `now_ms`; `count` counts samples.

        A bar opens at the last sample of the minute before it, as Binance's do. Mark and index are sampled each
        second, the premium index each 5 s.
        """
        start, end = self.clip(start_minute, min(end_minute, now_ms // MINUTE_MS + 1))
        days = range(start // DAY_MINUTES, (end - 1) // DAY_MINUTES + 1) if start < end else range(0)
        parts = [
            self._days.get(("reference", day), lambda day=day: self._reference_day(day))[kind]  # type: ignore[misc]
            for day in days
        ]
        closed = concat([empty_bars(), *parts]).between(start * MINUTE_MS, min(end * MINUTE_MS, now_ms - MINUTE_MS + 1))
        if end != now_ms // MINUTE_MS + 1 or start >= end:
            return closed
        return concat([closed, self._sample_bars(kind, end - 1, end, now_ms)])

    def _reference_day(self, day: int) -> dict[str, Bars]:
        start, end = self.clip(day * DAY_MINUTES, (day + 1) * DAY_MINUTES)
        seconds = np.arange(start * MINUTE_MS, end * MINUTE_MS, 1_000)
        found = self._references(seconds)
        found["premium"] = found["premium"][::5]
        return {
            kind: self._bars_of_samples(kind, start, end, end * MINUTE_MS - 1, values) for kind, values in found.items()
        }

    def _sample_bars(self, kind: str, start: int, end: int, now_ms: int) -> Bars:
        times = np.arange(start * MINUTE_MS, end * MINUTE_MS, _SAMPLED_EVERY_MS[kind])
        return self._bars_of_samples(kind, start, end, now_ms, self.reference(kind, times))

    def _bars_of_samples(self, kind: str, start: int, end: int, now_ms: int, samples: Ints) -> Bars:
        step = _SAMPLED_EVERY_MS[kind]
        per_minute = MINUTE_MS // step
        minutes = np.arange(start, end)
        values = samples.reshape(-1, per_minute)
        before = self.reference(kind, np.array([start * MINUTE_MS - step]))
        seen = np.minimum(np.maximum((now_ms - minutes * MINUTE_MS) // step + 1, 1), per_minute)
        # A sample is missed now and then: Binance's element 8 shows 59 as well as 60.
        missed = (self.rng.uniform(f"missed {kind}", minutes) < 0.08) & (seen == per_minute)
        hidden = np.arange(per_minute) >= seen[:, None]
        close = values[np.arange(len(minutes)), seen - 1]
        opened = np.concatenate([before, close[:-1]])
        high = np.maximum(np.where(hidden, values[:, :1], values).max(axis=1), opened)
        low = np.minimum(np.where(hidden, values[:, :1], values).min(axis=1), opened)
        zero = np.zeros(len(minutes), np.int64)
        return Bars(minutes * MINUTE_MS, opened, high, low, close, zero, zero, seen - missed, zero, zero)
