"""What the UI shows of an hour: a number of completeness that is never better than the truth."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from lake_assets.inputs.results import HourResult
from lake_assets.metadata import partition_metadata
from lake_assets.tables.um_minute import UM_MINUTE

HOUR = datetime(2026, 2, 15, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("minutes", "expected", "percent"),
    [
        (range(60), 60, 100.0),
        ([*range(17), *range(18, 60)], 60, 98.33),
        (range(31), 31, 100.0),
        ([*range(10), *range(11, 32)], 31, 96.77),  # one is in a known hole, one provisional
        ([], 60, 0.0),
    ],
)
def test_completeness_of_an_hour_is_a_number_that_is_never_rounded_up(minutes, expected, percent):
    frame = pl.DataFrame(
        {"timestamp": [HOUR + timedelta(minutes=n) for n in minutes]}, schema={"timestamp": pl.Datetime("us", "UTC")}
    )
    result = HourResult(HOUR, "committed", row_count=frame.height, expected_rows=expected, frame=frame)
    assert partition_metadata(result, UM_MINUTE.layout, now=HOUR + timedelta(hours=2))["completeness_pct"] == percent
