"""Minutes inside replayed hours.

Belongs here: deriving 60 minute bars whose roll-up is the hour, exactly in OHLC, volume, count and taker volume.
Does not belong here: reading files (replay_file.py), fills (replay.py).
"""

from __future__ import annotations

import numpy as np

from lake_resources.simulator.market.bars import Bars
from lake_resources.simulator.market.rng import Ints, Rng
from lake_resources.simulator.market.seeded_market import split_total
from lake_resources.simulator.market.trades import MINUTE_MS

_LEAST_FILLS = 4
"""Open, high, low and close of a minute may each need a fill of its own."""


def fill_unknown(hours: Bars, rng: Rng, fills_per_min: float) -> Bars:
    """Give hours without count and taker volume plausible ones."""
    hour = hours.open_ms // 3_600_000
    count = np.minimum(hours.volume, (60 * fills_per_min * (0.6 + 0.8 * rng.uniform("count", hour))).astype(np.int64))
    taker = (hours.volume * (0.4 + 0.2 * rng.uniform("taker", hour))).astype(np.int64)
    mean = (hours.open + hours.high + hours.low + hours.close) // 4
    return Bars(
        hours.open_ms, hours.open, hours.high, hours.low, hours.close, hours.volume, hours.volume * mean, count,
        taker, taker * mean,
    )  # fmt: skip


def _shared(total: Ints, weights: Ints) -> Ints:
    return np.diff(split_total(total, weights), axis=1)


def minutes_of_hours(hours: Bars, rng: Rng) -> Bars:
    """Minute bars of whole hours, 60 per hour. Their quote volumes are targets only.

    An hour with fewer fills than its minutes need has them all in its first minute.
    """
    rows = len(hours)
    minute = hours.open_ms[:, None] // MINUTE_MS + np.arange(60)
    share = np.arange(1, 61) / 60
    walk = np.cumsum(rng.bell("walk", minute), axis=1)
    bridge = walk - walk[:, -1:] * share
    bridge /= np.maximum(np.abs(bridge).max(axis=1, keepdims=True), 1e-9)
    span = (hours.high - hours.low)[:, None]
    path = hours.open[:, None] + (hours.close - hours.open)[:, None] * share + 0.4 * span * bridge
    close = np.clip(np.round(path).astype(np.int64), hours.low[:, None], hours.high[:, None])
    close[:, -1] = hours.close
    opened = np.concatenate([hours.open[:, None], close[:, :-1]], axis=1)
    reach = np.floor(span * 0.06 * rng.uniform("reach", minute)).astype(np.int64)
    high = np.minimum(np.maximum(opened, close) + reach, hours.high[:, None])
    low = np.maximum(np.minimum(opened, close) - reach, hours.low[:, None])
    row = np.arange(rows)
    # The extremes fall where the path comes closest to them.
    high[row, high.argmax(axis=1)] = hours.high
    low[row, low.argmin(axis=1)] = hours.low

    weights = 100 + rng.below("share", minute, 900)
    thin = hours.count < 60 * _LEAST_FILLS
    count = _LEAST_FILLS + _shared(np.where(thin, 0, hours.count - 60 * _LEAST_FILLS), weights)
    volume = count + _shared(np.maximum(hours.volume - hours.count, 0), 100 + rng.below("size", minute, 900))
    for values, total in ((count, hours.count), (volume, hours.volume)):
        values[thin] = 0
        values[thin, 0] = total[thin]
    for values, first in ((opened, hours.open), (high, hours.high), (low, hours.low), (close, hours.close)):
        values[thin] = hours.close[thin, None]
        values[thin, 0] = first[thin]
    close[thin, 0] = hours.close[thin]
    taker = _shared(hours.taker_volume, np.where(hours.volume[:, None] > 0, volume, 1))
    mean = (opened + high + low + close) // 4
    arrays = (minute * MINUTE_MS, opened, high, low, close, volume, volume * mean, count, taker, taker * mean)
    return Bars(*(values.ravel() for values in arrays))
