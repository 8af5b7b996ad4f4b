"""Partition sets of the assets, and their keys as instants.

Belongs here: hourly, daily and monthly partition definitions, the mapping from days to hours, key parsing.
Does not belong here: anything that reads data.
"""

from __future__ import annotations

import warnings
from datetime import UTC, datetime, timedelta

import dagster as dg

from lake_resources.binance.streams import Stream
from lake_resources.settings import LakeSettings

HOUR_FORMAT = "%Y-%m-%d-%H:%M"
DAY_FORMAT = "%Y-%m-%d"
MONTH_FORMAT = "%Y-%m"

with warnings.catch_warnings():
    # Beta in Dagster 1.13; leaned on all the same, and pinned by lake_tests/contract/test_dagster_checks.py.
    warnings.simplefilter("ignore", dg.BetaWarning)
    DAY_TO_HOURS = dg.TimeWindowPartitionMapping(allow_nonexistent_upstream_partitions=True)
"""An hour waits for its day (or month) in a backfill that holds both; days outside an archive's life do not exist."""


def hourly(settings: LakeSettings) -> dg.HourlyPartitionsDefinition:
    """Hours of the minute table. The open hour is a partition too (`end_offset=1`)."""
    return dg.HourlyPartitionsDefinition(start_date=settings.start_utc, end_offset=1, timezone="UTC", fmt=HOUR_FORMAT)


def closed_hours(settings: LakeSettings) -> dg.HourlyPartitionsDefinition:
    """Hours of the 1H feed: an hour is a partition once it is closed."""
    return dg.HourlyPartitionsDefinition(start_date=settings.start_utc, timezone="UTC", fmt=HOUR_FORMAT)


def archive_partitions(stream: Stream, settings: LakeSettings) -> dg.TimeWindowPartitionsDefinition:
    """Days (or months) for which an archive stream can have a file, from the lake's start on."""
    first = max(stream.first_day, settings.start)
    if stream.cadence == "monthly":
        return dg.MonthlyPartitionsDefinition(start_date=first.replace(day=1).isoformat(), timezone="UTC")
    end = None if stream.last_day is None else (stream.last_day + timedelta(days=1)).isoformat()
    return dg.DailyPartitionsDefinition(start_date=first.isoformat(), end_date=end, timezone="UTC", fmt=DAY_FORMAT)


def has_archive_partitions(stream: Stream, settings: LakeSettings) -> bool:
    """Whether the stream's archive overlaps the lake's life at all (book_ticker ended in March 2024)."""
    return stream.last_day is None or stream.last_day >= settings.start


def hour_of(key: str) -> datetime:
    """Start of the hour that an hourly key names, UTC."""
    return datetime.strptime(key, HOUR_FORMAT).replace(tzinfo=UTC)


def hour_key(hour: datetime) -> str:
    """Hourly partition key of an instant's hour."""
    return hour.astimezone(UTC).strftime(HOUR_FORMAT)


def archive_period(stream: Stream, key: str) -> str:
    """The period in an archive's file name for a partition key: the day, or `YYYY-MM`."""
    return key[:7] if stream.cadence == "monthly" else key


def archive_key(stream: Stream, period: str) -> str:
    """Partition key of the archive file of a period."""
    return f"{period}-01" if stream.cadence == "monthly" else period
