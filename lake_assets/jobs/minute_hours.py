"""The job of the minute tables' hours, which the sensors launch.

Belongs here: its name and what it selects. Does not belong here: when it runs (`sensors`), the asset (`assets.minute`).
"""

from __future__ import annotations

from lake_assets.dagster_names import table_job
from lake_assets.jobs.asset_job import AssetJob, asset_job
from lake_assets.metadata import minute_key
from lake_assets.tables.um_minute import UM_MINUTE
from lake_resources.settings import LakeSettings

MINUTE_JOB = table_job(UM_MINUTE.layout)


def build_minute_job(settings: LakeSettings) -> AssetJob:
    """The job over the minute tables of all symbols."""
    return asset_job(
        MINUTE_JOB,
        [minute_key(symbol) for symbol in settings.symbols],
        "Hours of the minute tables: the hot band, holes, and days whose archives appeared.",
    )
