"""`lake backfill-klines` against the running stack: days of candles through Dagster, each whole and loaded once."""

from __future__ import annotations

import json
import re

import pytest

from lake_assets.tables.spot_klines import SPOT_KLINES
from lake_resources.clock import DAY
from lake_tests.e2e.conftest import KLINES_ASKED, SPOT_SYMBOL, Journey

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


def test_candles_of_the_last_days_in_dagster(journey: Journey) -> None:
    launched = journey.klines
    assert launched is not None
    assert launched.exit_code == 0, launched.output
    named = re.search(r"/runs/b/(\w+)", launched.output)
    assert named is not None, launched.output
    journey.wait("the end of the backfill", lambda: journey.api.backfill(named[1]).finished)
    assert journey.api.backfill(named[1]).status == "COMPLETED_SUCCESS"
    # The day that was published at the start and the one before it, whatever the hour was, and a midnight since.
    first, end = journey.day - DAY, journey.day + DAY
    rows = journey.lake.of(SPOT_KLINES["1m"]).ledger.partitions(SPOT_SYMBOL, first, end)
    assert [(row.start, row.row_count) for row in rows] == [(first, 1440), (journey.day, 1440)]
    assert [row.sources["klines_1m"].kind for row in rows] == ["archive", "archive"]
    again = json.loads(journey.run("backfill-klines", *KLINES_ASKED, "--dry-run", "--json").stdout)
    told = {day for each in again for day in each["days"]}
    assert told.isdisjoint({f"{row.start:%Y-%m-%d}" for row in rows}), "whole days are left alone"
