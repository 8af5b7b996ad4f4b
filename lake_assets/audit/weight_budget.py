"""The share of the exchange's request weight that comparing stored hours may take.

Belongs here: that share, held over all that share the governor. Does not belong here: the weight of the lake as a whole
(`lake_resources.governor` counts it all the same), what is compared.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from lake_resources.binance.market import WeightBucket
from lake_resources.clock import Clock, system_clock
from lake_resources.governor import WeightGovernor
from lake_resources.settings import LakeSettings


@dataclass(frozen=True)
class WeightBudget:
    """A budget within the lake's own.

    Attributes:
        governor: counts against the share, in the file that counts everything.
        share: part of the exchange's limit.
    """

    governor: WeightGovernor
    share: float

    def take(self, address: str, bucket: WeightBucket, cost: int) -> None:
        """Wait until a request of that cost fits into the share of the running minute, and count it.

        Raises:
            SettingsError: the share is too small for such a request ever to fit.
        """
        self.governor.acquire(f"parity of {address}", bucket.name, cost)

    def requests_in(self, minutes: int, bucket: WeightBucket, cost: int) -> int:
        """How many requests of that cost fit into so many minutes, at least one."""
        return max(1, minutes * int(bucket.capacity * self.share) // cost)


def parity_budget(
    settings: LakeSettings, *, clock: Clock = system_clock, sleep: Callable[[float], None] = time.sleep
) -> WeightBudget:
    """The budget of comparisons, as the settings bound it."""
    share = settings.weight_share * settings.parity_weight_share
    return WeightBudget(WeightGovernor(settings.governor_place, clock=clock, share=share, sleep=sleep), share)
