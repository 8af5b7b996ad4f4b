"""The watchdog and the webhook: on Dagster's real storage, with a real receiver, without daemon or webserver."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from dagster._core.storage.tags import GRPC_INFO_TAG, WILL_RETRY_TAG
from dagster._daemon.types import DaemonHeartbeat
from typer.testing import CliRunner

from lake_assets.at_rest import store_of
from lake_assets.automation.health import judge
from lake_assets.automation.platform import Facts, HoleFacts
from lake_assets.cli.main import app
from lake_assets.dagster_names import ALERT_SENSOR, AUTOMATION_TAG, MACRO_JOB, PROMOTE_SENSOR
from lake_assets.live.row_files import LiveRows
from lake_assets.local_stack.before_start import give_up_dead_runs
from lake_assets.transforms.live.live_rows import LIVE_ROWS
from lake_assets.watchdog.heartbeat import run, write
from lake_assets.watchdog.last_words import heartbeat_path, last_heartbeat, report_path
from lake_assets.watchdog.look import find_facts
from lake_resources.clock import HOUR
from lake_resources.dagster_history import open_history
from lake_resources.known_hole import KnownHole
from lake_resources.messages.alerts import Alert, Delivery, deliver
from lake_resources.messages.outbox import open_outbox
from lake_resources.settings import LakeSettings
from lake_resources.storage.ledger import engine as ledger_engine
from lake_resources.storage.ledger.ledger import Ledger
from lake_resources.storage.root import claim_root
from lake_tests.support.automated_lake import automated
from lake_tests.support.receiver import Receiver, receiver
from lake_tests.support.simulated_lake import DAY, Bench, bench_on
from lake_tests.support.stores import store_at
from lake_tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

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
    chosen = {"collector": False, "symbols": ("BTCUSDT",), "heartbeat_s": 5} | given
    return LakeSettings(root=tmp_path / "lake", **chosen)  # type: ignore[arg-type]


def seen(chosen: LakeSettings, ledger: Ledger, now: datetime, **given: Any) -> Facts:
    """The facts, with what lies in Dagster's storage."""
    with open_history(Path(os.environ["DAGSTER_HOME"])) as history:
        return find_facts(chosen, history, ledger, now, **given)


def beat(instance: dg.DagsterInstance, at: datetime) -> None:
    instance.add_daemon_heartbeat(DaemonHeartbeat(at.timestamp(), "SENSOR", "x", None))


@contextmanager
def watching(chosen: LakeSettings, started: datetime = NOW) -> Iterator[list[str]]:
    """The watchdog at work; what it says. It ends when it is told to, not at its next look."""
    stop, lines, failed = threading.Event(), list[str](), list[BaseException]()

    def work() -> None:
        try:
            run(chosen, Path(os.environ["DAGSTER_HOME"]), stop=stop, say=lines.append, started=started)
        except BaseException as error:
            failed.append(error)
            raise

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield lines
    finally:
        stop.set()
        thread.join()
    assert failed == []


def test_an_alert_is_one_json_message(hook: Receiver) -> None:
    alert = Alert("run_failed", "a subject", "the story", NOW)
    assert deliver(hook.url, alert) == Delivery()
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
    assert "500" in deliver(hook.url, alert).trouble
    assert "did not answer" in deliver("http://127.0.0.1:9/", alert).trouble
    assert "did not answer" in deliver("not a url", alert).trouble
    assert deliver("", alert) == Delivery()


def test_a_dead_daemon_is_noticed_without_it(tmp_path: Path, home: Path) -> None:
    chosen = settings(tmp_path, automation=False)
    ledger = store_of(chosen).ledger
    with dg.DagsterInstance.get() as instance:
        assert judge(seen(chosen, ledger, NOW), NOW).status == "STOPPED"
        beat(instance, NOW - timedelta(seconds=20))
        assert judge(seen(chosen, ledger, NOW), NOW).well
        later = NOW + timedelta(minutes=3)
        health = judge(seen(chosen, ledger, later), later)
    ledger.close()
    assert health.status == "ERROR"
    assert "the daemon has been silent for 3 min" in health.problems[0]


def test_a_collector_that_never_came_up_is_noticed(tmp_path: Path, home: Path) -> None:
    chosen = settings(tmp_path, automation=False, collector=True)
    ledger = store_of(chosen).ledger
    with dg.DagsterInstance.get() as instance:
        beat(instance, NOW)
        health = judge(seen(chosen, ledger, NOW), NOW)
    ledger.close()
    assert [problem for problem in health.problems if "the collector is silent" in problem] == list(health.problems)


def live_rows(chosen: LakeSettings, symbol: str, **frames: int) -> None:
    """Live rows of the quarter of an hour before `NOW`: frames per minute and stream."""
    minutes = [NOW - timedelta(minutes=back) for back in range(15, 1, -1)]
    rows = pl.DataFrame({"timestamp": minutes}, schema={"timestamp": LIVE_ROWS["timestamp"]}).with_columns(
        pl.lit(frames.get(name, 0 if name.endswith("_frames") else None), dtype).alias(name)
        for name, dtype in LIVE_ROWS.items()
        if name != "timestamp"
    )
    LiveRows(store_at(chosen.lake_root).catalog).merge(symbol, rows.select(list(LIVE_ROWS)))


def test_a_silent_socket_and_a_symbol_without_rows_are_noticed_though_others_are_heard(
    tmp_path: Path, home: Path
) -> None:
    chosen = settings(tmp_path, automation=False, collector=True, symbols=("BTCUSDT", "ETHUSDT", "SOLUSDT"))
    live_rows(chosen, "BTCUSDT", depth_frames=590, mark_price_frames=60)
    live_rows(chosen, "ETHUSDT", depth_frames=590)
    ledger = store_of(chosen).ledger
    with dg.DagsterInstance.get() as instance:
        beat(instance, NOW)
        facts = seen(chosen, ledger, NOW)
    ledger.close()
    assert facts.collector.last_seen == NOW - timedelta(minutes=1)
    assert [problem.removesuffix(" for 10 min or longer") for problem in judge(facts, NOW).problems] == [
        "the collector hears nothing of ETHUSDT on the market socket",
        "the collector hears nothing of SOLUSDT on the market socket",
        "the collector hears nothing of SOLUSDT on the public socket",
    ]


@contextmanager
def locked(chosen: LakeSettings) -> Iterator[None]:
    """The ledger as another process keeps it, for all that come later."""
    ledger = store_of(chosen).ledger
    assert ledger.symbols() == []
    ledger.close()
    other = sqlite3.connect(chosen.lake_root / "ledger.sqlite", isolation_level=None, check_same_thread=False)
    other.execute("PRAGMA locking_mode=EXCLUSIVE").close()
    other.execute("BEGIN EXCLUSIVE").close()
    yield
    other.close()


def test_what_cannot_be_read_is_a_problem_and_hides_nothing_else(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_engine, "BUSY_TIMEOUT_MS", 50)
    chosen = settings(tmp_path, collector=True)
    live_rows(chosen, "BTCUSDT", depth_frames=590, mark_price_frames=60)
    torn = next(chosen.lake_root.rglob("*.parquet"))
    torn.write_bytes(torn.read_bytes()[:-40])
    ledger = store_of(chosen).ledger
    with dg.DagsterInstance.get() as instance:
        beat(instance, NOW - timedelta(minutes=4))
        with locked(chosen):
            facts = seen(chosen, ledger, NOW, started=NOW - timedelta(seconds=1))
            health = judge(facts, NOW)
        after = seen(chosen, ledger, NOW)
    ledger.close()
    assert health.status == "ERROR", "though it has just been started"
    assert "could not read the ledger: ledger sqlite" in health.problems[0]
    assert "could not read the live rows: " in health.problems[1]
    assert "the daemon has been silent for 4 min" in health.problems[2]
    assert list(after.unseen) == ["the live rows"]


def test_a_storage_of_dagster_that_is_damaged_is_no_stopped_platform(tmp_path: Path, home: Path) -> None:
    chosen = settings(tmp_path)
    ledger = store_of(chosen).ledger
    with dg.DagsterInstance.get() as instance:
        beat(instance, NOW)
        storage = next(home.rglob("runs.db"))
        for path in home.rglob("runs.db-*"):
            path.unlink()
        storage.write_bytes(b"no database" * 1000)
        health = judge(seen(chosen, ledger, NOW), NOW)
    ledger.close()
    assert health.status == "ERROR"
    assert "could not read Dagster's storage" in health.problems[0]
    assert "never ran" not in " ".join(health.problems)


def test_the_process_outlives_a_look_that_failed(
    tmp_path: Path, home: Path, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_engine, "BUSY_TIMEOUT_MS", 50)
    chosen = settings(tmp_path, automation=False, webhook_url=hook.url)
    with dg.DagsterInstance.get() as instance:
        beat(instance, datetime.now(UTC))
    with ExitStack() as lock:
        lock.enter_context(locked(chosen))
        with watching(chosen) as lines:
            wait_until(lambda: hook.bodies)
            assert json.loads(heartbeat_path(chosen).read_text())["status"] == "ERROR"
            with dg.DagsterInstance.get() as instance:
                beat(instance, datetime.now(UTC) + HOUR)  # whenever a busy machine comes to look
            lock.close()
            wait_until(lambda: len(hook.bodies) == 2)
            assert json.loads(heartbeat_path(chosen).read_text())["status"] == "HEALTHY"
    assert [body["kind"] for body in hook.bodies] == ["unhealthy", "healthy_again"]
    assert "could not read the ledger" in hook.bodies[0]["detail"]
    assert any("could not read the ledger" in line for line in lines)


def test_a_heartbeat_that_cannot_be_written_is_told(tmp_path: Path, home: Path, hook: Receiver) -> None:
    chosen = settings(tmp_path, automation=False, webhook_url=hook.url)
    chosen.lake_root.mkdir()
    (chosen.lake_root / "logs").write_text("in the way")
    with watching(chosen):
        wait_until(lambda: hook.bodies)
    assert "the heartbeat could not be written" in hook.bodies[0]["detail"]


def test_hours_that_are_not_there_are_noticed_until_they_are_declared(sim, tmp_path: Path, home: Path) -> None:
    with bench_on(sim, tmp_path, collector=False) as bench, dg.DagsterInstance.get():
        start = DAY - timedelta(days=12)
        bench.build([start, start + HOUR, DAY - 2 * HOUR])
        bench.fault("missing_minutes", "/klines", start=DAY, end=DAY + timedelta(minutes=1))
        bench.build([DAY])
        bench.build([DAY + index * HOUR for index in range(9, 15)])
        holes = seen(bench.settings, bench.lake.ledger, bench.now).holes["BTCUSDT"]
        assert (holes.missing, holes.oldest_missing) == (12 * 24 + 9 - 4, start + 2 * HOUR)
        assert (holes.quarantined, holes.oldest_quarantined) == (1, DAY)
        assert holes.watermark == start + 2 * HOUR - timedelta(minutes=1)
        assert not holes.watermark_explained

        gone = KnownHole("klines_1m", "BTCUSDT", start + 2 * HOUR, DAY + 9 * HOUR, "outage", "here")
        bench.lake.ledger.declare_hole(gone)
        declared = seen(bench.settings, bench.lake.ledger, bench.now)
    assert declared.holes["BTCUSDT"] == HoleFacts(
        explained=12 * 24 + 9 - 3, watermark=holes.watermark, watermark_explained=True
    )
    assert not [problem for problem in judge(declared, bench.now).problems if problem.startswith("BTCUSDT: ")]


def test_a_failed_hot_run_is_noticed(tmp_path: Path, home: Path) -> None:
    chosen = settings(tmp_path, automation=False)
    ledger = store_of(chosen).ledger

    @dg.job(name="hot")
    def hot() -> None:
        pass

    with dg.DagsterInstance.get() as instance:
        beat(instance, NOW)
        failed = instance.create_run_for_job(hot, tags={AUTOMATION_TAG: "hot"})
        instance.report_run_failed(failed)
        health = judge(seen(chosen, ledger, NOW), NOW)
    ledger.close()
    assert "the last run of the hot band failed" in health.problems[0]


def test_runs_that_died_with_the_platform_are_given_up_at_its_next_start(home: Path) -> None:
    (home / "dagster.yaml").write_text(
        "telemetry: {enabled: false}\n"
        "run_retries: {enabled: true, max_retries: 2, retry_on_asset_or_op_failure: false}\n"
    )

    @dg.job(name="minute_hours")
    def minute_hours() -> None:
        pass

    def run_of(instance: dg.DagsterInstance, status: dg.DagsterRunStatus, **tags: str) -> str:
        named = {name.replace("__", "/"): value for name, value in tags.items()}
        return instance.create_run_for_job(minute_hours, status=status, tags=named).run_id

    started, queued = dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.NOT_STARTED
    with dg.DagsterInstance.get() as instance:
        sensors = [run_of(instance, started, lake__automation=kind) for kind in ("hot", "heal", "promote")]
        backfill = run_of(instance, started, **{GRPC_INFO_TAG: "{}"})
        stopping = run_of(instance, dg.DagsterRunStatus.CANCELING, **{GRPC_INFO_TAG: "{}"})
        waiting = run_of(instance, queued, lake__automation="hot")
        elsewhere = run_of(instance, started)
        given_up = give_up_dead_runs(instance)
        assert give_up_dead_runs(instance) == []
        runs = {run.run_id: run for run in instance.get_runs()}
    assert sorted(given_up) == sorted([*sensors, backfill, stopping])
    assert {runs[run_id].status for run_id in (*sensors, stopping)} == {dg.DagsterRunStatus.CANCELED}
    assert runs[backfill].status == dg.DagsterRunStatus.FAILURE
    assert runs[backfill].tags[WILL_RETRY_TAG] == "true"
    assert (runs[waiting].status, runs[elsewhere].status) == (queued, started)


def test_the_process_writes_both_files_tells_the_webhook_and_says_goodbye(
    tmp_path: Path, home: Path, hook: Receiver
) -> None:
    chosen = settings(tmp_path, webhook_url=hook.url)
    with watching(chosen):
        wait_until(lambda: hook.bodies)
        found = json.loads(heartbeat_path(chosen).read_text())
    assert found["status"] == "STOPPED"
    assert [body["kind"] for body in hook.bodies] == ["unhealthy"]
    assert "start it with `make up`" in hook.bodies[0]["detail"]
    assert "the platform was stopped" in json.loads(heartbeat_path(chosen).read_text())["problems"]
    assert report_path(chosen).read_text().startswith("# Health: STOPPED")


def test_a_watchdog_that_was_killed_is_spoken_for(tmp_path: Path, home: Path) -> None:
    chosen = settings(tmp_path)
    assert last_heartbeat(chosen, started=NOW, now=NOW + timedelta(seconds=9)), "it never wrote one"
    found = json.loads(heartbeat_path(chosen).read_text())
    assert (found["status"], found["ts_utc"]) == ("STOPPED", "2026-11-18T15:30:09Z")
    assert not last_heartbeat(chosen, started=NOW, now=NOW + timedelta(seconds=10)), "one goodbye is enough"
    later = NOW + timedelta(days=1)
    ledger = store_of(chosen).ledger
    facts = seen(chosen, ledger, later)
    ledger.close()
    write(chosen, replace(facts, raw_count_today=3), judge(facts, later))
    assert last_heartbeat(chosen, started=later, now=later + timedelta(minutes=1))
    found = json.loads(heartbeat_path(chosen).read_text())
    assert (found["problems"], found["files"]["raw_count_today"]) == (["the platform was stopped"], 3)
    assert report_path(chosen).read_text().startswith("# Health: STOPPED")


def test_the_newest_macro_run_and_rows_of_today_are_seen(tmp_path: Path, home: Path) -> None:
    chosen = settings(tmp_path, automation=False, macro_tickers=("SPY",), spot_symbols=())
    job = dg.GraphDefinition(name=MACRO_JOB, node_defs=[]).to_job()
    ledger = store_of(chosen).ledger
    with dg.DagsterInstance.get() as instance:
        instance.report_run_failed(instance.create_run_for_job(job))
        facts = seen(chosen, ledger, NOW)
    ledger.close()
    assert facts.macro is not None
    assert (facts.macro.rows_written, facts.macro.rows_today, facts.second_rows_today) == (None, 0, None)
    assert any("the last run of macro minutes failed: run" in problem for problem in judge(facts, NOW).problems)


def test_lake_health_has_an_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKE_ROOT", str(tmp_path / "lake"))
    monkeypatch.setenv("LAKE_AUTOMATION", "false")
    monkeypatch.setenv("LAKE_COLLECTOR", "false")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "lake" / "dagster_home"))
    claim_root(tmp_path / "lake", "simulator")
    sick = CliRunner().invoke(app, ["health"])
    assert sick.exit_code == 1
    assert "STOPPED" in sick.output
    (tmp_path / "lake" / "dagster_home").mkdir()  # a look makes no place for Dagster
    with dg.DagsterInstance.get() as instance:
        beat(instance, datetime.now(UTC))
    well = CliRunner().invoke(app, ["health", "--json"])
    assert well.exit_code == 0
    assert json.loads(well.output)["status"] == "HEALTHY"


@pytest.mark.parametrize("down", [False, True])
def test_a_failed_run_and_a_late_archive_reach_the_webhook(sim, tmp_path: Path, hook: Receiver, down: bool) -> None:
    hook.status = 503 if down else 200
    with bench_on(sim, tmp_path, webhook_url=hook.url) as bench:
        _fail_and_be_late(bench)
        assert bool(hook.bodies) != down
        hook.status = 200
        outbox = open_outbox(bench.settings)
        outbox.deliver()
        outbox.close()
    kinds = [body["kind"] for body in hook.bodies]
    assert kinds[0] == "run_failed"
    assert "minute_hours failed (hot, 2026-11-18-14:00 to 2026-11-18-15:00)" in hook.bodies[0]["subject"]
    assert set(kinds[1:]) == {"archive_late"}
    assert any("klines_1m of BTCUSDT for 2026-11-18 is late" in body["subject"] for body in hook.bodies)
    assert len({body["subject"] for body in hook.bodies}) == len(hook.bodies), "each once"


def _fail_and_be_late(bench: Bench) -> None:
    with dg.DagsterInstance.ephemeral() as instance, automated(bench, instance) as lake:
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
