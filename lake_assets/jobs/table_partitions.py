"""The jobs of the tables' partitions, which the sensors launch: one per table, for assets of one job have the same.

Belongs here: their names and what they select. Does not belong here: when they run (`sensors`), the assets
(`assets.table_list`).
"""

from __future__ import annotations

import dagster as dg

from lake_assets.assets.parity_check import parity_check_keys
from lake_assets.assets.table_list import offered_tables, symbols_of
from lake_assets.automation.timetable import parity_text
from lake_assets.dagster_names import parity_job, table_job
from lake_assets.jobs.asset_job import AssetJob, asset_job, check_job
from lake_assets.metadata import table_key
from lake_resources.settings import LakeSettings


def build_table_jobs(settings: LakeSettings) -> list[AssetJob]:
    """A job per table, over all symbols."""
    return [
        asset_job(
            table_job(table.layout),
            [table_key(table.layout, symbol) for symbol in symbols_of(table, settings)],
            f"{table.layout.span.capitalize()}s of the {table.layout.title}s: hot band, holes, days whose archives "
            "appeared.",
            # Without the checks that ask the exchange once more, which the hot band has no time for.
            checks=[
                dg.AssetCheckKey(table_key(shown.table.layout, symbol), name)
                for symbol in symbols_of(shown.table, settings)
                for name in table.checks
            ],
        )
        for shown, table in ((shown, shown.table) for shown in offered_tables(settings))
    ]


def build_parity_jobs(settings: LakeSettings) -> list[AssetJob]:
    """The jobs of the schedules that compare stored partitions with the exchange, one per table."""
    return [
        check_job(
            parity_job(table.layout),
            [key for symbol in symbols_of(table, settings) for key in parity_check_keys(table, symbol)],
            parity_text(table.layout),
        )
        for table in (shown.table for shown in offered_tables(settings))
    ]
