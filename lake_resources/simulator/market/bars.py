"""Bars of integers: minute bars from fills, longer bars from minute bars.

Belongs here: the `Bars` arrays, how fills become a minute, how minutes become an interval.
Does not belong here: where the fills come from, printing, anything about requests.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import UTC, datetime

import numpy as np

from lake_resources.simulator.market.rng import Ints
from lake_resources.simulator.market.trades import MINUTE_MS, Trades

DAY_MS = 86_400_000
INTERVAL_MINUTES = {
    "1m": 1, "3m": 3, "5m": 5, "15m": 15, "30m": 30, "1h": 60, "2h": 120, "4h": 240, "6h": 360, "8h": 480,
    "12h": 720, "1d": 1440, "3d": 4320, "1w": 10080, "1M": None,
}  # fmt: skip
SECOND = "1s"
"""The one interval below a minute; spot alone has it."""
_FIRST_MONDAY_MINUTE = 4 * 1440
"""Weeks are counted from Monday 1970-01-05."""


@dataclass(frozen=True)
class Bars:
    """Bars in time order, one array entry per bar.

    Attributes:
        open_ms: open time, epoch ms.
        open, high, low, close: integers of the price digits.
        volume, taker_volume: integers of the quantity digits.
        quote, taker_quote: integers of price digits + quantity digits.
        count: fills (or samples, for mark, index and premium).
    """

    open_ms: Ints
    open: Ints
    high: Ints
    low: Ints
    close: Ints
    volume: Ints
    quote: Ints
    count: Ints
    taker_volume: Ints
    taker_quote: Ints

    def __len__(self) -> int:
        return len(self.open_ms)

    def take(self, index: slice | Ints) -> Bars:
        """The bars of a slice or an index array."""
        return Bars(*(getattr(self, field.name)[index] for field in fields(self)))

    def between(self, start_ms: int, end_ms: int) -> Bars:
        """The bars whose open time lies in [start, end)."""
        first, end = np.searchsorted(self.open_ms, [start_ms, end_ms])
        return self.take(slice(int(first), int(end)))


def concat(parts: list[Bars]) -> Bars:
    """Bars of all parts, in the order given."""
    return Bars(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Bars)))


def empty_bars() -> Bars:
    """No bars."""
    return Bars(*(np.zeros(0, np.int64) for _ in fields(Bars)))


def minute_bars(trades: Trades, start_minute: int, end_minute: int, previous_close: int | None) -> Bars:
    """Minute bars of the epoch minutes [start, end) from fills, as `bars_of_fills` makes them."""
    return bars_of_fills(trades, start_minute, end_minute, previous_close, step_ms=MINUTE_MS)


def bars_of_fills(trades: Trades, start: int, end: int, previous_close: int | None, *, step_ms: int) -> Bars:
    """Bars of [start, end) from fills; a bar without a fill repeats the previous close.

    Args:
        trades: fills that cover the range; earlier and later ones are ignored.
        start: number of the first bar since the epoch.
        end: end of the range, exclusive.
        previous_close: close before the range; None means that trading has not begun, so leading quiet bars are none.
        step_ms: length of a bar.
    """
    numbers = np.arange(start, end)
    edges = np.searchsorted(trades.fill_time, np.arange(start, end + 1) * step_ms)
    inside = slice(int(edges[0]), int(edges[-1]))
    price = trades.price[trades.fill_agg[inside]]
    quantity = trades.fill_quantity[inside]
    taker = np.where(trades.buyer_maker[trades.fill_agg[inside]], 0, quantity)
    count = np.diff(edges)
    busy = count > 0
    starts = (edges[:-1] - edges[0])[busy]
    shape = len(numbers)

    def reduce(function: np.ufunc, values: Ints) -> Ints:
        out = np.zeros(shape, np.int64)
        if len(starts):
            out[busy] = function.reduceat(values, starts)
        return out

    close = np.zeros(shape, np.int64)
    close[busy] = price[(edges[1:] - edges[0] - 1)[busy]]
    carried = np.maximum.accumulate(np.where(busy, np.arange(shape), -1)) if shape else close
    close = np.where(carried >= 0, close[carried], previous_close or 0)
    opened = close.copy()
    opened[busy] = price[starts]
    high, low = reduce(np.maximum, price), reduce(np.minimum, price)
    bars = Bars(
        numbers * step_ms, opened, np.where(busy, high, close), np.where(busy, low, close), close,
        reduce(np.add, quantity), reduce(np.add, price * quantity), count,
        reduce(np.add, taker), reduce(np.add, price * taker),
    )  # fmt: skip
    return bars if previous_close is not None else bars.take(np.flatnonzero(carried >= 0))


def interval_start_ms(time_ms: int, interval: str) -> int:
    """Open time of the bar that holds a time."""
    if interval == SECOND:
        return time_ms // 1000 * 1000
    minutes = INTERVAL_MINUTES[interval]
    if minutes is None:
        moment = datetime.fromtimestamp(time_ms / 1000, UTC)
        return int(datetime(moment.year, moment.month, 1, tzinfo=UTC).timestamp()) * 1000
    origin = _FIRST_MONDAY_MINUTE * MINUTE_MS if interval == "1w" else 0
    return (time_ms - origin) // (minutes * MINUTE_MS) * minutes * MINUTE_MS + origin


def interval_end_ms(open_ms: int, interval: str) -> int:
    """End (exclusive) of the bar that opens at a time."""
    if interval == SECOND:
        return open_ms + 1000
    minutes = INTERVAL_MINUTES[interval]
    if minutes is None:
        return interval_start_ms(open_ms + 32 * DAY_MS, interval)
    return open_ms + minutes * MINUTE_MS


def roll_up(bars: Bars, interval: str) -> Bars:
    """Bars of a longer interval from minute bars; the last one may be unfinished."""
    if interval == "1m" or not len(bars):
        return bars
    minutes = INTERVAL_MINUTES[interval]
    if minutes is None:
        months = bars.open_ms.astype("datetime64[ms]").astype("datetime64[M]")
        start = months.astype("datetime64[ms]").astype(np.int64)
    else:
        origin = _FIRST_MONDAY_MINUTE * MINUTE_MS if interval == "1w" else 0
        start = (bars.open_ms - origin) // (minutes * MINUTE_MS) * minutes * MINUTE_MS + origin
    first = np.flatnonzero(np.diff(start, prepend=start[0] - 1))
    last = np.append(first[1:], len(start)) - 1

    def total(values: Ints) -> Ints:
        return np.asarray(np.add.reduceat(values, first))

    return Bars(
        start[first], bars.open[first], np.maximum.reduceat(bars.high, first), np.minimum.reduceat(bars.low, first),
        bars.close[last], total(bars.volume), total(bars.quote), total(bars.count),
        total(bars.taker_volume), total(bars.taker_quote),
    )  # fmt: skip
