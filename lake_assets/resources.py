"""Dagster resources: Binance REST, Binance Vision, and the lake that they feed.

Belongs here: their configuration as the UI shows it, and opening them in a run.
Does not belong here: the clients themselves (`lake_resources`).
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import dagster as dg
from dagster_duckdb import DuckDBResource

from lake_assets.at_rest import table_store
from lake_assets.feed_1h.feed import Feed, FeedOptions, feed_options
from lake_assets.io_managers import LakeParquetIOManager, ledger_url_of, shown_ledger_url
from lake_assets.lake import Lake
from lake_assets.slices.as_source import SliceSource
from lake_assets.tables.um_minute import UM_MINUTE
from lake_resources.binance.archives.vision_client import VisionClient
from lake_resources.binance.market import MARKETS, SPOT, UM, Market
from lake_resources.binance.rest.rest_client import BinanceRest
from lake_resources.clock import system_clock
from lake_resources.input_limits import InputLimits
from lake_resources.rest_access import RestAccess
from lake_resources.settings import LakeSettings
from lake_resources.settings_values import GovernorPlace
from lake_resources.storage.bars_duckdb import BarsTable
from lake_resources.storage.root import claim_root


class BinanceRestResource(dg.ConfigurableResource[Any]):
    """Binance REST of one market, behind the weight governor that all of one address share."""

    market: str
    base_url: str
    governor_path: str
    egress_id: str
    weight_share: float
    timeout_s: float
    attempts: int
    limits: dict[str, Any]

    def open(self) -> BinanceRest:
        """Open the client."""
        return RestAccess(
            self.base_url,
            GovernorPlace(Path(self.governor_path), ledger_url_of("") if self.egress_id else "", self.egress_id),
            self.weight_share,
            self.timeout_s,
            self.attempts,
            InputLimits(**self.limits),
            MARKETS[self.market],
        ).open()


class BinanceVisionResource(dg.ConfigurableResource[Any]):
    """Binance Vision: the daily and monthly archives."""

    base_url: str
    connections: int
    limits: dict[str, Any]

    def open(self) -> VisionClient:
        """Open the client."""
        return VisionClient(self.base_url, connections=self.connections, limits=InputLimits(**self.limits))


class LakeOpener(Protocol):
    """What an asset needs of the resource `lake`."""

    def open(self) -> Lake:
        """Open the lake."""


class LakeResource(dg.ConfigurableResource[Any]):
    """The lake: files below `root`, ledger, and the clients that feed it."""

    rest: BinanceRestResource
    spot_rest: BinanceRestResource
    vision: BinanceVisionResource
    exchange: str
    root: str
    ledger_url: str
    store_url: str
    safety_lag_minutes: int
    max_ffill_minutes: int
    quote_carry_s: float
    slices_root: str
    slices_ledger_url: str

    def open(self) -> Lake:
        """Open the lake; refuses a root that holds data of another exchange."""
        claim_root(Path(self.root), self.exchange)
        return Lake(
            store=table_store(Path(self.root), ledger_url_of(self.ledger_url), UM_MINUTE, self.store_url),
            clock=system_clock,
            safety_lag_minutes=self.safety_lag_minutes,
            rest_of={each.market: each.open() for each in (self.rest, self.spot_rest)},
            vision=self.vision.open(),
            max_ffill_minutes=self.max_ffill_minutes,
            quote_carry=timedelta(seconds=self.quote_carry_s),
            limits=InputLimits(**self.vision.limits),
            before_rest=(
                SliceSource(self.slices_root, self.slices_ledger_url or ledger_url_of(self.ledger_url), self.exchange),
            ),
        )


class FeedOpener(Protocol):
    """What the asset of the 1H feed needs of the resource `feed`."""

    def open(self) -> Feed:
        """Open the feed."""


class FeedResource(dg.ConfigurableResource[Any]):
    """The 1H feed: its DuckDB table, its files, and REST."""

    rest: BinanceRestResource
    duckdb: DuckDBResource
    exchange: str
    root: str
    n_recent: int
    buffer_hours: int
    inference_source: str
    persist_dir: str
    dataset: str
    keep_days: int
    warn_skew_s: float

    def open(self) -> Feed:
        """Open the feed; refuses a root that holds data of another exchange."""
        claim_root(Path(self.root), self.exchange)
        options = FeedOptions(
            n_recent=self.n_recent,
            buffer_hours=self.buffer_hours,
            inference_source="api" if self.inference_source == "api" else "db",
            persist_dir=Path(self.persist_dir),
            dataset=self.dataset,
            keep_days=self.keep_days,
            warn_skew_s=self.warn_skew_s,
        )
        table = BarsTable(Path(self.duckdb.database), self.duckdb.get_connection)
        return Feed(table, self.rest.open(), system_clock, options)


def build_resources(settings: LakeSettings) -> dict[str, object]:
    """All resources of the code location, by key."""
    rest, spot_rest = (_rest(settings, market) for market in (UM, SPOT))
    vision = BinanceVisionResource(
        base_url=settings.resolved_vision_url,
        connections=settings.vision_connections,
        limits=settings.limits.model_dump(),
    )
    lake = LakeResource(
        rest=rest,
        spot_rest=spot_rest,
        vision=vision,
        exchange=settings.exchange,
        root=str(settings.lake_root),
        ledger_url=shown_ledger_url(settings),
        store_url=settings.store_url,
        safety_lag_minutes=settings.safety_lag_minutes,
        max_ffill_minutes=settings.max_ffill_minutes,
        quote_carry_s=settings.quote_carry_s,
        slices_root=settings.slices_bucket or str(settings.resolved_slices_root),
        slices_ledger_url="" if settings.slices_root is None else settings.resolved_slices_ledger_url,
    )
    options = feed_options(settings)
    feed = FeedResource(
        rest=rest,
        duckdb=DuckDBResource(database=str(settings.resolved_feed_duckdb)),
        exchange=settings.exchange,
        root=str(settings.lake_root),
        n_recent=options.n_recent,
        buffer_hours=options.buffer_hours,
        inference_source=options.inference_source,
        persist_dir=str(options.persist_dir),
        dataset=options.dataset,
        keep_days=options.keep_days,
        warn_skew_s=options.warn_skew_s,
    )
    frames = LakeParquetIOManager(
        root=str(settings.lake_root),
        ledger_url=shown_ledger_url(settings),
        store_url=settings.store_url,
        base_dir=str(settings.lake_root / "derived"),
    )
    return {
        "io_manager": frames,
        "binance_rest": rest,
        "binance_spot_rest": spot_rest,
        "binance_vision": vision,
        "lake": lake,
        "feed": feed,
    }


def _rest(settings: LakeSettings, market: Market) -> BinanceRestResource:
    return BinanceRestResource(
        market=market.name,
        base_url=settings.rest_url_of(market),
        governor_path=str(settings.resolved_governor_path),
        egress_id=settings.egress_id,
        weight_share=settings.weight_share,
        timeout_s=settings.rest_timeout_s,
        attempts=settings.rest_attempts,
        limits=settings.limits.model_dump(),
    )
