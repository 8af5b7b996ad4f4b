"""When an event tells that a run failed, the run has failed already: else Dagster's daemon may forget to try it again.

Seen with 1.13.27 on a busy machine: the daemon read the event between its row and the run's, and a backfill waited for
the retry for ever.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster import DagsterRunStatus
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster_postgres import PostgresEventLogStorage

from lake_tests.support.postgres import postgres_server

SHIPPED = Path(__file__).resolve().parents[2] / "dagster_home"
STORAGES = ("run_storage", "event_log_storage", "schedule_storage")


@pytest.fixture(params=["dagster", "cluster"])
def instance(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dg.DagsterInstance]:
    """An instance with the storages and the retries of a shipped dagster.yaml."""
    given: dict[str, Any] = yaml.safe_load((SHIPPED / f"{request.param}.yaml").read_text())
    overrides = {name: given[name] for name in (*STORAGES, "run_retries") if name in given}
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    if request.param == "dagster":
        with dg.DagsterInstance.local_temp(str(tmp_path), overrides=overrides) as found:
            yield found
        return
    with postgres_server() as server:
        monkeypatch.setenv("LAKE_DAGSTER_URL", server.url().replace("+psycopg", "+psycopg2"))
        with dg.DagsterInstance.local_temp(str(tmp_path), overrides=overrides) as found:
            yield found


def test_a_run_has_failed_and_will_be_retried_when_its_event_tells(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[DagsterRunStatus, str | None]] = []
    for base in (SqliteEventLogStorage, PostgresEventLogStorage):
        stored = base.store_event

        def look(self: Any, event: Any, stored: Any = stored) -> None:
            if event.is_dagster_event and event.get_dagster_event().is_run_failure:
                run = instance.get_run_by_id(event.run_id)
                assert run is not None
                seen.append((run.status, run.tags.get("dagster/will_retry")))
            stored(self, event)

        monkeypatch.setattr(base, "store_event", look)
    run = instance.add_run(dg.DagsterRun(job_name="job", run_id="run", status=DagsterRunStatus.STARTING))
    instance.report_run_failed(run, "its worker is lost")
    assert seen == [(DagsterRunStatus.FAILURE, "true")]
    after = instance.get_run_by_id("run")
    assert after is not None
    assert (after.status, after.tags["dagster/will_retry"]) == (DagsterRunStatus.FAILURE, "true")
