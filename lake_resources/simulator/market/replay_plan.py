"""How the fills of a replayed minute are grouped, so that they add up to its bar.

Belongs here: for each minute, groups of fills of one price and side, with exact counts and volumes.
Does not belong here: single fills and their times (replay.py).

A minute has up to four anchors (open, high, low, close) and, for takers that buy and that sell, fills at two
neighbouring prices p and p + 1 whose mix gives the side's quote volume exactly: Q = p·V + R, so R units trade at
p + 1. Where a minute has too few fills for that, everything but the quote volume is still exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lake_resources.simulator.market.bars import Bars
from lake_resources.simulator.market.rng import Ints, Rng
from lake_resources.simulator.market.trades import MINUTE_MS, Mask

OPEN, HIGH, LOW, CLOSE, BUY, BUY_UP, SELL, SELL_UP = range(8)
RUN = 3
"""Fills of one aggregate inside a minute."""
_FEW = 4
_Groups = tuple[Ints, Ints, Ints, Mask]


@dataclass(frozen=True)
class Plan:
    """Groups of fills, arrays of shape (minutes, 8).

    Attributes:
        count, volume, price: fills of a group, their total quantity, their price.
        buyer_maker: True where the taker sold.
        straddles: shape (minutes,): the close joins the aggregate of the next minute's open.
    """

    count: Ints
    volume: Ints
    price: Ints
    buyer_maker: Mask
    straddles: Mask

    @property
    def runs(self) -> Ints:
        """Taker orders that begin or go on in each minute."""
        return np.asarray(((self.count + RUN - 1) // RUN).sum(axis=1))


def _between(value: Ints, low: Ints | int, high: Ints | int) -> Ints:
    return np.asarray(np.minimum(np.maximum(value, low), high))


def _two_levels(count: Ints, volume: Ints, quote: Ints, low: Ints, high: Ints) -> tuple[Ints, Ints, Ints]:
    """Price of the lower level, and count and volume of the upper one."""
    price = quote // np.maximum(volume, 1)
    rest = quote - price * volume
    reachable = (price >= low) & (price + (rest > 0) <= high) & (count >= 1 + (rest > 0))
    price = np.where(reachable, price, _between(price, low, high))
    rest = np.where(reachable, rest, 0)
    upper = np.round(count * (rest / np.maximum(volume, 1))).astype(np.int64)
    upper = _between(upper, np.maximum(1, count - (volume - rest)), np.minimum(count - 1, rest))
    return price, np.where(rest > 0, upper, 0), rest


def plan_minutes(bars: Bars, rng: Rng) -> Plan:
    """Plan the fills of minute bars."""
    minute = bars.open_ms // MINUTE_MS
    total = np.minimum(np.maximum(bars.count, bars.volume > 0), bars.volume)
    # Sides of the anchors in proportion, turned by chance; None stands for it.
    turn = rng.below("turn", minute, 4)
    groups = _plan_sides(bars, total, turn, None)
    count, volume, price, maker = groups
    # Where the sides of the anchors leave a quote volume out of reach, other sides are tried.
    for sides in range(16):
        wrong = np.flatnonzero(((volume * price).sum(axis=1) != bars.quote) & (total > _FEW))
        if not len(wrong):
            break
        part = bars.take(wrong)
        tried = _plan_sides(part, total[wrong], turn[wrong], sides)
        right = (tried[1] * tried[2]).sum(axis=1) == part.quote
        for kept, new in zip(groups, tried, strict=True):
            kept[wrong[right]] = new[right]

    joins = np.zeros(len(bars), np.bool_)
    if len(bars) > 1:
        calm = (total[:-1] >= 2) & (total[1:] >= 2) & (np.diff(minute) == 1)
        same = (bars.close[:-1] == bars.open[1:]) & (maker[:-1, CLOSE] == maker[1:, OPEN])
        joins[:-1] = calm & same & (rng.uniform("straddle", minute[:-1]) < 0.25)
    return Plan(count, volume, price, maker, joins)


def _plan_sides(bars: Bars, total: Ints, turn: Ints, sides: int | None) -> _Groups:
    """Groups of minutes; `sides` are four bits, one per anchor, set where its taker bought."""
    shape = (len(bars), 8)
    count, volume = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    price = np.zeros(shape, np.int64)
    maker = np.zeros(shape, np.bool_)
    maker[:, [SELL, SELL_UP]] = True
    buy, sell = bars.taker_volume, bars.volume - bars.taker_volume
    anchored = np.stack(
        [
            total >= 1,
            (total >= 2) & (bars.high > np.maximum(bars.open, bars.close)),
            (total >= 2) & (bars.low < np.minimum(bars.open, bars.close)),
            total >= 2,
        ],
        axis=1,
    )
    anchors = anchored.sum(axis=1)
    inner = np.maximum(total - anchors, 0)
    count[:, :4], volume[:, :4] = anchored, anchored
    price[:, :4] = np.stack([bars.open, bars.high, bars.low, bars.close], axis=1)

    buys = np.round(anchors * (buy / np.maximum(bars.volume, 1))).astype(np.int64)
    buys = _between(buys, np.maximum(anchors - sell, 0), np.minimum(anchors, buy))
    rank = np.cumsum(anchored, axis=1) - 1
    maker[:, :4] = (rank + turn[:, None]) % np.maximum(anchors, 1)[:, None] >= buys[:, None]
    if sides is not None:
        wished = ~((sides >> np.arange(4)) & 1).astype(np.bool_)
        held = (anchored & ~wished).sum(axis=1)
        fits = (held <= buy) & (anchors - held <= sell)
        maker[:, :4] = np.where(fits[:, None], wished, maker[:, :4])

    many = inner >= _FEW
    groups = (count, volume, price, maker)
    _plan_many(bars, many, inner, (buy, sell), groups)
    _plan_few(bars, ~many & (total > 0), inner, (buy, sell), groups)
    return groups


def _plan_many(bars: Bars, many: Mask, inner: Ints, sides: tuple[Ints, Ints], groups: _Groups) -> None:
    count, volume, price, maker = groups
    held = volume[:, :4]
    left = [sides[0] - (held * ~maker[:, :4]).sum(axis=1), sides[1] - (held * maker[:, :4]).sum(axis=1)]
    quotes = [bars.taker_quote, bars.quote - bars.taker_quote]
    spent = [(held * ~maker[:, :4] * price[:, :4]).sum(axis=1), (held * maker[:, :4] * price[:, :4]).sum(axis=1)]
    whole = np.maximum(left[0] + left[1], 1)
    bought = np.round(inner * (left[0] / whole)).astype(np.int64)
    low = np.maximum(inner - left[1], np.minimum(2, left[0]))
    high = np.minimum(left[0], inner - np.minimum(2, left[1]))
    bought = _between(bought, low, high)
    for side, (lower, upper) in enumerate(((BUY, BUY_UP), (SELL, SELL_UP))):
        fills = bought if side == 0 else inner - bought
        quote = quotes[side] - spent[side]
        level, above, rest = _two_levels(fills, left[side], quote, bars.low, bars.high)
        for group, each, amount, at in (
            (lower, fills - above, left[side] - rest, level),
            (upper, above, rest, level + 1),
        ):
            count[many, group] = each[many]
            volume[many, group] = amount[many]
            price[many, group] = at[many]


def _plan_few(bars: Bars, few: Mask, inner: Ints, sides: tuple[Ints, Ints], groups: _Groups) -> None:
    """Minutes with a handful of fills: all but open and close hold one unit, those two take the rest by side."""
    count, volume, price, maker = groups
    buy, sell = sides
    single = few & (count[:, CLOSE] == 0)
    volume[single, OPEN] = bars.volume[single]
    maker[single, OPEN] = sell[single] > buy[single]
    pair = few & ~single
    ones = inner + count[:, HIGH] + count[:, LOW]
    both = (buy > 0) & (sell > 0)
    bought = np.round(ones * (buy / np.maximum(bars.volume, 1))).astype(np.int64)
    bought = _between(bought, np.maximum(ones - (sell - 1), 0), np.minimum(ones, buy - 1))
    bought = np.where(both, bought, np.where(buy > 0, ones, 0))
    left = bought.copy()
    for group in (HIGH, LOW):
        taken = (left > 0) & (count[:, group] > 0)
        maker[pair, group] = ~taken[pair]
        left = left - taken
    level = np.minimum(np.maximum(bars.quote // np.maximum(bars.volume, 1), bars.low), bars.high)
    for group, each in ((BUY, np.minimum(left, inner)), (SELL, inner - np.minimum(left, inner))):
        count[pair, group] = each[pair]
        volume[pair, group] = each[pair]
        price[pair, group] = level[pair]
    first_buys = np.where(both, bars.open >= bars.close, buy > 0)
    maker[pair, OPEN] = ~first_buys[pair]
    maker[pair, CLOSE] = np.where(both, first_buys, buy == 0)[pair]
    rest_buy, rest_sell = buy - bought, sell - (ones - bought)
    opened = np.where(both, np.where(first_buys, rest_buy, rest_sell), 1)
    closed = np.where(both, np.where(first_buys, rest_sell, rest_buy), rest_buy + rest_sell - 1)
    volume[pair, OPEN] = opened[pair]
    volume[pair, CLOSE] = closed[pair]
