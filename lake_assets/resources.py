"""Dagster resources: Binance REST, Binance Vision, and the lake that they feed.

Belongs here: their configuration as the UI shows it, and opening them in a run.
Does not belong here: the clients themselves (`lake_resources`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import dagster as dg

from lake_assets.ingest.lake import Lake, claim_root
from lake_resources.binance.rest import BinanceRest
from lake_resources.binance.vision import VisionClient
from lake_resources.clock import system_clock
from lake_resources.governor import WeightGovernor
from lake_resources.settings import LakeSettings
from lake_resources.storage.catalog import Catalog
from lake_resources.storage.ledger import Ledger


class BinanceRestResource(dg.ConfigurableResource[Any]):
    """Binance USD-M REST, behind the weight governor that all processes of the host share."""

    base_url: str
    governor_path: str
    weight_share: float
    timeout_s: float
    attempts: int

    def open(self) -> BinanceRest:
        """Open the client."""
        path = Path(self.governor_path)
        path.parent.mkdir(parents=True, exist_ok=True)
        governor = WeightGovernor(path, clock=system_clock, share=self.weight_share)
        return BinanceRest(
            self.base_url, governor=governor, clock=system_clock, timeout_s=self.timeout_s, attempts=self.attempts
        )


class BinanceVisionResource(dg.ConfigurableResource[Any]):
    """Binance Vision: the daily and monthly archives."""

    base_url: str
    connections: int

    def open(self) -> VisionClient:
        """Open the client."""
        return VisionClient(self.base_url, connections=self.connections)


class LakeOpener(Protocol):
    """What an asset needs of the resource `lake`."""

    def open(self) -> Lake:
        """Open the lake."""


class LakeResource(dg.ConfigurableResource[Any]):
    """The lake: files below `root`, ledger, and the clients that feed it."""

    rest: BinanceRestResource
    vision: BinanceVisionResource
    exchange: str
    root: str
    ledger_url: str
    safety_lag_minutes: int
    max_ffill_minutes: int

    def open(self) -> Lake:
        """Open the lake; refuses a root that holds data of another exchange."""
        claim_root(Path(self.root), self.exchange)
        return Lake(
            Catalog(Path(self.root)),
            Ledger(self.ledger_url),
            self.rest.open(),
            self.vision.open(),
            system_clock,
            self.safety_lag_minutes,
            self.max_ffill_minutes,
        )


def build_resources(settings: LakeSettings) -> dict[str, object]:
    """All resources of the code location, by key."""
    rest = BinanceRestResource(
        base_url=settings.resolved_rest_url,
        governor_path=str(settings.resolved_governor_path),
        weight_share=settings.weight_share,
        timeout_s=settings.rest_timeout_s,
        attempts=settings.rest_attempts,
    )
    vision = BinanceVisionResource(base_url=settings.resolved_vision_url, connections=settings.vision_connections)
    lake = LakeResource(
        rest=rest,
        vision=vision,
        exchange=settings.exchange,
        root=str(settings.lake_root),
        ledger_url=settings.resolved_ledger_url,
        safety_lag_minutes=settings.safety_lag_minutes,
        max_ffill_minutes=settings.max_ffill_minutes,
    )
    return {"binance_rest": rest, "binance_vision": vision, "lake": lake}
