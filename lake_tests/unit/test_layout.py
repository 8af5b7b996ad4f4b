"""Arithmetic of partitions: hours and days, whatever the grain."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from lake_assets.tables.um_minute import UM_MINUTE

HOURS = UM_MINUTE.layout
DAYS = replace(HOURS, name="days", span="day", grain=timedelta(seconds=1), tiers=("month",))
INSTANT = datetime(2026, 11, 19, 5, 42, 7, tzinfo=UTC)


def test_rows_of_a_partition_follow_from_grain_and_span() -> None:
    assert HOURS.rows_per_partition == 60
    assert DAYS.rows_per_partition == 86_400


def test_an_instant_of_any_zone_lies_in_one_utc_partition() -> None:
    there = INSTANT.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert HOURS.start_of(there) == datetime(2026, 11, 19, 5, tzinfo=UTC)
    assert DAYS.start_of(there) == datetime(2026, 11, 19, tzinfo=UTC)
    with pytest.raises(ValueError, match="no time zone"):
        HOURS.start_of(INSTANT.replace(tzinfo=None))


def test_only_the_start_of_a_partition_is_whole() -> None:
    assert HOURS.whole(datetime(2026, 11, 19, 5, tzinfo=UTC)).hour == 5
    with pytest.raises(ValueError, match="start of a UTC day"):
        DAYS.whole(datetime(2026, 11, 19, 5, tzinfo=UTC))


def test_partitions_between_two_instants_are_those_that_overlap() -> None:
    end = INSTANT + timedelta(hours=20)
    assert [start.hour for start in HOURS.between(INSTANT, INSTANT + timedelta(hours=2))] == [5, 6, 7]
    assert [start.day for start in DAYS.between(INSTANT, end)] == [19, 20]
    assert not list(HOURS.between(end, INSTANT))


def test_names_and_directories_are_zero_padded() -> None:
    assert HOURS.text(HOURS.start_of(INSTANT)) == "2026-11-19T05"
    assert HOURS.hive(HOURS.start_of(INSTANT)) == "year=2026/month=11/day=19/hour=05"
    assert DAYS.text(DAYS.start_of(INSTANT)) == "2026-11-19"
    assert DAYS.hive(DAYS.start_of(INSTANT)) == "year=2026/month=11/day=19"
