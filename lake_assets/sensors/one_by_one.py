"""What all sensors share: whether they run from the start, looking at one symbol after the other.

Belongs here: these for the sensors. Does not belong here: any sensor, any decision (`automation`).
"""

from __future__ import annotations

from collections.abc import Callable

import dagster as dg

from lake_assets.automation.each_symbol import look_at_each
from lake_resources.settings import LakeSettings

__all__ = ["default_status", "look_at_each", "warning_of"]


def default_status(settings: LakeSettings) -> dg.DefaultSensorStatus:
    """Whether a sensor runs from the start."""
    return dg.DefaultSensorStatus.RUNNING if settings.automation else dg.DefaultSensorStatus.STOPPED


def warning_of(context: dg.SensorEvaluationContext) -> Callable[[str], None]:
    """What logs a warning of a tick; the log, which is a file of its own, is begun with the first of them."""

    def warn(text: str) -> None:
        context.log.warning(text)

    return warn
