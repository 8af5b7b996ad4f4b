"""Which sensors and schedules the code location declares, and how often each ticks, told without Dagster.

Belongs here: names, intervals and cron lines as the settings make them. Does not belong here: the sensors and schedules
themselves (`sensors`, `schedules`), which a test holds against this list.
"""

from __future__ import annotations

from dataclasses import dataclass

from lake_assets.automation.timetable import cron_of, timed
from lake_assets.dagster_names import (
    ALERT_SENSOR,
    FOLLOW_SENSOR,
    HEAL_SENSOR,
    HOT_SENSOR,
    PROMOTE_SENSOR,
    sensor_name,
    slice_sensor,
)
from lake_assets.tables.declared import TABLES
from lake_assets.tables.offered import is_offered
from lake_resources.settings import LakeSettings

FOLLOWERS_EVERY_S = 120
"""Seconds between two looks at what follows from commits: nobody waits for it, and a look takes CPU."""
SLICES_EVERY_S = 60
"""Seconds between two looks for raw klines that are due."""
_DEFAULT_S = 30
"""Seconds between two ticks of a sensor that names no interval."""


@dataclass(frozen=True)
class DeclaredSensor:
    """A sensor: its name, seconds between two ticks, and whether it runs from the start."""

    name: str
    interval_s: float
    wanted: bool


@dataclass(frozen=True)
class DeclaredSchedule:
    """A schedule: its name, its cron line in UTC, and whether it runs from the start."""

    name: str
    cron: str
    wanted: bool


def declared_sensors(settings: LakeSettings) -> list[DeclaredSensor]:
    """All sensors of the code location, in its order."""
    layouts = [table.layout for table in TABLES.values() if is_offered(table, settings)]
    every = {
        HOT_SENSOR: settings.hot_interval_s,
        HEAL_SENSOR: settings.heal_interval_s,
        PROMOTE_SENSOR: settings.promote_interval_s,
    }
    wanted = settings.automation
    intervals = settings.slice_intervals if settings.slice_symbols else ()
    return [
        *(
            DeclaredSensor(sensor_name(kind, layout), seconds, wanted)
            for kind, seconds in every.items()
            for layout in layouts
        ),
        DeclaredSensor(ALERT_SENSOR, _DEFAULT_S, wanted and bool(settings.webhook_url)),
        *(DeclaredSensor(slice_sensor(interval), SLICES_EVERY_S, wanted) for interval in intervals),
        DeclaredSensor(FOLLOW_SENSOR, FOLLOWERS_EVERY_S, wanted),
    ]


def declared_schedules(settings: LakeSettings) -> list[DeclaredSchedule]:
    """All schedules of the code location, in its order."""
    return [DeclaredSchedule(each.name, cron_of(each, settings), settings.automation) for each in timed(settings)]
