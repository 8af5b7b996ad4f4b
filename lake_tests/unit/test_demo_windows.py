"""What the demo launches: only partitions that can be built at that moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from lake_assets.cli.demo import demo_windows, newest_hour
from lake_resources.clock import MINUTE
from lake_resources.settings import LakeSettings

HOUR = datetime(2026, 11, 25, 20, tzinfo=UTC)


@pytest.mark.parametrize(("minute", "newest"), [(0, 19), (3.9, 19), (4, 20), (59, 20)])
def test_the_open_hour_is_taken_once_its_first_minute_is_old_enough(minute: float, newest: int) -> None:
    found = newest_hour(HOUR + minute * MINUTE, LakeSettings(safety_lag_minutes=3))
    assert found == HOUR.replace(hour=newest)


@pytest.mark.parametrize("minute", [0, 5, 540, 545])
def test_today_has_hours_at_any_time(minute: int) -> None:
    now = HOUR.replace(hour=0) + minute * MINUTE
    published, today = demo_windows(now)
    assert published + timedelta(days=1, hours=9) <= now
    assert newest_hour(now, LakeSettings()) - today >= timedelta(hours=2)
