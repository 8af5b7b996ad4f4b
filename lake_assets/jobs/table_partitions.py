"""The jobs of the tables' partitions, which the sensors launch: one per table, for assets of one job have the same.

Belongs here: their names and what they select. Does not belong here: when they run (`sensors`), the assets
(`assets.table_list`).
"""

from __future__ import annotations

from lake_assets.assets.table_list import TABLE_ASSETS
from lake_assets.dagster_names import table_job
from lake_assets.jobs.asset_job import AssetJob, asset_job
from lake_assets.metadata import table_key
from lake_assets.tables.um_minute import UM_MINUTE
from lake_resources.settings import LakeSettings

MINUTE_JOB = table_job(UM_MINUTE.layout)


def build_table_jobs(settings: LakeSettings) -> list[AssetJob]:
    """A job per table, over all symbols."""
    return [
        asset_job(
            table_job(layout),
            [table_key(layout, symbol) for symbol in settings.symbols],
            f"{layout.span.capitalize()}s of the {layout.title}s: hot band, holes, days whose archives appeared.",
        )
        for layout in (shown.table.layout for shown in TABLE_ASSETS)
    ]
