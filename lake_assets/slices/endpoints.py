"""The endpoints whose raw answers are kept.

Belongs here: the registry: one line per endpoint. Does not belong here: their declarations.
"""

from __future__ import annotations

from lake_assets.slices.agg_trades_endpoint import AGG_TRADES
from lake_assets.slices.endpoint import SliceEndpoint
from lake_assets.slices.funding_rate_endpoint import FUNDING_RATE
from lake_assets.slices.klines_endpoint import KLINES
from lake_resources.errors import SettingsError

ENDPOINTS: dict[str, SliceEndpoint] = {each.name: each for each in (KLINES, FUNDING_RATE, AGG_TRADES)}


def endpoint_of(name: str, interval: str) -> SliceEndpoint:
    """The endpoint of that name, checked to have records of that interval.

    Raises:
        SettingsError: there is none, or it has no such interval.
    """
    if name not in ENDPOINTS:
        raise SettingsError(f"no slices are kept of {name!r}", remedy=f"One of {', '.join(ENDPOINTS)}")
    found = ENDPOINTS[name]
    if interval not in found.intervals:
        raise SettingsError(
            f"{name} has no slices of the interval {interval!r}", remedy=f"One of {', '.join(found.intervals)}"
        )
    return found
