"""Whether a run still has a worker: what the launcher of a cluster says of it, with a real Redis and no worker."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
import redis
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.utils import make_new_run_id

from lake_assets.dagster_names import AUTOMATION_TAG
from lake_assets.local_stack.before_start import give_up_dead_runs
from lake_resources.celery_launcher import MISSES, WatchedCeleryRunLauncher
from lake_resources.dagster_private import LaunchRunContext, WorkerStatus
from lake_tests.support.redis_server import RedisServer, redis_server

TASK = "0b1f7a3e-0000-4000-8000-000000000001"


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_server() as found:
        yield found


@pytest.fixture
def launcher(server: RedisServer) -> Iterator[WatchedCeleryRunLauncher]:
    made = WatchedCeleryRunLauncher(default_queue="dagster", broker=server.url, backend=server.url)
    yield made
    made.celery.close()


def run(task: str | None = TASK) -> dg.DagsterRun:
    return dg.DagsterRun(job_name="job", run_id="run", tags={} if task is None else {"dagster-celery/task_id": task})


def test_a_run_that_no_worker_knows_is_lost_at_the_second_question(launcher: WatchedCeleryRunLauncher) -> None:
    for asked in (run(), run(task=None)):
        said = [launcher.check_run_worker_health(asked).status for _ in range(MISSES)]
        assert said == [*[WorkerStatus.RUNNING] * (MISSES - 1), WorkerStatus.UNKNOWN]


@pytest.mark.parametrize(
    ("state", "said"),
    [
        # The run's end is on its way to Dagster's storage, or was lost with it: the second question tells.
        ("SUCCESS", [WorkerStatus.RUNNING, WorkerStatus.UNKNOWN]),
        ("FAILURE", [WorkerStatus.FAILED]),
    ],
)
def test_a_task_that_ended_before_its_run_is_no_worker_of_it(
    launcher: WatchedCeleryRunLauncher, state: str, said: list[WorkerStatus]
) -> None:
    ended = 0 if state == "SUCCESS" else {"exc_type": "OSError", "exc_message": ["gone"], "exc_module": "builtins"}
    launcher.celery.backend.client.set(
        launcher.celery.backend.get_key_for_task(TASK),
        launcher.celery.backend.encode(
            {"status": state, "result": ended, "traceback": None, "children": [], "task_id": TASK,
             "date_done": datetime.now(UTC).isoformat()}
        ),
    )  # fmt: skip
    assert [launcher.check_run_worker_health(run()).status for _ in said] == said
    launcher.celery.backend.client.delete(launcher.celery.backend.get_key_for_task(TASK))


@pytest.mark.parametrize(("per_location", "queue"), [(False, "dagster"), (True, "lake-3")])
def test_runs_of_a_shard_wait_in_a_queue_of_their_own_where_that_is_asked_for(
    server: RedisServer, tmp_path: Path, per_location: bool, queue: str
) -> None:
    with redis.Redis(port=server.port) as asked, dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        asked.flushall()
        made = WatchedCeleryRunLauncher(
            default_queue="dagster", broker=server.url, backend=server.url, queue_per_location=per_location
        )
        made.register_instance(instance)
        code = RepositoryPythonOrigin(sys.executable, ModuleCodePointer("lake_assets.shards", "shard_3_of_12"))
        place = RemoteRepositoryOrigin(GrpcServerCodeLocationOrigin("127.0.0.1", 1, location_name="lake-3"), "all")
        waiting = instance.add_run(
            dg.DagsterRun(
                job_name="job",
                run_id=make_new_run_id(),
                job_code_origin=JobPythonOrigin("job", code),
                remote_job_origin=RemoteJobOrigin(place, "job"),
            )
        )
        made.launch_run(LaunchRunContext(waiting, None))
        assert asked.llen(queue) == 1
        tags = instance.get_run_by_id(waiting.run_id).tags
        assert tags.get("dagster-celery/queue", "dagster") == queue
        assert "dagster-celery/task_id" in tags
        made.celery.close()


def test_while_redis_is_away_nothing_is_known_and_no_run_is_given_up(
    server: RedisServer, launcher: WatchedCeleryRunLauncher
) -> None:
    server.kill()
    try:
        for _ in range(MISSES + 1):
            assert launcher.check_run_worker_health(run()).status == WorkerStatus.RUNNING
    finally:
        server.start()


def test_runs_of_workers_live_on_when_the_platform_starts_again(tmp_path: Path) -> None:
    config = {"broker": "redis://127.0.0.1:1/0", "backend": "redis://127.0.0.1:1/0", "queue_per_location": True}
    launcher = {"module": "lake_resources.celery_launcher", "class": "WatchedCeleryRunLauncher", "config": config}
    (tmp_path / "alone").mkdir()
    (tmp_path / "workers").mkdir()
    given_up = {}
    for name, overrides in (("alone", {}), ("workers", {"run_launcher": launcher})):
        with dg.DagsterInstance.local_temp(str(tmp_path / name), overrides=overrides) as instance:
            instance.add_run(
                dg.DagsterRun(
                    job_name="job", run_id=name, status=dg.DagsterRunStatus.STARTED, tags={AUTOMATION_TAG: "hot"}
                )
            )
            given_up[name] = give_up_dead_runs(instance)
    assert given_up == {"alone": ["alone"], "workers": []}
