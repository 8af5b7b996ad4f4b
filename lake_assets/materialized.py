"""What Dagster shows as materialized, as starts of partitions.

Belongs here: asking an instance for the partitions of a table. Does not belong here: comparing them with the
disk (`audit`), recording events (`checks`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import dagster as dg

from lake_assets.dagster_names import cold_day_hours, partition_start
from lake_assets.metadata import cold_days_key, table_key
from lake_resources.layout import TableLayout


def materialized_partitions(instance: dg.DagsterInstance, layout: TableLayout, symbol: str) -> set[datetime]:
    """Starts of the partitions of a symbol's table that Dagster shows as materialized."""
    keys: Sequence[str] = list(instance.get_materialized_partitions(table_key(layout, symbol)))
    return {partition_start(layout, key) for key in keys} | cold_hours(instance, layout, symbol)


def cold_hours(instance: dg.DagsterInstance, layout: TableLayout, symbol: str) -> set[datetime]:
    """Hours of those of these days that Dagster shows by the day."""
    if layout.span != "hour":
        return set()
    days: Sequence[str] = list(instance.get_materialized_partitions(cold_days_key(layout, symbol)))
    return {hour for day in days for hour in cold_day_hours(day)}
