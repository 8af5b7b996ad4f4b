"""The spot market of a symbol, beside its futures: its own trades, at prices that follow the index.

Belongs here: how spot differs from the perpetual. Does not belong here: how a market makes trades (`seeded_market`).
The index that futures are measured by is the price of spot, so spot trades at the futures' price without its premium.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lake_resources.simulator.market.rng import Floats, Ints, Rng
from lake_resources.simulator.market.seeded_market import ALWAYS, SeededMarket
from lake_resources.simulator.market.specs import Listing

if TYPE_CHECKING:
    from lake_resources.simulator.market.feed import SymbolFeed


class SpotMarket(SeededMarket):
    """A spot market that is a pure function of (seed, symbol, time).

    Args:
        futures: the perpetual of the same name, whose price it is related to.
        seed: same seed, same trades.
        rate_per_min: mean number of aggregates per minute.
        listing: when it trades.
    """

    def __init__(
        self, futures: SymbolFeed, seed: int, *, rate_per_min: float = 15.0, listing: Listing = ALWAYS
    ) -> None:
        super().__init__(futures.spec, seed, rate_per_min=rate_per_min, listing=listing)
        self._rng = Rng(seed, f"{futures.spec.pair}/spot")
        self._futures = futures

    def mid(self, time_ms: Ints) -> Floats:
        """Smooth price at any times, USDT: the futures' one without its premium."""
        return np.asarray(self._futures.market.mid(time_ms) / (1 + self._futures.premium(time_ms)))

    def _times(self, index: Ints, minute: Ints, rank: Ints, size: Ints, fills: Ints) -> tuple[Ints, Ints]:
        """Spot merges only what one order filled at one instant, so no aggregate reaches over an edge."""
        time, _ = super()._times(index, minute, rank, size, fills)
        return time, np.zeros_like(time)
