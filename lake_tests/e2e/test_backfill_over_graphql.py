"""A partition backfill of archives and hours together, launched over GraphQL exactly as the UI launches it."""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest

from lake_assets.assets.parity_check import COVERAGE_CHECK
from lake_assets.audit.api_parity import API_PARITY
from lake_assets.dagster_names import hour_key
from lake_assets.local_stack.graphql import KeyRange
from lake_assets.metadata import minute_key, table_key
from lake_assets.tables.spot_bars_1s import SPOT_BARS_1S
from lake_assets.validation.outcome import CHECKS
from lake_resources.clock import HOUR
from lake_resources.storage.reader import scan
from lake_tests.e2e.conftest import SPOT_HOURS, SPOT_SYMBOL, Journey, archive_ranges

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]


def test_archives_and_hours_in_one_backfill(journey: Journey) -> None:
    minute, day = minute_key("BTCUSDT").path, journey.day
    last = day + timedelta(hours=23)
    journey.wait("the end of the backfill", lambda: journey.api.backfill(journey.day_backfill).finished)
    progress = journey.api.backfill(journey.day_backfill)

    assert progress.status == "COMPLETED_SUCCESS", progress
    assert progress.runs.total > 0
    assert (progress.runs.waiting, progress.runs.working) == (0, 0)
    whole_day = KeyRange("MATERIALIZED", hour_key(day), hour_key(last))
    assert journey.api.shows(minute, journey.settings.lake_root)
    assert not journey.api.shows(minute, journey.settings.lake_root / "other"), "the port may be another lake's"
    assert not journey.api.shows(["um", "NOPEUSDT", "minute"], journey.settings.lake_root)
    statuses = journey.api.statuses(minute)
    assert whole_day in statuses.partitions
    assert set(statuses.checks) == {*CHECKS, API_PARITY.name, COVERAGE_CHECK}
    for name in CHECKS:
        found = statuses.checks[name]
        # Hours that nothing was ever captured of have nothing to compare with their archive.
        status = "SKIPPED" if name == "archive_parity" else "SUCCEEDED"
        assert KeyRange(status, hour_key(day), hour_key(last)) in found, (name, found)
    ranges = archive_ranges(journey.settings, day, journey.lake.clock())
    assert ranges
    for key, first, _ in ranges:
        materialized = [found for found in journey.api.statuses(key).partitions if found.status == "MATERIALIZED"]
        assert any(found.start <= first <= found.end for found in materialized), (key, materialized)
    rows = scan(journey.lake.store, "BTCUSDT", day, day + timedelta(days=1)).collect()
    assert rows.height == 1440
    assert (
        rows["timestamp"].to_list()
        == pl.datetime_range(day, day + timedelta(days=1), "1m", closed="left", time_zone="UTC", eager=True).to_list()
    )
    assert {row.sources["klines_1m"].kind for row in journey.lake.ledger.partitions("BTCUSDT", day, last)} == {
        "archive"
    }


def test_hours_of_spot_seconds_are_backfilled_as_those_of_futures(journey: Journey) -> None:
    journey.wait("the end of the backfill", lambda: journey.api.backfill(journey.day_backfill).finished)
    first, last = journey.day, journey.day + (SPOT_HOURS - 1) * HOUR
    key = table_key(SPOT_BARS_1S.layout, SPOT_SYMBOL).path
    statuses, asked = journey.api.statuses(key), KeyRange("MATERIALIZED", hour_key(first), hour_key(last))
    assert any(
        each.status == asked.status and each.start <= asked.start <= asked.end <= each.end
        for each in statuses.partitions
    )
    for name in ("schema", "ohlc", "continuity", "evidence"):
        assert any(each.status == "SUCCEEDED" and each.start <= asked.start for each in statuses.checks[name]), name
    lake = journey.lake.of(SPOT_BARS_1S)
    rows = lake.ledger.partitions(SPOT_SYMBOL, first, last + HOUR)
    assert [(row.start, row.row_count, row.sources["klines_1s"].kind) for row in rows] == [
        (first + number * HOUR, 3600, "archive") for number in range(SPOT_HOURS)
    ]
    assert scan(lake.store, SPOT_SYMBOL, first, last + HOUR).collect().height == SPOT_HOURS * 3600
