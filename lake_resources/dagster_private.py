"""Every use of a part of Dagster that is not its public API, each with why there is no other way.

Belongs here: private names of Dagster, behind names and types of ours. Does not belong here: anything that its public
API can say; any rule of the lake. lake_tests/contract/test_dagster_private.py pins each use and fails with "Dagster
changed"; a test keeps such imports out of every other module.
"""

# isort: off
# Each group is told by the comment above it, and sorting would take them apart.

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import sqlalchemy as sa
from starlette.types import ASGIApp

from lake_resources.errors import StorageError

# The type that `dg.define_asset_job` returns has no public name, and strict typing needs one.
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

# A check row of a partition counts as current only with the materialization that it judges: lake_assets/checks.py.
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationTargetMaterializationData

# A run has no public call that launches a backfill; these are what the webserver's mutation uses.
from dagster._core.definitions.assets.graph.base_asset_graph import BaseAssetGraph
from dagster._core.definitions.selector import PartitionRangeSelector, PartitionsByAssetSelector, PartitionsSelector
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus, PartitionBackfill
from dagster._core.utils import make_new_backfill_id

# What a run records without being executed: rows of a lost history, told from the ledger.
from dagster._core.events import DagsterEvent, DagsterEventType, StepMaterializationData
from dagster._core.storage.runs.schema import RunsTable

# A run that died is failed in the words that Dagster's retries look for; the tag tells that a daemon launched it.
from dagster._core.events import JobFailureData, RunFailureReason
from dagster._core.storage.tags import GRPC_INFO_TAG

# Whether a failed run is tried again is told before its failure is: lake_resources/failures_known_first.py.
from dagster._core.events.log import EventLogEntry
from dagster._core.execution.retries import auto_reexecution_should_retry_run
from dagster._core.storage.tags import WILL_RETRY_TAG

# Where an instance is, as a code server tells the process of a run: lake_assets/run_scope.py.
from dagster._core.instance import InstanceRef

# What a launcher says of a run's process has no public name: lake_resources/celery_launcher.py.
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, WorkerStatus

# A storage class has no public base and no public type of its configuration: lake_resources/event_log.py.
from dagster._config.config_schema import UserConfigSchema
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME, SqliteEventLogStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS

# Dagster opens a connection per question with the driver's time-out, which only the address can change:
# lake_resources/dagster_instance.py.
from dagster._core.storage.runs.sql_run_storage import SqlRunStorage
from dagster._core.storage.runs.sqlite import SqliteRunStorage
from dagster._core.storage.schedules.sql_schedule_storage import SqlScheduleStorage
from dagster._core.storage.schedules.sqlite.sqlite_schedule_storage import SqliteScheduleStorage
from dagster._serdes import ConfigurableClassData

# isort: on

__all__ = [
    "INDEX_SHARD_NAME",
    "SQLITE_BUSY_TIMEOUT_SECONDS",
    "AssetCheckEvaluationTargetMaterializationData",
    "CheckRunHealthResult",
    "ConfigurableClassData",
    "EventLogEntry",
    "InstanceRef",
    "LaunchRunContext",
    "SqliteEventLogStorage",
    "UnresolvedAssetJobDefinition",
    "UserConfigSchema",
    "WorkerStatus",
    "add_told_run",
    "delete_run_file",
    "fail_dead_run",
    "keep_code_servers",
    "keep_engines",
    "keep_instance",
    "know_failure",
    "launch_backfill",
    "launched_by_daemon",
    "open_web_ui",
    "record_checks",
    "record_materialization",
    "run_daemon",
    "run_of_process",
    "storage_connections",
    "unfinished_backfills",
    "wait_for_locks",
]

Connect = Callable[[], AbstractContextManager[sa.Connection]]
_kept: list[tuple[InstanceRef, dg.DagsterInstance]] = []
"""The instance that sensors of this process ask."""
_KEEPING = threading.Lock()
_SERVER_HEARD_EVERY_S = 5
"""Between two signs of life to a code server, which ends by itself when it hears none for 20 s (or 45)."""
_LOOKED_AT_EVERY_S = 60.0
"""Between two looks whether code servers are well; Dagster replaces them all that often."""


def launch_backfill(
    instance: dg.DagsterInstance,
    graph: BaseAssetGraph[Any],
    key: dg.AssetKey,
    ranges: Iterable[tuple[str, str]],
    *,
    at: datetime,
    tags: Mapping[str, str],
    texts: tuple[str, str | None],
) -> str:
    """Launch a backfill of one asset, as the web UI does; the daemon takes it up within half a minute.

    Args:
        instance: the Dagster instance.
        graph: holds the asset.
        key: of the asset.
        ranges: first and last partition key of each range, both inclusive.
        at: the moment of launching, UTC.
        tags: carried by the backfill and by each of its runs.
        texts: title and description in the UI.

    Returns:
        Its id.
    """
    selector = PartitionsByAssetSelector(
        asset_key=key,
        partitions=PartitionsSelector(ranges=[PartitionRangeSelector(start=a, end=b) for a, b in ranges]),
    )
    backfill_id: str = make_new_backfill_id()
    backfill = PartitionBackfill.from_partitions_by_assets(
        backfill_id=backfill_id,
        asset_graph=graph,
        backfill_timestamp=at.timestamp(),
        tags=dict(tags),
        dynamic_partitions_store=instance,
        partitions_by_assets=[selector],
        title=texts[0],
        description=texts[1],
        run_config=None,
    )
    instance.add_backfill(backfill)
    return backfill_id


def unfinished_backfills(instance: dg.DagsterInstance) -> Sequence[PartitionBackfill]:
    """Backfills that were asked for or are being canceled, with `backfill_id` and `tags`."""
    statuses = [BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING]
    return instance.get_backfills(filters=BulkActionsFilter(statuses=statuses))


def launched_by_daemon(run: dg.DagsterRun) -> bool:
    """Whether a daemon launched the run in a process of its code server's, not somebody in a process of his own."""
    return GRPC_INFO_TAG in run.tags


def run_of_process() -> tuple[str, InstanceRef] | None:
    """The run for which a code server spawned this process, and its instance; None in any other process.

    Definitions are loaded before Dagster says which run they are for; the arguments of the process have it.
    """
    process = multiprocessing.current_process()
    target = getattr(process, "_target", None)
    if getattr(target, "__name__", "") != "start_run_in_subprocess":
        return None
    # Loaded already where it is asked for: an import at the top would be one more for every command.
    from dagster._grpc.types import ExecuteExternalJobArgs

    asked = dg.deserialize_value(vars(process)["_args"][0], ExecuteExternalJobArgs)
    return None if asked.instance_ref is None else (asked.run_id, asked.instance_ref)


def fail_dead_run(instance: dg.DagsterInstance, run: dg.DagsterRun, why: str) -> None:
    """Report a run as failed whose process ended by itself, so that Dagster's retries of runs take it up."""
    reason = JobFailureData(error=None, failure_reason=RunFailureReason.UNEXPECTED_TERMINATION)
    instance.report_run_failed(run, message=why, job_failure_data=reason)


def know_failure(instance: dg.DagsterInstance, told: EventLogEntry) -> None:
    """Where an event tells that a run failed: note of the run whether it will be tried again, and that it failed.

    Dagster itself notes both after it stored the event. A daemon that reads the event in between finds a run that has
    not failed, is done with the event, and never tries the run again; a backfill then waits for that for ever.
    """
    event = told.dagster_event
    if event is None or not event.is_run_failure:
        return
    run = instance.get_run_by_id(told.run_id)
    if run is None or run.is_finished:
        return
    if instance.run_retries_enabled:
        data = event.event_specific_data
        reason = data.failure_reason if isinstance(data, JobFailureData) else None
        again = auto_reexecution_should_retry_run(instance, run.with_status(dg.DagsterRunStatus.FAILURE), reason)
        instance.add_run_tags(run.run_id, {WILL_RETRY_TAG: str(again).lower()})
    instance.run_storage.handle_run_event(run.run_id, event, datetime.fromtimestamp(told.timestamp, UTC))


def add_told_run(instance: dg.DagsterInstance, run: dg.DagsterRun, at: datetime) -> None:
    """Add a finished run that nobody executes, begun and ended at one moment.

    Dagster takes both times from events of an execution; without them the web UI shows such a run as starting for ever.

    Args:
        instance: the Dagster instance.
        run: a new one.
        at: when it is told, UTC.
    """
    instance.add_run(run)
    storage = instance.run_storage
    if isinstance(storage, SqlRunStorage):
        times = {"start_time": at.timestamp(), "end_time": at.timestamp()}
        with storage.connect() as connection:
            connection.execute(sa.update(RunsTable).where(RunsTable.c.run_id == run.run_id).values(times))


def record_materialization(instance: dg.DagsterInstance, run: dg.DagsterRun, event: dg.AssetMaterialization) -> None:
    """Record a materialization as an event of a run that nobody executes."""
    _record(instance, run, DagsterEventType.ASSET_MATERIALIZATION, StepMaterializationData(event))


def record_checks(
    instance: dg.DagsterInstance,
    run: dg.DagsterRun,
    checks: Sequence[dg.AssetCheckEvaluation],
) -> None:
    """Record check rows of partitions as events of a run that nobody executes.

    They were never planned, which would be a further event of the same size for each: nothing waits for them.

    Args:
        instance: the Dagster instance.
        run: one that is in the instance, and had no row of these checks and partitions before.
        checks: each with its partition and the materialization that it judges.
    """
    for check in checks:
        _record(instance, run, DagsterEventType.ASSET_CHECK_EVALUATION, check)


def _record(instance: dg.DagsterInstance, run: dg.DagsterRun, kind: DagsterEventType, data: Any) -> None:
    event = DagsterEvent(event_type_value=kind.value, job_name=run.job_name, event_specific_data=data)
    instance.report_dagster_event(event, run_id=run.run_id)


def delete_run_file(instance: dg.DagsterInstance, run_id: str) -> None:
    """Delete the file that held a deleted run's events, where the storage is SQLite: Dagster leaves it behind."""
    shard = getattr(instance.event_log_storage, "path_for_shard", None)
    if shard is not None:
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                Path(f"{shard(run_id)}{suffix}").unlink()


def wait_for_locks(instance: dg.DagsterInstance, seconds: float) -> None:
    """Let the questions to an instance's runs, sensors and schedules wait so long while another process locks them."""
    for storage in (instance.run_storage, instance.schedule_storage):
        if isinstance(storage, SqliteRunStorage | SqliteScheduleStorage):
            storage._conn_string = f"{storage._conn_string}?timeout={seconds:g}"  # noqa: SLF001


def keep_engines(instance: dg.DagsterInstance) -> None:
    """Let this process ask an instance's runs, sensors and schedules through one engine each, where they are SQLite.

    Dagster makes a new one for each question and compiles each statement anew, and closing the last connection of a
    file checkpoints it: most of what a daemon without work takes. A pooled connection holds no lock.
    """
    for storage in (instance.run_storage, instance.schedule_storage):
        if isinstance(storage, SqliteRunStorage | SqliteScheduleStorage):
            engine = sa.create_engine(storage._conn_string, max_overflow=-1)  # noqa: SLF001
            storage.connect = engine.begin  # type: ignore[method-assign]


def keep_instance(context: dg.SensorEvaluationContext) -> None:
    """Let a tick use the instance that an earlier tick of this process opened.

    Dagster opens one for each tick, and asks three databases for their version: more work than most ticks have.
    """
    ref = context.instance_ref
    if ref is None or context._instance is not None:  # noqa: SLF001
        return
    with _KEEPING:
        if not _kept or _kept[0][0] != ref:
            instance = dg.DagsterInstance.from_ref(ref)
            keep_engines(instance)
            _kept[:] = [(ref, instance)]
        context._instance = _kept[0][1]  # noqa: SLF001


def storage_connections(instance: dg.DagsterInstance) -> tuple[Connect, Connect]:
    """What opens a connection to the tables of an instance's runs, and to those of its sensors and schedules.

    Raises:
        StorageError: its storage is no database of SQL.
    """
    runs, schedules = instance.run_storage, instance.schedule_storage
    if not isinstance(runs, SqlRunStorage) or not isinstance(schedules, SqlScheduleStorage):
        kinds = f"{type(runs).__name__}, {type(schedules).__name__}"
        raise StorageError(f"Dagster's storage ({kinds}) has no tables", remedy="Use SQLite, Postgres or MySQL")
    return runs.connect, schedules.connect


@contextmanager
def open_web_ui(instance: dg.DagsterInstance, workspace: Path) -> Iterator[ASGIApp]:
    """The web UI of an instance as an application that another may be put in front of.

    The command `dagster-webserver` has no place for one. The figures are those of its defaults.

    Args:
        instance: whose history is shown; it is tuned for a server.
        workspace: `workspace.yaml` of the code location.
    """
    # Half a second that only the webserver's process should wait for.
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import WorkspaceFileTarget
    from dagster._utils.log import configure_loggers
    from dagster_webserver.app import create_app_from_workspace_process_context
    from dagster_webserver.version import __version__

    configure_loggers(formatter="colored", log_level="INFO")
    _hear_servers_seldom()
    instance.optimize_for_webserver(statement_timeout=15_000, pool_recycle=3600, max_overflow=20)
    target = WorkspaceFileTarget(paths=[str(workspace)])
    with WorkspaceProcessContext(instance, target, version=__version__, code_server_log_level="info") as context:
        yield create_app_from_workspace_process_context(context, live_data_poll_rate=2000)


def run_daemon(instance: dg.DagsterInstance, workspace: Path, *, reload_after: timedelta) -> None:
    """Dagster's daemon until it is interrupted, with its code servers kept as long as they are well.

    The command `dagster-daemon run` starts a new code server every minute, which imports everything anew. Here one is
    replaced when it does not answer or did not load, which is looked at every minute, and after a long time. The other
    figures are those of its defaults.

    Args:
        instance: whose sensors, schedules, queue and backfills are tended.
        workspace: `workspace.yaml` of the code locations.
        reload_after: code servers are replaced so often however well they are.
    """
    from dagster._core.workspace.load_target import WorkspaceFileTarget
    from dagster._daemon.controller import daemon_controller_from_instance
    from dagster._utils.interrupts import capture_interrupts, setup_interrupt_handlers

    setup_interrupt_handlers()
    _hear_servers_seldom()
    target = WorkspaceFileTarget(paths=[str(workspace)])
    with (
        suppress(KeyboardInterrupt),
        capture_interrupts(),
        daemon_controller_from_instance(instance, target, code_server_log_level="warning") as controller,
    ):
        keep_code_servers(controller, reload_after=reload_after)
        controller.check_daemon_loop()


def keep_code_servers(controller: Any, *, reload_after: timedelta, now_s: Callable[[], float] = time.time) -> None:
    """Let a controller of daemons reload its code locations only where one is not well, or after a long time.

    Args:
        controller: a `DagsterDaemonController`, which asks every five seconds whether it is time to reload.
        reload_after: locations are reloaded so often however well they are.
        now_s: epoch seconds.
    """
    reload, well_at = controller.check_workspace_freshness, now_s()

    def check(loaded_at: float) -> float:
        nonlocal well_at
        now = now_s()
        if now - well_at <= _LOOKED_AT_EVERY_S:
            return loaded_at
        if now - loaded_at < reload_after.total_seconds() and _locations_well(controller):
            well_at = now
            return loaded_at
        # Dagster gives up where reloading fails for five minutes, counted from what it is told.
        reloaded: float = reload(well_at)
        if reloaded == well_at:
            return loaded_at
        well_at = reloaded
        return reloaded

    controller.check_workspace_freshness = check


def _locations_well(controller: Any) -> bool:
    """Whether every code location is loaded, and its server answers."""
    from dagster._core.errors import DagsterUserCodeUnreachableError

    context = controller._workspace_process_context.create_request_context()  # noqa: SLF001
    for entry in context.get_code_location_entries().values():
        if entry.code_location is None:
            return False
        try:
            entry.code_location.client.ping("")
        except DagsterUserCodeUnreachableError:
            return False
    return True


def _hear_servers_seldom() -> None:
    """Each sign of life opens a channel of gRPC, and Dagster gives one every second."""
    from dagster._grpc import client

    client.CLIENT_HEARTBEAT_INTERVAL = _SERVER_HEARD_EVERY_S
