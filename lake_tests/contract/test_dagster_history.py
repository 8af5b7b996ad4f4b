"""What the lake reads of Dagster's tables is what Dagster itself reads of them: where this fails, Dagster changed.

Seen with 1.13.27. The tables are private to Dagster: `lake_resources/dagster_history.py` alone knows their names.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteInstigatorOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    ScheduleInstigatorData,
    SensorInstigatorData,
    TickData,
    TickStatus,
)
from dagster._daemon.types import DaemonHeartbeat
from dagster._utils.error import SerializableErrorInfo
from dagster._utils.schedules import get_latest_completed_cron_tick

from lake_assets.automation.declared_ticks import declared_schedules, declared_sensors
from lake_assets.automation.timetable import due_last
from lake_assets.jobs.job_list import build_jobs
from lake_assets.schedules import build_schedules
from lake_assets.sensors.followers import build_follow_sensor
from lake_assets.sensors.sensor_list import build_sensors
from lake_resources import dagster_history
from lake_resources.dagster_history import DagsterHistory, open_history
from lake_resources.dagster_private import storage_connections
from lake_resources.errors import StorageError
from lake_resources.settings import LakeSettings

CHANGED = "Dagster changed: adapt lake_resources/dagster_history.py"
AT = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
ORIGIN = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("lake"), "__repository__")


@dg.job
def days() -> None:
    """Does nothing."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dagster # 100%")
    (path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    return path


@pytest.fixture(scope="module")
def instance(home: Path) -> Iterator[dg.DagsterInstance]:
    """A sensor and a schedule with ticks, two daemons, and three runs."""
    with dg.DagsterInstance.from_config(str(home)) as made:
        for seconds, kind in ((0, "SENSOR"), (20, "SCHEDULER")):
            made.add_daemon_heartbeat(DaemonHeartbeat(AT.timestamp() + seconds, kind, "x", None))
        sensor = InstigatorState(
            RemoteInstigatorOrigin(ORIGIN, "hot"),
            InstigatorType.SENSOR,
            InstigatorStatus.RUNNING,
            SensorInstigatorData(
                last_tick_timestamp=AT.timestamp(),
                last_tick_start_timestamp=AT.timestamp() + 3,
                min_interval=45,
                last_sensor_start_timestamp=AT.timestamp() - 60,
            ),
        )
        schedule = InstigatorState(
            RemoteInstigatorOrigin(ORIGIN, "daily"),
            InstigatorType.SCHEDULE,
            InstigatorStatus.STOPPED,
            ScheduleInstigatorData("40 9 * * *", AT.timestamp() - 90),
        )
        for state in (sensor, schedule):
            made.add_instigator_state(state)
        for seconds, status in ((0, TickStatus.SUCCESS), (30, TickStatus.FAILURE), (60, TickStatus.STARTED)):
            error = SerializableErrorInfo("it is locked\n", [], None) if status == TickStatus.FAILURE else None
            made.create_tick(
                TickData(
                    sensor.instigator_origin_id,
                    sensor.instigator_name,
                    sensor.instigator_type,
                    status,
                    AT.timestamp() + seconds,
                    run_ids=[],
                    error=error,
                    selector_id=sensor.selector_id,
                )
            )
        days.execute_in_process(instance=made, tags={"lake/automation": "hot"})
        made.report_run_failed(made.create_run_for_job(days))
        made.create_run_for_job(days, tags={"lake/automation": "heal"}, status=dg.DagsterRunStatus.STARTED)
        yield made


@pytest.fixture
def history(instance: dg.DagsterInstance, home: Path) -> Iterator[DagsterHistory]:
    with open_history(home) as found:
        yield found


def test_the_newest_sign_of_life_of_a_daemon_is_read(history: DagsterHistory, instance: dg.DagsterInstance) -> None:
    newest = max(beat.timestamp for beat in instance.get_daemon_heartbeats().values())
    assert history.daemon_beat() == datetime.fromtimestamp(newest, UTC) == AT + timedelta(seconds=20), CHANGED


def test_sensors_and_schedules_are_read_as_the_daemon_left_them(history: DagsterHistory) -> None:
    found = {state.name: state for state in history.instigators()}
    hot, daily = found["hot"], found["daily"]
    assert (hot.kind, hot.switched, hot.running, hot.interval_s) == ("SENSOR", "RUNNING", True, 45), CHANGED
    assert (hot.last_tick, hot.since) == (AT + timedelta(seconds=3), AT - timedelta(seconds=60)), CHANGED
    assert (daily.kind, daily.switched, daily.running) == ("SCHEDULE", "STOPPED", False), CHANGED
    assert (daily.last_tick, daily.since) == (None, AT - timedelta(seconds=90)), CHANGED


def test_the_newest_tick_is_read_and_the_newest_that_is_over(history: DagsterHistory) -> None:
    found = {state.name: state for state in history.instigators()}
    newest, over = history.newest_tick(found["hot"]), history.newest_tick(found["hot"], finished=True)
    assert newest is not None
    assert over is not None
    assert (newest.status, newest.at) == ("STARTED", AT + timedelta(seconds=60)), CHANGED
    assert (over.status, over.error) == ("FAILURE", "it is locked\n"), CHANGED
    assert history.newest_tick(found["daily"]) is None


def test_the_newest_run_is_read_by_job_and_by_tag(history: DagsterHistory, instance: dg.DagsterInstance) -> None:
    hot, heal = (history.newest_run(tag=("lake/automation", kind)) for kind in ("hot", "heal"))
    (record,) = instance.get_run_records(dg.RunsFilter(tags={"lake/automation": "hot"}))
    assert hot is not None
    assert heal is not None
    assert (hot.run_id, hot.status) == (record.dagster_run.run_id, "SUCCESS"), CHANGED
    assert record.start_time is not None
    assert record.end_time is not None
    told = (datetime.fromtimestamp(record.start_time, UTC), datetime.fromtimestamp(record.end_time, UTC))
    assert (hot.start, hot.end) == told, CHANGED
    assert (heal.status, heal.end) == ("STARTED", None), CHANGED
    newest = history.newest_run(job="days")
    assert newest == heal, "whatever its tags"
    assert history.newest_run(job="never ran") is None


def test_another_database_is_asked_the_same_through_dagster(
    history: DagsterHistory, instance: dg.DagsterInstance
) -> None:
    other = DagsterHistory(*storage_connections(instance))
    assert other.instigators() == history.instigators() != []
    assert other.daemon_beat() == history.daemon_beat()
    assert other.newest_run(job="days") == history.newest_run(job="days")


def test_a_home_that_names_its_storage_is_opened_by_dagster(tmp_path: Path) -> None:
    storage = f"storage:\n  sqlite:\n    base_dir: {tmp_path / 'elsewhere'}\n"
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n" + storage)
    with dg.DagsterInstance.from_config(str(tmp_path)) as made:
        made.add_daemon_heartbeat(DaemonHeartbeat(AT.timestamp(), "SENSOR", "x", None))
    assert not (tmp_path / "history" / "runs.db").exists()
    with open_history(tmp_path) as found:
        assert found.daemon_beat() == AT


def test_a_home_without_a_history_has_nothing_to_say_and_stays_empty(tmp_path: Path) -> None:
    with open_history(tmp_path) as found:
        assert (found.daemon_beat(), found.instigators(), found.newest_run(job="days")) == (None, [], None)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "history").mkdir()
    (tmp_path / "history" / "runs.db").touch()
    with open_history(tmp_path) as found:
        assert found.daemon_beat() is None, "its tables are not made yet"


def test_a_damaged_row_is_an_error_of_ours() -> None:
    with pytest.raises(StorageError, match="no JSON"):
        dagster_history._told("{")


def test_due_instants_are_those_of_dagster(tmp_path: Path) -> None:
    told = {schedule.cron for schedule in declared_schedules(everything(tmp_path))}
    told |= {schedule.cron for schedule in declared_schedules(everything(tmp_path, testing={"enabled": True}))}
    assert len(told) > 8
    moments = [AT + timedelta(seconds=7_013 * step) for step in range(40)]
    moments += [AT.replace(hour=hour, minute=minute, second=0) for hour in (0, 9, 23) for minute in (0, 2, 40)]
    for cron in told:
        for now in moments:
            assert due_last(cron, now) == get_latest_completed_cron_tick(cron, now, "UTC"), (cron, now)
    with pytest.raises(ValueError, match="names days"):
        due_last("0 0 1 * *", AT)


def everything(root: Path, **given: object) -> LakeSettings:
    """Settings with each kind of table, slices, macro minutes and a webhook."""
    chosen: dict[str, object] = {
        "symbols": ("BTCUSDT",), "spot_symbols": ("BTCUSDT",), "slice_symbols": ("BTCUSDT",),
        "macro_tickers": ("ES=F",), "webhook_url": "http://127.0.0.1:9/", "hot_interval_s": 41,
    }  # fmt: skip
    return LakeSettings(_env_file=None, root=root, **(chosen | given))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"automation": False},
        {"webhook_url": ""},
        {"spot_symbols": (), "slice_symbols": (), "macro_tickers": ()},
        {"spot_kline_intervals": ("1m", "1h")},
        {"testing": {"enabled": True}},
    ],
)
def test_what_is_declared_without_dagster_is_what_dagster_is_given(tmp_path: Path, given: dict[str, object]) -> None:
    settings = everything(tmp_path, **given)
    sensors = [*build_sensors(settings, build_jobs(settings)), build_follow_sensor(settings, [])]
    assert {(each.name, each.interval_s, each.wanted) for each in declared_sensors(settings)} == {
        (each.name, each.minimum_interval_seconds or 30, each.default_status.value == "RUNNING") for each in sensors
    }
    assert {(each.name, each.cron, each.wanted) for each in declared_schedules(settings)} == {
        (each.name, each.cron_schedule, each.default_status.value == "RUNNING") for each in build_schedules(settings)
    }
