"""A simulated lake with its Dagster code location in this process: sensors are ticked and their runs executed by hand.

Belongs here: evaluating a sensor with a cursor that is kept, executing what it asked for. No assertion.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

import dagster as dg

from lake_assets.assets.parity_check import build_parity_check
from lake_assets.assets.table_asset import build_table_asset
from lake_assets.assets.table_list import offered_tables, symbols_of
from lake_assets.assets.vision import build_vision_asset
from lake_assets.jobs.history_pruning import build_prune_job
from lake_assets.jobs.job_list import build_sensor_jobs
from lake_assets.lake import Lake
from lake_assets.sensors.sensor_list import build_sensors
from lake_assets.tables.offered import offered_streams
from lake_resources.binance.market import MARKETS
from lake_tests.support.simulated_lake import Bench


@dataclass(frozen=True)
class _Opened:
    lake: Lake

    def open(self) -> Lake:
        return self.lake


@dataclass
class Automated:
    """A code location on a bench, an instance, and the sensors' cursors."""

    bench: Bench
    instance: dg.DagsterInstance
    repository: dg.RepositoryDefinition
    cursors: dict[str, str | None] = field(default_factory=dict)

    def tick(self, sensor: str, now: datetime | None = None) -> dg.SensorResult:
        """Evaluate a sensor once, as the daemon does; its cursor is kept."""
        if now is not None:
            self.bench.at(now)
        context = dg.build_sensor_context(
            instance=self.instance, cursor=self.cursors.get(sensor), repository_def=self.repository
        )
        found = self.repository.get_sensor_def(sensor).evaluate_tick(context)
        if found.cursor is not None:
            self.cursors[sensor] = found.cursor
        return found

    def run(self, request: dg.RunRequest, *, fails: bool = False, job: str = "minute_hours") -> str:
        """Execute one run request here; returns its run id. `fails`: it may. `job`: of a request that names none."""
        result = self.repository.get_job(request.job_name or job).execute_in_process(
            instance=self.instance,
            tags=dict(request.tags),
            partition_key=request.partition_key,
            asset_selection=list(request.asset_selection or ()),
            raise_on_error=False,
        )
        assert result.success or fails, [event.message for event in result.all_events if event.is_failure]
        return result.run_id

    def tick_and_run(self, sensor: str, now: datetime | None = None) -> list[str]:
        """Tick, and execute everything that was asked for."""
        (job, *_) = (target.job_name for target in self.repository.get_sensor_def(sensor).targets)
        return [self.run(request, job=job) for request in self.tick(sensor, now).run_requests or ()]


@contextmanager
def automated(bench: Bench, instance: dg.DagsterInstance) -> Iterator[Automated]:
    """The code location of a bench's settings, with the bench's own lake and clock."""
    settings = bench.settings
    assets = [
        build_vision_asset(symbol, stream, settings)
        for market in MARKETS.values()
        for symbol in settings.symbols_of(market)
        for stream in offered_streams(settings, market.name)
    ]
    for shown in offered_tables(settings):
        assets += [build_table_asset(shown, symbol, settings) for symbol in symbols_of(shown.table, settings)]
    jobs = [*build_sensor_jobs(settings), build_prune_job(settings)]
    sensors = build_sensors(settings, jobs, clock=lambda: bench.now)
    definitions = dg.Definitions(
        assets=assets,
        asset_checks=[
            build_parity_check(shown.table, symbol, settings)
            for shown in offered_tables(settings)
            for symbol in symbols_of(shown.table, settings)
        ],
        jobs=jobs,
        sensors=sensors,
        resources={"lake": _Opened(bench.lake)},
    )
    yield Automated(bench, instance, definitions.get_repository_def())


def ranges(requests: Sequence[dg.RunRequest] | None) -> list[tuple[str, str]]:
    """First and last partition of range requests."""
    return [
        (request.tags["dagster/asset_partition_range_start"], request.tags["dagster/asset_partition_range_end"])
        for request in requests or ()
    ]
