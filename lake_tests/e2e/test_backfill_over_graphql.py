"""A partition backfill of archives and hours together, launched over GraphQL exactly as the UI launches it."""

from __future__ import annotations

import time
from datetime import timedelta

import polars as pl
import pytest

from lake_assets.assets.vision import offered_streams
from lake_assets.cli.demo import demo_windows
from lake_assets.dagster_names import archive_key, hour_key
from lake_assets.local_stack.graphql import BackfillProgress, KeyRange
from lake_assets.metadata import minute_key, vision_key
from lake_assets.tables.um_minute import UM_MINUTE
from lake_assets.validation.outcome import CHECK_NAMES
from lake_resources.storage.reader import scan
from lake_tests.e2e.conftest import Journey

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e"), pytest.mark.timeout(400)]


def _finished(journey: Journey, backfill_id: str) -> BackfillProgress:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        journey.stack.check()
        progress = journey.api.backfill(backfill_id)
        if progress.finished:
            return progress
        time.sleep(2)
    raise AssertionError(f"backfill {backfill_id} did not finish: {progress}")


def test_archives_and_hours_in_one_backfill(journey: Journey) -> None:
    now = journey.lake.clock()
    day, _ = demo_windows(now)
    last = day + timedelta(hours=23)
    streams = [
        stream
        for stream in offered_streams(journey.settings)
        if stream.name in UM_MINUTE.uses and UM_MINUTE.uses[stream.name].archive_due(day.date(), now)
    ]
    ranges = [
        (vision_key("BTCUSDT", stream.name).path, key, key)
        for stream in streams
        for key in [archive_key(stream, UM_MINUTE.uses[stream.name].period(day.date()))]
    ]
    minute = minute_key("BTCUSDT").path
    backfill_id = journey.api.launch_backfill([*ranges, (minute, hour_key(day), hour_key(last))], title="e2e")

    progress = _finished(journey, backfill_id)

    assert progress.status == "COMPLETED_SUCCESS", progress
    whole_day = KeyRange("MATERIALIZED", hour_key(day), hour_key(last))
    assert journey.api.shows(minute, journey.settings.lake_root)
    assert not journey.api.shows(minute, journey.settings.lake_root / "other"), "the port may be another lake's"
    assert not journey.api.shows(["um", "NOPEUSDT", "minute"], journey.settings.lake_root)
    statuses = journey.api.statuses(minute)
    assert whole_day in statuses.partitions
    assert set(statuses.checks) == set(CHECK_NAMES)
    for name, found in statuses.checks.items():
        assert KeyRange("SUCCEEDED", hour_key(day), hour_key(last)) in found, (name, found)
    for key, first, _ in ranges:
        materialized = [found for found in journey.api.statuses(key).partitions if found.status == "MATERIALIZED"]
        assert any(found.start <= first <= found.end for found in materialized), (key, materialized)
    rows = scan(journey.lake.catalog, journey.lake.ledger, "BTCUSDT", day, day + timedelta(days=1)).collect()
    assert rows.height == 1440
    assert (
        rows["timestamp"].to_list()
        == pl.datetime_range(day, day + timedelta(days=1), "1m", closed="left", time_zone="UTC", eager=True).to_list()
    )
    assert {row.sources["klines_1m"].kind for row in journey.lake.ledger.partitions("BTCUSDT", day, last)} == {
        "archive"
    }
