"""What is known of sensors and schedules: on Dagster's real storage, as the daemon leaves it there."""

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

from lake_assets.at_rest import store_of
from lake_assets.automation.health import judge
from lake_assets.automation.platform import Facts
from lake_assets.watchdog.look import find_facts
from lake_resources.dagster_history import open_history
from lake_resources.settings import LakeSettings

NOW = datetime(2026, 11, 18, 15, 30, tzinfo=UTC)
SENSORS = ("hot_band", "heal_holes", "promote_archives", "followers")
HOURLY = ("prune_hourly", "feed_1h_hourly", "api_parity_hourly")
DAILY = (
    "audit_daily",
    "feed_1h_look_back_daily",
)
ORIGIN = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("lake"), "__repository__")


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path), overrides={"telemetry": {"enabled": False}}) as found:
        found.add_daemon_heartbeat(DaemonHeartbeat(NOW.timestamp(), "SENSOR", "x", None))
        yield found


def ago(**span: float) -> datetime:
    return NOW - timedelta(**span)


def sensor(
    instance: dg.DagsterInstance,
    name: str,
    tick: datetime | None,
    status: InstigatorStatus = InstigatorStatus.DECLARED_IN_CODE,
) -> InstigatorState:
    data = SensorInstigatorData(
        last_tick_timestamp=tick.timestamp() if tick else None,
        min_interval=30,
        last_sensor_start_timestamp=ago(days=9).timestamp(),
    )
    origin = RemoteInstigatorOrigin(ORIGIN, name)
    return instance.add_instigator_state(InstigatorState(origin, InstigatorType.SENSOR, status, data))


def schedule(instance: dg.DagsterInstance, name: str, since: datetime = NOW - timedelta(days=9)) -> InstigatorState:
    data = ScheduleInstigatorData("* * * * *", since.timestamp())
    origin, status = RemoteInstigatorOrigin(ORIGIN, name), InstigatorStatus.DECLARED_IN_CODE
    return instance.add_instigator_state(InstigatorState(origin, InstigatorType.SCHEDULE, status, data))


def tick(
    instance: dg.DagsterInstance, state: InstigatorState, at: datetime, status: TickStatus = TickStatus.SUCCESS
) -> None:
    failed = SerializableErrorInfo("the ledger is locked\n", [], None) if status == TickStatus.FAILURE else None
    instance.create_tick(
        TickData(
            state.instigator_origin_id,
            state.instigator_name,
            state.instigator_type,
            status,
            at.timestamp(),
            run_ids=["x"] if status == TickStatus.SUCCESS else [],
            error=failed,
            selector_id=state.selector_id,
        )
    )


def all_well(instance: dg.DagsterInstance, *, but: str = "") -> None:
    """Everything ticked as it was due, but for one that is left to the test."""
    for name in SENSORS:
        if name != but:
            sensor(instance, name, ago(seconds=20))
    due = dict.fromkeys(HOURLY, NOW.replace(minute=25)) | dict.fromkeys(DAILY, NOW.replace(hour=11, minute=5))
    for name, at in due.items():
        if name != but:
            tick(instance, schedule(instance, name), at)


def found(instance: dg.DagsterInstance, root: Path, **given: object) -> Facts:
    settings = LakeSettings(root=root, symbols=("BTCUSDT",), collector=False, **given)  # type: ignore[arg-type]
    ledger = store_of(settings).ledger
    with open_history(Path(instance.root_directory)) as history:
        facts = find_facts(settings, history, ledger, NOW)
    ledger.close()
    return facts


def problems(instance: dg.DagsterInstance, root: Path, **given: object) -> list[str]:
    named = judge(found(instance, root, **given), NOW).problems
    return [problem for problem in named if problem != "BTCUSDT has no minute yet"]


def test_all_that_the_code_declares_is_looked_for(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    facts = found(instance, tmp_path)
    assert tuple(each.name for each in facts.sensors) == SENSORS
    assert {each.name for each in facts.schedules} == {*HOURLY, *DAILY}
    assert len(problems(instance, tmp_path)) == len(SENSORS) + len(HOURLY) + len(DAILY)
    hooked = found(instance, tmp_path, webhook_url="http://127.0.0.1:9/")
    assert "alert_failures" in {each.name for each in hooked.sensors}


def test_nothing_is_said_where_everything_ticks(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    all_well(instance)
    sensor(instance, "removed_from_the_code", ago(days=5))
    sensor(instance, "alert_failures", None, InstigatorStatus.STOPPED)
    assert problems(instance, tmp_path) == []


def test_a_sensor_that_never_ticked_is_named(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    all_well(instance, but="heal_holes")
    assert problems(instance, tmp_path) == ["sensor heal_holes has never ticked: read daemon.log"]
    sensor(instance, "heal_holes", None)
    assert problems(instance, tmp_path) == ["sensor heal_holes has never ticked: read daemon.log"]


def test_a_daily_schedule_that_missed_its_time_is_named(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    all_well(instance, but="audit_daily")
    assert problems(instance, tmp_path) == ["schedule audit_daily was never taken up by the daemon: read daemon.log"]
    audit = schedule(instance, "audit_daily")
    missed = "schedule audit_daily has not ticked: it was due at 2026-11-18T09:40:00Z"
    assert problems(instance, tmp_path) == [missed]
    tick(instance, audit, NOW.replace(day=17, hour=9, minute=40))
    assert problems(instance, tmp_path) == [missed]
    tick(instance, audit, NOW.replace(hour=9, minute=40), TickStatus.FAILURE)
    assert problems(instance, tmp_path) == ["the last tick of schedule audit_daily failed: the ledger is locked"]


def test_a_schedule_that_was_switched_on_after_its_time_is_not_late(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    all_well(instance, but="audit_daily")
    schedule(instance, "audit_daily", since=ago(hours=5))
    assert problems(instance, tmp_path) == []


def test_a_failed_tick_of_a_sensor_is_named_until_the_next_is_over(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    all_well(instance, but="hot_band")
    hot = sensor(instance, "hot_band", ago(seconds=20))
    tick(instance, hot, ago(seconds=50), TickStatus.FAILURE)
    tick(instance, hot, ago(seconds=20), TickStatus.STARTED)
    assert problems(instance, tmp_path) == ["the last tick of sensor hot_band failed: the ledger is locked"]
    tick(instance, hot, ago(seconds=10), TickStatus.SKIPPED)
    assert problems(instance, tmp_path) == []


def test_the_patience_with_the_watchdog_follows_its_setting(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    assert found(instance, tmp_path, heartbeat_s=600).beat_every == timedelta(minutes=10)
