"""Opening the REST client of a market: the one place where it meets the host's weight governor.

Belongs here: what a client needs to be opened. Does not belong here: calls (`rest_client`), counting (`governor`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from lake_resources.binance.market import UM, Market
from lake_resources.binance.rest.rest_client import BinanceRest, Patience
from lake_resources.clock import Clock, system_clock
from lake_resources.governor import WeightGovernor
from lake_resources.input_limits import InputLimits
from lake_resources.settings import LakeSettings
from lake_resources.settings_values import GovernorPlace
from lake_resources.storage.disk import disk_errors


@dataclass(frozen=True)
class RestAccess:
    """How a market's REST is reached.

    Attributes:
        base_url: e.g. `https://fapi.binance.com`.
        governor: where the weight governor counts, for all that reach the exchange by this address.
        weight_share: part of each limit that may be used, in (0, 1].
        timeout_s: seconds for a connection and for each wait on the socket.
        attempts: calls at most, for failures that a retry can help.
        limits: how much an answer may hold.
        market: whose REST it is.
    """

    base_url: str
    governor: GovernorPlace
    weight_share: float
    timeout_s: float
    attempts: int
    limits: InputLimits
    market: Market = UM

    def open(self, *, clock: Clock = system_clock, sleep: Callable[[float], None] = time.sleep) -> BinanceRest:
        """Open the client.

        Args:
            clock: the current instant.
            sleep: takes seconds.

        Raises:
            StorageError: the directory of the governor's file cannot be made.
        """
        with disk_errors(f"create {self.governor.path.parent}"):
            self.governor.path.parent.mkdir(parents=True, exist_ok=True)
        return BinanceRest(
            self.base_url,
            governor=WeightGovernor(self.governor, clock=clock, share=self.weight_share, sleep=sleep),
            market=self.market,
            clock=clock,
            sleep=sleep,
            patience=Patience(self.timeout_s, self.attempts, self.limits),
        )


def rest_access(settings: LakeSettings, market: Market = UM) -> RestAccess:
    """How the settings say that a market's REST is reached."""
    return RestAccess(
        settings.rest_url_of(market),
        settings.governor_place,
        settings.weight_share,
        settings.rest_timeout_s,
        settings.rest_attempts,
        settings.limits,
        market,
    )
