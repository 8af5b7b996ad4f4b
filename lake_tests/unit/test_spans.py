"""Half-open spans of time as conditions of polars."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from lake_resources.clock import HOUR
from lake_resources.spans import instant, within

TEN = datetime(2026, 1, 15, 10, tzinfo=UTC)


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_a_span_has_its_start_and_not_its_end(unit: str) -> None:
    step = timedelta(milliseconds=1)
    times = [TEN - step, TEN, TEN + HOUR - step, TEN + HOUR, None]
    frame = pl.DataFrame({"at": times}, schema={"at": pl.Datetime(unit, "UTC")})  # type: ignore[arg-type]
    assert frame.filter(within("at", TEN, TEN + HOUR))["at"].to_list() == times[1:3]


def test_an_instant_is_what_polars_makes_of_it_also_before_1970() -> None:
    at = datetime(1969, 12, 31, 23, 59, 59, 1, tzinfo=UTC)
    assert pl.select(instant(at)).item() == at
    assert pl.select(instant(at)).schema == pl.select(pl.lit(at)).schema


def test_a_span_is_known_to_a_file_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pl.DataFrame({"at": [TEN, TEN + HOUR]}, schema={"at": pl.Datetime("us", "UTC")}).write_parquet(path)
    query = pl.scan_parquet(path).filter(within("at", TEN, TEN + HOUR))
    assert 'SELECTION: (col("at") >= 2026-01-15 10:00:00 UTC)' in query.explain()
    assert query.collect().height == 1
