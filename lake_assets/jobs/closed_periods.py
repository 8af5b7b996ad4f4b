"""The job that makes one file of each closed day and month of the tables.

Belongs here: its name and what it selects. Does not belong here: when it runs (`schedules`), the asset
(`assets.compacted`).
"""

from __future__ import annotations

from lake_assets.assets.table_list import offered_tables, symbols_of
from lake_assets.dagster_names import COMPACTION_JOB
from lake_assets.jobs.asset_job import AssetJob, asset_job
from lake_assets.metadata import compacted_key
from lake_resources.settings import LakeSettings


def build_compaction_job(settings: LakeSettings) -> AssetJob:
    """The job over the compacted files of all tables and symbols."""
    return asset_job(
        COMPACTION_JOB,
        [
            compacted_key(symbol, shown.table.layout)
            for shown in offered_tables(settings)
            for symbol in symbols_of(shown.table, settings)
        ],
        "Closed days and months become one file each; with `remove: true` the hour files go.",
    )
