"""What all sensors share: whether they run from the start, looking at one symbol after the other.

Belongs here: these for the sensors. Does not belong here: any sensor, any decision (`automation`).
"""

from __future__ import annotations

import dagster as dg

from lake_assets.automation.each_symbol import look_at_each
from lake_resources.settings import LakeSettings

__all__ = ["default_status", "look_at_each"]


def default_status(settings: LakeSettings) -> dg.DefaultSensorStatus:
    """Whether a sensor runs from the start."""
    return dg.DefaultSensorStatus.RUNNING if settings.automation else dg.DefaultSensorStatus.STOPPED
