"""The sensor of what follows: it evaluates the automation conditions of the assets, and asks for what is due.

Belongs here: its interval, and which assets it is about. Does not belong here: any condition (`assets.following`).
"""

from __future__ import annotations

from collections.abc import Iterable

import dagster as dg

from lake_assets.automation.declared_ticks import FOLLOWERS_EVERY_S
from lake_assets.dagster_names import AUTOMATION_TAG, FOLLOW_SENSOR
from lake_assets.sensors.one_by_one import default_status
from lake_resources.settings import LakeSettings


def build_follow_sensor(
    settings: LakeSettings, assets: Iterable[dg.AssetsDefinition]
) -> dg.AutomationConditionSensorDefinition:
    """The one sensor over all assets of a code location that have a condition.

    Args:
        settings: whether it runs from the start.
        assets: of the code location.
    """
    keys = [key for asset in assets for key, spec in asset.specs_by_key.items() if spec.automation_condition]
    return dg.AutomationConditionSensorDefinition(
        name=FOLLOW_SENSOR,
        target=dg.AssetSelection.assets(*keys),
        minimum_interval_seconds=FOLLOWERS_EVERY_S,
        default_status=default_status(settings),
        run_tags={AUTOMATION_TAG: "follow"},
        description=(
            "Asks for compaction, reports and the research views once their time has come and something that they are "
            "made of was committed: the timetable says when and why."
        ),
    )
