"""Sensors and schedules as Dagster's storage knows them, beside what the code location declares.

Belongs here: finding these facts. Does not belong here: what of them is a problem (`automation.health`). Storage alone
would not do: a sensor that the daemon never took up leaves no trace there.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TypeVar

from lake_assets.automation.declared_ticks import (
    DeclaredSchedule,
    DeclaredSensor,
    declared_schedules,
    declared_sensors,
)
from lake_assets.automation.platform import ScheduleFacts, SensorFacts
from lake_assets.automation.timetable import due_last
from lake_resources.dagster_history import SCHEDULE, SENSOR, DagsterHistory, InstigatorState
from lake_resources.settings import LakeSettings

_Declared = TypeVar("_Declared", DeclaredSensor, DeclaredSchedule)


def find_sensors(
    settings: LakeSettings, history: DagsterHistory, states: Iterable[InstigatorState]
) -> list[SensorFacts]:
    """All sensors that are meant to run, or that someone switched on."""
    return [
        SensorFacts(
            declared.name,
            running=state is None or state.running,
            interval_s=(state.interval_s if state is not None else None) or declared.interval_s,
            last_tick=state.last_tick if state is not None else None,
            error=_error(history, state),
            since=state.since if state is not None else None,
        )
        for declared, state in _paired(declared_sensors(settings), states, SENSOR)
    ]


def find_schedules(
    settings: LakeSettings, history: DagsterHistory, states: Iterable[InstigatorState], now: datetime
) -> list[ScheduleFacts]:
    """All schedules that are meant to run, or that someone switched on."""
    found = []
    for declared, state in _paired(declared_schedules(settings), states, SCHEDULE):
        tick = history.newest_tick(state) if state is not None else None
        found.append(
            ScheduleFacts(
                declared.name,
                running=state is None or state.running,
                due=due_last(declared.cron, now),
                last_tick=tick.at if tick is not None else None,
                error=_error(history, state),
                since=state.since if state is not None else None,
            )
        )
    return found


def _paired(
    declared: Iterable[_Declared], states: Iterable[InstigatorState], kind: str
) -> list[tuple[_Declared, InstigatorState | None]]:
    """What was declared with its state, without what is meant to be off and is."""
    held = {state.name: state for state in states if state.kind == kind}
    pairs = [(each, held.get(each.name)) for each in declared]
    return [
        (each, state) for each, state in pairs if each.wanted or (state is not None and state.switched == "RUNNING")
    ]


def _error(history: DagsterHistory, state: InstigatorState | None) -> str | None:
    """Why the newest finished tick failed, if it did."""
    tick = history.newest_tick(state, finished=True) if state is not None else None
    if tick is None or tick.status != "FAILURE":
        return None
    return tick.error.strip()[:300] if tick.error else "see its tick in Dagster's UI"
