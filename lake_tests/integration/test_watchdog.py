"""The watchdog and the webhook: on Dagster's real storage, with a real receiver, without daemon or webserver."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._daemon.types import DaemonHeartbeat
from typer.testing import CliRunner

from lake_assets.automation.health import judge
from lake_assets.cli import app
from lake_assets.console.heartbeat import find_facts, give_up_dead_runs, heartbeat_path, report_path, run
from lake_assets.ingest.lake import claim_root
from lake_assets.jobs import AUTOMATION_TAG
from lake_assets.promotion_sensor import PROMOTE_SENSOR
from lake_assets.sensors import ALERT_SENSOR
from lake_resources.alerts import Alert, send
from lake_resources.settings import LakeSettings
from lake_resources.storage.ledger import Ledger
from lake_tests.automated_lake import automated
from lake_tests.receiver import Receiver, receiver
from lake_tests.simulated_lake import DAY, HOUR, Bench, bench_on

NOW = datetime(2026, 11, 18, 15, 30, tzinfo=UTC)


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiver() as found:
        yield found


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "dagster"
    path.mkdir()
    (path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    monkeypatch.setenv("DAGSTER_HOME", str(path))
    return path


def settings(tmp_path: Path, **given: object) -> LakeSettings:
    return LakeSettings(root=tmp_path / "lake", symbols=("BTCUSDT",), heartbeat_s=5, **given)  # type: ignore[arg-type]


def beat(instance: dg.DagsterInstance, at: datetime) -> None:
    instance.add_daemon_heartbeat(DaemonHeartbeat(at.timestamp(), "SENSOR", "x", None))


def test_an_alert_is_one_json_message(hook: Receiver) -> None:
    alert = Alert("run_failed", "a subject", "the story", NOW)
    assert send(hook.url, alert) == ""
    assert hook.bodies == [
        {
            "kind": "run_failed",
            "subject": "a subject",
            "detail": "the story",
            "ts_utc": "2026-11-18T15:30:00Z",
            "text": "minute-lake: a subject\nthe story",
        }
    ]


def test_a_receiver_that_is_down_stops_nothing(hook: Receiver) -> None:
    alert = Alert("run_failed", "a subject", "the story", NOW)
    hook.status = 500
    assert "500" in send(hook.url, alert)
    assert "did not answer" in send("http://127.0.0.1:9/", alert)
    assert "did not answer" in send("not a url", alert)
    assert send("", alert) == ""


def test_a_dead_daemon_is_noticed_without_it(tmp_path: Path, home: Path) -> None:
    chosen = settings(tmp_path, automation=False)
    ledger = Ledger(chosen.resolved_ledger_url)
    with dg.DagsterInstance.get() as instance:
        assert judge(find_facts(chosen, instance, ledger, NOW), NOW).status == "STOPPED"
        beat(instance, NOW - timedelta(seconds=20))
        assert judge(find_facts(chosen, instance, ledger, NOW), NOW).well
        later = NOW + timedelta(minutes=3)
        health = judge(find_facts(chosen, instance, ledger, later), later)
    ledger.close()
    assert health.status == "ERROR"
    assert "the daemon has been silent for 3 min" in health.problems[0]


def test_a_failed_hot_run_is_noticed(tmp_path: Path, home: Path) -> None:
    chosen = settings(tmp_path, automation=False)
    ledger = Ledger(chosen.resolved_ledger_url)

    @dg.job(name="hot")
    def hot() -> None:
        pass

    with dg.DagsterInstance.get() as instance:
        beat(instance, NOW)
        failed = instance.create_run_for_job(hot, tags={AUTOMATION_TAG: "hot"})
        instance.report_run_failed(failed)
        health = judge(find_facts(chosen, instance, ledger, NOW), NOW)
    ledger.close()
    assert "the last run of the hot band failed" in health.problems[0]


def test_runs_that_died_with_the_platform_are_given_up_at_its_next_start(home: Path) -> None:
    @dg.job(name="minute_hours")
    def minute_hours() -> None:
        pass

    started, queued = dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.NOT_STARTED
    with dg.DagsterInstance.get() as instance:
        dead = [
            instance.create_run_for_job(minute_hours, status=started, tags={AUTOMATION_TAG: kind}).run_id
            for kind in ("hot", "heal")
        ]
        waiting = instance.create_run_for_job(minute_hours, status=queued, tags={AUTOMATION_TAG: "hot"}).run_id
        by_hand = instance.create_run_for_job(minute_hours, status=started).run_id
        assert give_up_dead_runs(instance, datetime.now(UTC) - HOUR) == [], "they began after it"
        assert give_up_dead_runs(instance, datetime.now(UTC) + timedelta(seconds=1)) == dead
        statuses = {run.run_id: run.status for run in instance.get_runs()}
    assert {statuses[run_id] for run_id in dead} == {dg.DagsterRunStatus.CANCELED}
    assert (statuses[waiting], statuses[by_hand]) == (queued, started)


def test_the_process_writes_both_files_tells_the_webhook_and_says_goodbye(
    tmp_path: Path, home: Path, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lake_assets.automation.health.STARTING_FOR", timedelta(0))
    chosen = settings(tmp_path, webhook_url=hook.url)
    stop, lines = threading.Event(), list[str]()
    thread = threading.Thread(target=lambda: run(chosen, stop=stop, say=lines.append))
    thread.start()
    deadline = time.monotonic() + 20
    while not hook.bodies and time.monotonic() < deadline:
        time.sleep(0.05)
    found = json.loads(heartbeat_path(chosen).read_text())
    begun = time.monotonic()
    stop.set()
    thread.join()
    assert time.monotonic() - begun < 10
    assert found["status"] == "STOPPED"
    assert [body["kind"] for body in hook.bodies] == ["unhealthy"]
    assert "start it with `make up`" in hook.bodies[0]["detail"]
    assert "the platform was stopped" in json.loads(heartbeat_path(chosen).read_text())["problems"]
    assert report_path(chosen).read_text().startswith("# Health: STOPPED")


def test_lake_health_has_an_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKE_ROOT", str(tmp_path / "lake"))
    monkeypatch.setenv("LAKE_AUTOMATION", "false")
    monkeypatch.setenv("DAGSTER_HOME", "")
    claim_root(tmp_path / "lake", "simulator")
    sick = CliRunner().invoke(app, ["health"])
    assert sick.exit_code == 1
    assert "STOPPED" in sick.output
    with dg.DagsterInstance.get() as instance:
        beat(instance, datetime.now(UTC))
    well = CliRunner().invoke(app, ["health", "--json"])
    assert well.exit_code == 0
    assert json.loads(well.output)["status"] == "HEALTHY"


def test_a_failed_run_and_a_late_archive_reach_the_webhook(exchange_here, tmp_path: Path, hook: Receiver) -> None:
    with bench_on(exchange_here, tmp_path, webhook_url=hook.url) as bench:
        _fail_and_be_late(bench)
    kinds = [body["kind"] for body in hook.bodies]
    assert kinds[0] == "run_failed"
    assert "minute_hours failed (hot, 2026-11-18-14:00 to 2026-11-18-15:00)" in hook.bodies[0]["subject"]
    assert set(kinds[1:]) == {"archive_late"}
    assert any("klines_1m of BTCUSDT for 2026-11-18 is late" in body["subject"] for body in hook.bodies)


def _fail_and_be_late(bench: Bench) -> None:
    instance = dg.DagsterInstance.ephemeral()
    with automated(bench, instance) as lake:
        bench.build([DAY + 3 * HOUR])
        bench.fault("5xx", "/fapi/")
        request = next(iter(lake.tick("hot_band", DAY + 15.5 * HOUR).run_requests or ()))
        run_id = lake.run(request, fails=True)
        failed = instance.get_run_by_id(run_id)
        assert failed is not None
        event = next(
            record.event_log_entry.dagster_event
            for record in instance.get_records_for_run(run_id).records
            if record.event_log_entry.dagster_event and record.event_log_entry.dagster_event.is_run_failure
        )
        context = dg.build_run_status_sensor_context(ALERT_SENSOR, event, instance, failed).for_run_failure()
        lake.repository.get_sensor_def(ALERT_SENSOR)(context)
        bench.sim.faults.clear()
        bench.fault("missing", "2026-11-18")
        lake.tick(PROMOTE_SENSOR, DAY + 58 * HOUR)
    instance.dispose()
