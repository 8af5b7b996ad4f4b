"""Whether a run still has a worker: what the launcher of a cluster says of it, with a real Redis and no worker."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg
import pytest

from lake_resources.celery_launcher import MISSES, WatchedCeleryRunLauncher
from lake_resources.dagster_private import WorkerStatus
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


@pytest.mark.parametrize(("state", "status"), [("SUCCESS", WorkerStatus.SUCCESS), ("FAILURE", WorkerStatus.FAILED)])
def test_a_task_that_ended_is_told_as_that(
    launcher: WatchedCeleryRunLauncher, state: str, status: WorkerStatus
) -> None:
    ended = 0 if state == "SUCCESS" else {"exc_type": "OSError", "exc_message": ["gone"], "exc_module": "builtins"}
    launcher.celery.backend.client.set(
        launcher.celery.backend.get_key_for_task(TASK),
        launcher.celery.backend.encode(
            {"status": state, "result": ended, "traceback": None, "children": [], "task_id": TASK,
             "date_done": datetime.now(UTC).isoformat()}
        ),
    )  # fmt: skip
    assert launcher.check_run_worker_health(run()).status == status
    launcher.celery.backend.client.delete(launcher.celery.backend.get_key_for_task(TASK))


def test_while_redis_is_away_nothing_is_known_and_no_run_is_given_up(
    server: RedisServer, launcher: WatchedCeleryRunLauncher
) -> None:
    server.kill()
    try:
        for _ in range(MISSES + 1):
            assert launcher.check_run_worker_health(run()).status == WorkerStatus.RUNNING
    finally:
        server.start()
