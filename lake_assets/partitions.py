"""Partition sets of the assets, and their keys as instants.

Belongs here: hourly, daily and monthly partition definitions, the mapping from days to hours, key parsing.
Does not belong here: anything that reads data.
"""

from __future__ import annotations

import warnings
from datetime import timedelta

import dagster as dg

from lake_assets.dagster_names import DAY_FORMAT, HOUR_FORMAT
from lake_resources.binance.stream import Stream
from lake_resources.layout import TableLayout
from lake_resources.settings import LakeSettings

with warnings.catch_warnings():
    # Beta in Dagster 1.13; leaned on all the same, and pinned by lake_tests/contract/test_dagster_checks.py.
    warnings.simplefilter("ignore", dg.BetaWarning)
    DAY_TO_HOURS = dg.TimeWindowPartitionMapping(allow_nonexistent_upstream_partitions=True)
"""An hour waits for its day (or month) in a backfill that holds both; days outside an archive's life do not exist."""


def table_partitions(layout: TableLayout, settings: LakeSettings) -> dg.TimeWindowPartitionsDefinition:
    """Hours or days of a table, as its layout says. The open one is a partition too (`end_offset=1`)."""
    if layout.span == "day":
        return dg.DailyPartitionsDefinition(start_date=settings.start_utc, end_offset=1, timezone="UTC", fmt=DAY_FORMAT)
    return dg.HourlyPartitionsDefinition(start_date=settings.start_utc, end_offset=1, timezone="UTC", fmt=HOUR_FORMAT)


def cold_days(settings: LakeSettings) -> dg.DailyPartitionsDefinition:
    """Days of a table of hours, each a partition once it is over."""
    return dg.DailyPartitionsDefinition(start_date=settings.start_utc, timezone="UTC", fmt=DAY_FORMAT)


def closed_hours(settings: LakeSettings) -> dg.HourlyPartitionsDefinition:
    """Hours of the 1H feed: an hour is a partition once it is closed."""
    return dg.HourlyPartitionsDefinition(start_date=settings.start_utc, timezone="UTC", fmt=HOUR_FORMAT)


def archive_partitions(stream: Stream, settings: LakeSettings) -> dg.TimeWindowPartitionsDefinition:
    """Days (or months) for which an archive stream can have a file, from the lake's start on."""
    first = max(stream.files.first_day, settings.start)
    if stream.files.cadence == "monthly":
        return dg.MonthlyPartitionsDefinition(start_date=first.replace(day=1).isoformat(), timezone="UTC")
    end = None if stream.files.last_day is None else (stream.files.last_day + timedelta(days=1)).isoformat()
    return dg.DailyPartitionsDefinition(start_date=first.isoformat(), end_date=end, timezone="UTC", fmt=DAY_FORMAT)
