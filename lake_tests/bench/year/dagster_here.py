"""Dagster in this process: its own backfill machinery, one run after the other, on the bench's clock.

Belongs here: the instance, the repair job, iterating backfills to their end, sensors. No judgement.

What the daemon runs for a backfill (`execute_backfill_iteration`) has no public name; Dagster's own tests use it so.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import dagster as dg
import yaml
from dagster._core.execution.backfill import BulkActionStatus
from dagster._core.launcher import LaunchRunContext
from dagster._core.launcher.sync_in_memory_run_launcher import SyncInMemoryRunLauncher
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.test_utils import InProcessTestWorkspaceLoadTarget
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._daemon.backfill import execute_backfill_iteration
from dagster._serdes import ConfigurableClassData

from lake_assets.jobs.repair import REPAIR_JOB
from lake_assets.jobs.run_tags import RANGE_END, RANGE_START
from lake_assets.materialized import materialized_partitions
from lake_assets.metadata import vision_key
from lake_assets.tables.um_minute import UM_MINUTE
from lake_tests.bench.year import location
from lake_tests.support.automated_lake import Automated
from lake_tests.support.simulated_lake import Bench

_LOGGER = logging.getLogger("lake_tests.bench.year")


class RunLauncherHere(SyncInMemoryRunLauncher):
    """Executes each run in this process before the next is launched; `dagster.yaml` names it."""

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]) -> RunLauncherHere:
        """Takes no configuration."""
        return cls(inst_data)

    def launch_run(self, context: LaunchRunContext) -> None:
        """In a thread of its own: a backfill launches from within an event loop, and a run has loops of its own."""
        with ThreadPoolExecutor(1) as thread:
            thread.submit(super().launch_run, context).result()


@dataclass
class DagsterHere:
    """The instance, and everything that a person or the daemon does with it."""

    bench: Bench
    instance: dg.DagsterInstance
    workspace: WorkspaceProcessContext
    automated: Automated

    def repair(self, start: datetime, end: datetime) -> int:
        """The job `repair` as the web UI launches it, and its backfills to their end; returns the hours of these."""
        job = self.automated.repository.get_job(REPAIR_JOB)
        config = {"start": start.isoformat(), "end": end.isoformat()}
        result = job.execute_in_process(
            run_config={"ops": {"plan_and_launch": {"config": config}}}, instance=self.instance
        )
        assert result.success
        return self._finish_backfills()

    def materialized(self, symbol: str) -> set[datetime]:
        """Hours that the UI shows."""
        return materialized_partitions(self.instance, UM_MINUTE.layout, symbol)

    def take_archives_again(self, symbol: str, stream: str, job: str, first: str, last: str) -> None:
        """Materialize a range of days of an archive stream again."""
        tags = {RANGE_START: first, RANGE_END: last}
        self.automated.run(dg.RunRequest(job_name=job, asset_selection=[vision_key(symbol, stream)], tags=tags))

    def rebuild(self, symbol_key: dg.AssetKey, tags: dict[str, str]) -> None:
        """Materialize a range of hours."""
        self.automated.run(dg.RunRequest(asset_selection=[symbol_key], tags=tags))

    def _finish_backfills(self) -> int:
        """What the daemon does, until no backfill is open."""
        hours = 0
        for backfill in self._open():
            assert backfill.asset_backfill_data is not None
            hours += backfill.asset_backfill_data.target_subset.num_partitions_and_non_partitioned_assets
        for _ in range(1000):
            if not self._open():
                return hours
            problems = [found for found in execute_backfill_iteration(self.workspace, _LOGGER) if found]
            assert not problems, problems
        raise AssertionError("a backfill does not end")

    def _open(self) -> list[Any]:
        ended = {BulkActionStatus.COMPLETED_SUCCESS, BulkActionStatus.COMPLETED_FAILED}
        return [found for found in self.instance.get_backfills() if found.status not in ended]


@contextmanager
def dagster_on(bench: Bench, home: Path) -> Iterator[DagsterHere]:
    """A new instance for a bench; its runs happen where and when they are launched."""
    home.mkdir(parents=True)
    configuration = {
        "telemetry": {"enabled": False},
        "event_log_storage": {
            "module": "lake_resources.event_log",
            "class": "PooledSqliteEventLogStorage",
            "config": {"home": str(home)},
        },
        "run_launcher": {"module": __name__, "class": RunLauncherHere.__name__},
        "run_coordinator": {"module": "dagster._core.run_coordinator", "class": "DefaultRunCoordinator"},
    }
    (home / "dagster.yaml").write_text(yaml.safe_dump(configuration))
    location.BENCHES.append(bench)
    origin = InProcessCodeLocationOrigin(
        LoadableTargetOrigin(module_name=location.__name__, attribute="definitions", executable_path=sys.executable)
    )
    try:
        with (
            dg.DagsterInstance.from_config(str(home)) as instance,
            WorkspaceProcessContext(instance, InProcessTestWorkspaceLoadTarget(origin)) as workspace,
        ):
            repository = location.definitions().get_repository_def()
            yield DagsterHere(bench, instance, workspace, Automated(bench, instance, repository))
    finally:
        location.BENCHES.remove(bench)
