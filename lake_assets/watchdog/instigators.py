"""Sensors and schedules as Dagster's storage knows them, beside what the code location declares.

Belongs here: finding these facts. Does not belong here: what of them is a problem (`automation.health`). Storage alone
would not do: a sensor that the daemon never took up leaves no trace there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

import dagster as dg

from lake_assets.automation.platform import ScheduleFacts, SensorFacts
from lake_resources.dagster_private import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    ScheduleInstigatorData,
    SensorInstigatorData,
    TickStatus,
    get_latest_completed_cron_tick,
)
from lake_resources.settings import LakeSettings

_FINISHED = [TickStatus.SUCCESS, TickStatus.SKIPPED, TickStatus.FAILURE]


@dataclass(frozen=True)
class _Declared:
    """A sensor (with its interval) or a schedule (with its cron line); `wanted`: it runs from the start."""

    name: str
    wanted: bool
    interval_s: float = 0.0
    cron: str = ""


def find_sensors(
    settings: LakeSettings, instance: dg.DagsterInstance, states: Iterable[InstigatorState], now: datetime
) -> list[SensorFacts]:
    """All sensors that are meant to run, or that someone switched on."""
    found = []
    for declared, state in _paired(_declared(settings)[0], states, InstigatorType.SENSOR):
        data = state.instigator_data if state is not None else None
        if not isinstance(data, SensorInstigatorData):
            data = SensorInstigatorData()
        last = max(data.last_tick_timestamp or 0.0, data.last_tick_start_timestamp or 0.0)
        found.append(
            SensorFacts(
                declared.name,
                running=state is None or state.is_running,
                interval_s=data.min_interval or declared.interval_s,
                last_tick=_instant(last, now),
                error=_error(instance, state),
                since=_instant(data.last_sensor_start_timestamp, now),
            )
        )
    return found


def find_schedules(
    settings: LakeSettings, instance: dg.DagsterInstance, states: Iterable[InstigatorState], now: datetime
) -> list[ScheduleFacts]:
    """All schedules that are meant to run, or that someone switched on."""
    found = []
    for declared, state in _paired(_declared(settings)[1], states, InstigatorType.SCHEDULE):
        data = state.instigator_data if state is not None else None
        ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1) if state is not None else []
        start = data.start_timestamp if isinstance(data, ScheduleInstigatorData) else None
        found.append(
            ScheduleFacts(
                declared.name,
                running=state is None or state.is_running,
                due=get_latest_completed_cron_tick(declared.cron, now, "UTC"),
                # A schedule's tick bears the instant that it was due at.
                last_tick=_instant(ticks[0].timestamp, now) if ticks else None,
                error=_error(instance, state),
                since=_instant(start, now),
            )
        )
    return found


@lru_cache(maxsize=1)
def _declared(settings: LakeSettings) -> tuple[tuple[_Declared, ...], tuple[_Declared, ...]]:
    """Sensors and schedules of the code location."""
    # Half a second that only who looks at health should wait for, not every command.
    from lake_assets.jobs.job_list import build_jobs
    from lake_assets.schedules import build_schedules
    from lake_assets.sensors.sensor_list import build_sensors

    sensors = build_sensors(settings, build_jobs(settings))
    schedules = build_schedules(settings)
    return (
        tuple(
            _Declared(
                sensor.name,
                sensor.default_status == dg.DefaultSensorStatus.RUNNING,
                interval_s=float(sensor.minimum_interval_seconds or 30),
            )
            for sensor in sensors
        ),
        tuple(
            _Declared(
                schedule.name,
                schedule.default_status == dg.DefaultScheduleStatus.RUNNING,
                cron=str(schedule.cron_schedule),
            )
            for schedule in schedules
        ),
    )


def _paired(
    declared: Iterable[_Declared], states: Iterable[InstigatorState], kind: InstigatorType
) -> list[tuple[_Declared, InstigatorState | None]]:
    """What was declared with its state, without what is meant to be off and is."""
    held = {state.instigator_name: state for state in states if state.instigator_type == kind}
    pairs = [(each, held.get(each.name)) for each in declared]
    return [
        (each, state)
        for each, state in pairs
        if each.wanted or (state is not None and state.status == InstigatorStatus.RUNNING)
    ]


def _error(instance: dg.DagsterInstance, state: InstigatorState | None) -> str | None:
    """Why the newest finished tick failed, if it did."""
    if state is None:
        return None
    ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1, statuses=_FINISHED)
    if not ticks or ticks[0].status != TickStatus.FAILURE:
        return None
    error = ticks[0].error
    return error.message.strip()[:300] if error else "see its tick in Dagster's UI"


def _instant(epoch_s: float | None, now: datetime) -> datetime | None:
    return datetime.fromtimestamp(epoch_s, tz=now.tzinfo) if epoch_s else None
