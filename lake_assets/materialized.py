"""What Dagster shows as materialized, as hours.

Belongs here: asking an instance for the partitions of the minute tables. Does not belong here: comparing them with the
disk (`audit`), recording events (`checks`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import dagster as dg

from lake_assets.dagster_names import hour_of
from lake_assets.metadata import minute_key


def materialized_hours(instance: dg.DagsterInstance, symbol: str) -> set[datetime]:
    """Hours of a symbol's minute table that Dagster shows as materialized."""
    keys: Sequence[str] = list(instance.get_materialized_partitions(minute_key(symbol)))
    return {hour_of(key) for key in keys}
