"""The feed as one object: its table, its files, the exchange and the clock, with its options.

Belongs here: composing them. Does not belong here: the protocol of a run (`run`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lake_assets.feed_1h.artifacts import ArtifactStore
from lake_assets.feed_1h.bars import dataset_slug
from lake_assets.feed_1h.history import LOOKBACK_HOURS
from lake_resources.binance.rest.rest_client import BinanceRest
from lake_resources.clock import Clock
from lake_resources.errors import SettingsError
from lake_resources.known_hole import KnownHole
from lake_resources.settings import LakeSettings
from lake_resources.storage.bars_duckdb import BarsTable

Source = Literal["db", "api"]


@dataclass(frozen=True)
class FeedOptions:
    """What a user can choose.

    Attributes:
        n_recent: bars of a window; `n_recent - 1` before the target hour are validated.
        buffer_hours: hours of the inference file beyond 30 days.
        inference_source: `db` takes it from the table, `api` from the exchange.
        persist_dir: root of the files.
        dataset: name from which the directory below it is made.
        keep_days: age at which files of runs are removed; 0 keeps all.
        warn_skew_s: difference of the clocks that is told of, seconds.
    """

    n_recent: int
    buffer_hours: int
    inference_source: Source
    persist_dir: Path
    dataset: str
    keep_days: int
    warn_skew_s: float

    def __post_init__(self) -> None:
        if self.n_recent < 2:
            raise SettingsError(f"n-recent is {self.n_recent}", remedy="At least 2: the new bar and one to validate")
        if self.buffer_hours < 0:
            raise SettingsError(f"buffer-hours is {self.buffer_hours}", remedy="Zero or more hours")

    @property
    def history_hours(self) -> int:
        """Hours that must be continuous: 30 days and the buffer."""
        return LOOKBACK_HOURS + self.buffer_hours


@dataclass(frozen=True)
class Feed:
    """Everything a run needs.

    Attributes:
        outages: declared outages of the exchange, beside those that come with the project.
    """

    table: BarsTable
    rest: BinanceRest
    clock: Clock
    options: FeedOptions
    outages: Sequence[KnownHole] = ()

    @property
    def files(self) -> ArtifactStore:
        """The directory of the dataset's files."""
        return ArtifactStore(self.options.persist_dir / dataset_slug(self.options.dataset))


def feed_options(settings: LakeSettings) -> FeedOptions:
    """The options that the settings name."""
    return FeedOptions(
        n_recent=settings.feed_n_recent,
        buffer_hours=settings.feed_buffer_hours,
        inference_source="api" if settings.feed_inference_source == "api" else "db",
        persist_dir=settings.resolved_feed_persist_dir,
        dataset=settings.feed_dataset,
        keep_days=settings.feed_keep_days,
        warn_skew_s=settings.feed_warn_skew_s,
    )
