"""Each use of a private part of Dagster, pinned: where one of these fails, Dagster changed, not the lake.

Seen with 1.13.27. The storage class has a page of its own (`test_dagster_event_log`), and so have check rows and
partition mappings (`test_dagster_checks`).
"""

import ast
import inspect
import json
import multiprocessing
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._daemon import controller as controller_module
from dagster._daemon.controller import daemon_controller_from_instance
from dagster._daemon.daemon import BackfillDaemon
from dagster._daemon.types import DaemonHeartbeat
from dagster._grpc import client as grpc_client
from dagster._grpc.impl import start_run_in_subprocess
from dagster._grpc.server import DagsterApiServer
from dagster._grpc.types import ExecuteExternalJobArgs
from dagster._utils.log import configure_loggers

from lake_assets.run_scope import scoped
from lake_resources import dagster_private
from lake_resources.clock import SECOND
from lake_resources.dagster_instance import open_instance
from lake_resources.settings import LakeSettings

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).resolve().parents[2]
CHANGED = "Dagster changed: adapt lake_resources/dagster_private.py"
KEY = dg.AssetKey(["um", "X", "minute"])
HOURS = dg.HourlyPartitionsDefinition("2026-01-01-00:00", timezone="UTC")
AT = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with dg.DagsterInstance.from_config(str(tmp_path)) as found:
        yield found


@dg.multi_asset(name="hours_of_x", specs=[dg.AssetSpec(KEY, partitions_def=HOURS, skippable=True)])
def hours() -> Iterator[Any]:
    yield from ()


@dg.op
def nothing() -> None:
    """Does nothing."""


@dg.job
def idle() -> None:
    """Does nothing."""
    nothing()


def private_imports(path: Path) -> list[str]:
    """Private modules of Dagster that a file imports, in whatever form."""
    found = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{each.name}" for each in node.names)]
        elif isinstance(node, ast.Import):
            names = [each.name for each in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names = [node.value]
        found += [name for name in names if name.startswith(("dagster._", "dagster_shared", "dagster_webserver."))]
    return found


@pytest.mark.parametrize("package", ["lake_assets", "lake_resources"])
def test_private_parts_of_dagster_are_used_in_one_module_alone(package: str) -> None:
    files = sorted((PROJECT / package).rglob("*.py"))
    users = {str(path.relative_to(PROJECT)) for path in files if private_imports(path)}
    wanted = {"lake_resources/dagster_private.py"} if package == "lake_resources" else set()
    assert users == wanted


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (dg.DagsterInstance.add_backfill, ["self", "partition_backfill"]),
        (dg.DagsterInstance.report_run_canceled, ["self", "dagster_run", "message"]),
        (dg.DagsterInstance.report_run_failed, ["self", "dagster_run", "message", "job_failure_data"]),
    ],
)
def test_what_is_called_takes_what_it_took(function: Callable[..., Any], parameters: list[str]) -> None:
    assert list(inspect.signature(function).parameters) == parameters, f"{CHANGED} ({function.__qualname__})"


def test_a_selection_of_assets_is_a_job_of_the_private_type() -> None:
    job = dg.define_asset_job("of_x", selection=dg.AssetSelection.assets(KEY))
    assert type(job) is dagster_private.UnresolvedAssetJobDefinition, CHANGED


def test_a_backfill_that_a_run_launches_is_one_that_the_daemon_will_take(instance: dg.DagsterInstance) -> None:
    graph = dg.Definitions([hours]).resolve_asset_graph()
    ranges = [("2026-01-01-00:00", "2026-01-01-02:00"), ("2026-01-01-05:00", "2026-01-01-05:00")]
    backfill_id = dagster_private.launch_backfill(
        instance, graph, KEY, ranges, at=AT, tags={"lake/repair": "X"}, texts=("repair X", "4 hours")
    )
    (found,) = dagster_private.unfinished_backfills(instance)
    assert (found.backfill_id, found.tags["lake/repair"], found.title) == (backfill_id, "X", "repair X"), CHANGED
    assert found.status.value == "REQUESTED", CHANGED
    (subset,) = found.get_asset_backfill_data(graph).target_subset.iterate_asset_subsets()
    assert sorted(subset.subset_value.get_partition_keys()) == [
        *(f"2026-01-01-0{hour}:00" for hour in range(3)), "2026-01-01-05:00",
    ], CHANGED  # fmt: skip


def test_a_run_that_nobody_executes_has_begun_and_ended(instance: dg.DagsterInstance) -> None:
    run = dg.DagsterRun(job_name="told", status=dg.DagsterRunStatus.SUCCESS)
    dagster_private.add_told_run(instance, run, AT)
    (record,) = instance.get_run_records(dg.RunsFilter(run_ids=[run.run_id]))
    assert record.dagster_run.status is dg.DagsterRunStatus.SUCCESS
    assert (record.start_time, record.end_time) == (AT.timestamp(), AT.timestamp()), CHANGED


def test_a_dead_run_is_failed_in_the_words_that_retries_look_for(instance: dg.DagsterInstance) -> None:
    run = instance.create_run_for_job(idle, status=dg.DagsterRunStatus.STARTED)
    dagster_private.fail_dead_run(instance, run, "its process ended")
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    assert found.status == dg.DagsterRunStatus.FAILURE, CHANGED
    assert found.tags["dagster/failure_reason"] == "UNEXPECTED_TERMINATION", CHANGED


def test_a_run_of_the_daemon_is_known_by_its_tag(instance: dg.DagsterInstance) -> None:
    by_hand = idle.execute_in_process(instance=instance)
    assert not dagster_private.launched_by_daemon(by_hand.dagster_run)
    launched = instance.create_run_for_job(idle, tags={".dagster/grpc_info": "{}"})
    assert dagster_private.launched_by_daemon(launched), CHANGED


class Told:
    """What the process of a run puts its messages into: it notes of which symbols definitions would be built there."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def put(self, _message: object) -> None:
        self._path.write_text(" ".join(scoped(LakeSettings(_env_file=None, symbols=("BTCUSDT", "ETHUSDT"))).symbols))


def test_the_process_of_a_run_knows_before_it_loads_definitions_which_symbols_the_run_is_about(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    assert dagster_private.run_of_process() is None
    run = instance.create_run_for_job(idle)
    about = run._replace(run_id="about-eth", asset_selection={dg.AssetKey(["um", "ETHUSDT", "minute"])})
    instance.add_run(about)
    location = GrpcServerCodeLocationOrigin(host="localhost", port=1, location_name="lake")
    origin = RemoteJobOrigin(RemoteRepositoryOrigin(location, "__repository__"), "idle")
    asked = dg.serialize_value(
        ExecuteExternalJobArgs(job_origin=origin, run_id=about.run_id, instance_ref=instance.get_ref())
    )
    spawn = multiprocessing.get_context("spawn")
    noted, ended = tmp_path / "noted", spawn.Event()
    # As a code server starts it; it ends by itself, for there is no job to execute.
    process = spawn.Process(target=start_run_in_subprocess, args=[asked, None, Told(noted), ended])
    process.start()
    process.join()
    assert noted.read_text() == "ETHUSDT", CHANGED
    server = inspect.getsource(DagsterApiServer)
    assert 'get_context("spawn")' in server, CHANGED
    assert "target=start_run_in_subprocess" in server, CHANGED


def test_a_deleted_run_leaves_a_file_that_must_be_deleted_too(instance: dg.DagsterInstance) -> None:
    run_id = idle.execute_in_process(instance=instance).run_id
    file = Path(instance.event_log_storage.path_for_shard(run_id))  # type: ignore[attr-defined]
    assert file.is_file(), CHANGED
    instance.delete_run(run_id)
    assert file.is_file(), "Dagster changed: it deletes the file itself; drop delete_run_file"
    dagster_private.delete_run_file(instance, run_id)
    assert not list(file.parent.glob(f"{run_id}*"))


def test_the_web_ui_is_an_application_that_takes_what_it_took() -> None:
    # Its import is seconds of work, which only the worker that has this file need do.
    from dagster_webserver.app import create_app_from_workspace_process_context

    wanted = {
        WorkspaceProcessContext.__init__: ["instance", "workspace_load_target", "version", "code_server_log_level"],
        create_app_from_workspace_process_context: ["workspace_process_context", "live_data_poll_rate"],
        dg.DagsterInstance.optimize_for_webserver: ["statement_timeout", "pool_recycle", "max_overflow"],
        configure_loggers: ["formatter", "log_level"],
    }
    for function, names in wanted.items():
        assert set(names) <= set(inspect.signature(function).parameters), f"{CHANGED} ({function.__qualname__})"
    assert WorkspaceFileTarget(paths=["workspace.yaml"]).paths == ["workspace.yaml"], CHANGED


def test_an_instance_is_asked_through_one_engine_that_waits_as_long_as_before(tmp_path: Path) -> None:
    with open_instance(tmp_path, patience_s=0.2) as instance:
        dagster_private.keep_engines(instance)
        run = instance.create_run_for_job(idle)
        instance.add_daemon_heartbeat(DaemonHeartbeat(AT.timestamp(), "SENSOR", "id", []))
        for storage in (instance.run_storage, instance.schedule_storage):
            with storage.connect() as first, storage.connect() as second:  # type: ignore[union-attr]
                assert first.engine is second.engine, CHANGED
                assert first.exec_driver_sql("PRAGMA busy_timeout").scalar() == 200, CHANGED
    with dg.DagsterInstance.from_config(str(tmp_path)) as stock:
        assert stock.get_run_by_id(run.run_id) is not None, "what was written is durable"
        assert stock.get_daemon_heartbeats()["SENSOR"].timestamp == AT.timestamp()


def test_ticks_of_a_process_share_an_instance_unless_they_were_given_one(instance: dg.DagsterInstance) -> None:
    contexts = [dg.build_sensor_context(instance_ref=instance.get_ref()) for _ in range(2)]
    for context in contexts:
        dagster_private.keep_instance(context)
    assert contexts[0].instance is contexts[1].instance, CHANGED
    assert contexts[0].instance.get_runs_count() == 0
    given = dg.build_sensor_context(instance=instance)
    dagster_private.keep_instance(given)
    assert given.instance is instance
    contexts[0].instance.dispose()
    dagster_private._kept.clear()


def test_code_servers_are_kept_while_they_answer(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("code_servers: {wait_for_local_processes_on_shutdown: true}\n")
    (tmp_path / "nothing_in_it.py").write_text("import dagster as dg\n\ndefs = dg.Definitions()\n")
    workspace = tmp_path / "workspace.yaml"
    module = {"module_name": "nothing_in_it", "working_directory": str(tmp_path)}
    workspace.write_text(json.dumps({"load_from": [{"python_module": module}]}))
    began = time.time()
    now_s = [began - 200.0]

    def server(controller: Any) -> Any:
        (entry,) = controller._grpc_server_registry._active_entries.values()
        return entry.process.server_process

    target = WorkspaceFileTarget(paths=[str(workspace)])
    one = [BackfillDaemon(settings={"use_threads": False})]
    with (
        dg.DagsterInstance.from_config(str(home)) as instance,
        daemon_controller_from_instance(instance, target, gen_daemons=lambda _: one) as controller,
    ):
        dagster_private.keep_code_servers(controller, reload_after=130 * SECOND, now_s=lambda: now_s[0])
        first, loaded_at = server(controller), now_s[0]
        now_s[0] += 65
        assert controller.check_workspace_freshness(loaded_at) == loaded_at, CHANGED
        assert server(controller).pid == first.pid, "it answers, and is not replaced every minute"
        now_s[0] += 65
        assert controller.check_workspace_freshness(loaded_at) >= began, CHANGED
        second = server(controller)
        assert second.pid != first.pid, "however well one is, it is replaced after its time"
        assert dagster_private._locations_well(controller), CHANGED
        second.kill()
        second.wait()
        assert not dagster_private._locations_well(controller), CHANGED
    wanted = ["instance", "workspace_load_target", "code_server_log_level", "gen_daemons"]
    assert set(wanted) <= set(inspect.signature(daemon_controller_from_instance).parameters), CHANGED
    assert grpc_client.CLIENT_HEARTBEAT_INTERVAL > 0, CHANGED
    heard_every_s = dagster_private._SERVER_HEARD_EVERY_S
    assert 3 * heard_every_s < controller_module.DAEMON_GRPC_SERVER_HEARTBEAT_TTL
