"""Trades as arrays: aggregates and the fills they are made of.

Belongs here: the one type that every market gives and everything else is derived from, and cuts of it.
Does not belong here: how a market comes to its trades.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lake_resources.simulator.market.rng import Ints

Mask = np.ndarray[tuple[Any, ...], np.dtype[np.bool_]]

MINUTE_MS = 60_000
HOUR_MINUTES = 60
MERGE_WINDOW_MS = 100
"""Binance merges fills of one taker order at one price when they lie within 100 ms."""


@dataclass(frozen=True)
class Trades:
    """Aggregates and the fills they are made of, both in id order.

    Attributes:
        agg_id, agg_time, price, quantity, first_id, last_id, buyer_maker: one entry per aggregate;
            `buyer_maker` is True where the taker sold. `agg_time` is the time of the first fill.
        fill_id, fill_time, fill_quantity, fill_agg: one entry per fill; `fill_agg` is the index of its aggregate.
    """

    agg_id: Ints
    agg_time: Ints
    price: Ints
    quantity: Ints
    first_id: Ints
    last_id: Ints
    buyer_maker: Mask
    fill_id: Ints
    fill_time: Ints
    fill_quantity: Ints
    fill_agg: Ints

    def first_fills(self, count: int) -> Trades:
        """The same aggregates with only their first `count` fills; sums of the aggregates are left as they are."""
        return replace(
            self,
            fill_id=self.fill_id[:count],
            fill_time=self.fill_time[:count],
            fill_quantity=self.fill_quantity[:count],
            fill_agg=self.fill_agg[:count],
        )

    def aggregates(self, keep: Mask) -> Trades:
        """The aggregates of a mask, with their fills."""
        fills = keep[self.fill_agg]
        position = np.cumsum(keep) - 1
        return Trades(
            self.agg_id[keep], self.agg_time[keep], self.price[keep], self.quantity[keep], self.first_id[keep],
            self.last_id[keep], self.buyer_maker[keep], self.fill_id[fills], self.fill_time[fills],
            self.fill_quantity[fills], position[self.fill_agg[fills]],
        )  # fmt: skip
