"""A lake fed by the simulated exchange in this process, with one clock for both that tests set.

Belongs here: opening and closing both, building hours and reading them back. Does not belong here: any assertion.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import copytree

import polars as pl

from lake_assets.build.hours import build_partitions
from lake_assets.inputs.archives import ingest_archives
from lake_assets.inputs.results import ArchiveResult, HourResult
from lake_assets.lake import Lake, open_lake
from lake_assets.validation.outcome import CheckOutcome
from lake_resources.binance.um_streams import UM_STREAMS
from lake_resources.clock import HOUR
from lake_resources.settings import LakeSettings
from lake_resources.simulator.faults import Fault
from lake_resources.simulator.market.specs import Listing
from lake_resources.simulator.server import SimulatorServer
from lake_resources.storage.hashing import file_hash

SYMBOL = "BTCUSDT"
DAY = datetime(2026, 11, 18, tzinfo=UTC)
"""The day most tests are about; its archives appear on the 19th at 08:35."""
ON_THE_DAY = DAY + 15 * HOUR + timedelta(minutes=30, seconds=30)
PUBLISHED = DAY + timedelta(days=1, hours=9)


@dataclass
class Bench:
    """One lake, the exchange that feeds it, and what was reported."""

    sim: SimulatorServer
    lake: Lake
    settings: LakeSettings
    reports: list[str] = field(default_factory=list)

    @property
    def now(self) -> datetime:
        """The one clock."""
        return self.sim.clock.now()

    def at(self, now: datetime) -> Bench:
        """Set the one clock."""
        self.sim.clock.freeze(now)
        return self

    def fault(self, kind: str, path: str = "", **given: object) -> int:
        """Script a fault."""
        return self.sim.faults.add(Fault(kind, path, **given))  # type: ignore[arg-type]

    def build(self, hours: Iterable[datetime], symbol: str = SYMBOL) -> list[HourResult]:
        """Build hours, all results in order."""
        days = build_partitions(self.lake, symbol, list(hours), now=self.now, report=self.reports.append)
        return [hour for day in days for hour in day.hours]

    def archives(self, stream: str, *periods: str) -> list[ArchiveResult]:
        """What the archive's own asset does."""
        return list(ingest_archives(self.lake, SYMBOL, [(UM_STREAMS[stream], period) for period in periods]))

    def committed(
        self, start: datetime = DAY, end: datetime = DAY + 24 * HOUR, symbol: str = SYMBOL
    ) -> dict[datetime, str]:
        """Content hash by hour, of the ledger; the files have these bytes."""
        rows = self.lake.ledger.partitions(symbol, start, end)
        for row in rows:
            assert file_hash(self.lake.files.here(row.path)) == row.content_hash, row.start
        return {row.start: row.content_hash for row in rows}

    def rows(self, hour: datetime, symbol: str = SYMBOL) -> pl.DataFrame:
        """The committed rows of an hour."""
        return pl.read_parquet(self.lake.catalog.partition_path(symbol, hour))

    def paths_asked(self) -> list[str]:
        """URL paths the exchange was asked for since the log was cleared."""
        return [path for _, path, _ in self.sim.requests]


def hours(first: int, last: int, day: datetime = DAY) -> list[datetime]:
    """Starts of hours `first` to `last` (exclusive) of a day; both may lie beyond it."""
    return [day + index * HOUR for index in range(first, last)]


def kinds(result: HourResult) -> dict[str, str]:
    """Kind of source by stream."""
    return {name: ref.kind for name, ref in result.sources.items()}


def checks(result: HourResult) -> dict[str, CheckOutcome]:
    """Check outcomes by name."""
    return {outcome.name: outcome for outcome in result.outcomes}


def failed_checks(result: HourResult) -> set[str]:
    """Names of the checks that did not pass."""
    return {outcome.name for outcome in result.outcomes if not outcome.passed}


def statuses(results: Sequence[HourResult]) -> list[str]:
    """Status of each hour."""
    return [result.status for result in results]


@contextmanager
def exchange(
    rate_per_min: float = 4.0, symbols: tuple[str, ...] = (SYMBOL,), listings: Mapping[str, Listing] | None = None
) -> Iterator[SimulatorServer]:
    """A simulated exchange without limits of its own; its clock must be set."""
    sim = SimulatorServer(
        seed=7,
        symbols=symbols,
        clock=lambda: ON_THE_DAY,
        limit_clock=lambda: sim.clock.now(),
        rate_per_min=rate_per_min,
        limits=False,
        listings=listings,
    )
    with sim:
        yield sim


@contextmanager
def bench_on(
    sim: SimulatorServer, root: Path, *, settings: LakeSettings | None = None, like: Path | None = None, **given: object
) -> Iterator[Bench]:
    """A lake on the exchange; faults of an earlier test are gone.

    Args:
        sim: the exchange.
        root: of the bench; its lake lies in `lake` below it.
        settings: of another lake, to be taken over.
        like: root of another bench that is closed: the lake begins as a copy of that one's.
        given: further settings.
    """
    if like is not None:
        copytree(like / "lake", root / "lake")
    sim.faults.clear()
    sim.clear_requests()
    sim.exchange.limits.reset()
    sim.clock.freeze(ON_THE_DAY)
    urls = {"rest_url": sim.base_url, "vision_url": sim.base_url}
    if settings is not None:
        settings = settings.model_copy(update={"root": root / "lake"})
    else:
        settings = LakeSettings(**({"root": root / "lake", "symbols": (SYMBOL,), "rest_attempts": 2} | urls | given))  # type: ignore[arg-type]
    lake = open_lake(settings, clock=sim.clock.now, sleep=lambda _: None)
    try:
        yield Bench(sim, lake, settings)
    finally:
        lake.close()
