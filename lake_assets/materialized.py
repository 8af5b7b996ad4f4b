"""What Dagster shows as materialized, as starts of partitions.

Belongs here: asking an instance for the partitions of a table. Does not belong here: comparing them with the
disk (`audit`), recording events (`checks`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import dagster as dg

from lake_assets.dagster_names import partition_start
from lake_assets.metadata import table_key
from lake_resources.layout import TableLayout


def materialized_partitions(instance: dg.DagsterInstance, layout: TableLayout, symbol: str) -> set[datetime]:
    """Starts of the partitions of a symbol's table that Dagster shows as materialized."""
    keys: Sequence[str] = list(instance.get_materialized_partitions(table_key(layout, symbol)))
    return {partition_start(layout, key) for key in keys}
