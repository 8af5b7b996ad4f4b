"""Paths of the lake: the exact hive layout readers depend on, and nothing that leaves the root."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake_resources.storage.catalog import floor_hour, whole_hour
from lake_tests.support.stores import store_at

CATALOG = store_at(Path("/lake")).catalog
HOUR = datetime(2026, 2, 5, 7, tzinfo=UTC)


def test_minute_path_is_zero_padded_hive():
    expected = "/lake/futures/um/minute/symbol=BTCUSDT/year=2026/month=02/day=05/hour=07/part.parquet"
    assert str(CATALOG.partition_path("BTCUSDT", HOUR)) == expected


def test_archive_path_names_the_zip():
    path = CATALOG.archive_path("agg_trades", "BTCUSDT", "2026-02-05", "abcdef0123456789")
    assert str(path) == "/lake/vision/futures/um/agg_trades/symbol=BTCUSDT/2026-02-05-abcdef012345.parquet"


def test_capture_path_names_the_content():
    path = CATALOG.capture_path("metrics", "BTCUSDT", HOUR, "0123456789abcdef")
    expected = "/lake/captures/rest/um/metrics/symbol=BTCUSDT/date=2026-02-05/hour=07-0123456789ab.parquet"
    assert str(path) == expected


def test_quarantine_temp_and_lock_lie_below_the_root():
    assert str(CATALOG.quarantine_path("BTCUSDT", HOUR, "f" * 64)) == (
        "/lake/quarantine/BTCUSDT/2026-02-05T07-ffffffffffff.parquet"
    )
    assert str(CATALOG.temp_dir) == "/lake/.tmp"
    assert str(CATALOG.lock_path("BTCUSDT")) == "/lake/.locks/minute-BTCUSDT.lock"


def test_another_zone_is_the_same_hour():
    tokyo = HOUR.astimezone(timezone(timedelta(hours=9)))
    assert CATALOG.partition_path("BTCUSDT", tokyo) == CATALOG.partition_path("BTCUSDT", HOUR)


@pytest.mark.parametrize("symbol", ["", "..", "A/B", "A\\B", "symbol=A"])
def test_a_symbol_that_is_no_path_part_is_refused(symbol):
    with pytest.raises(ValueError, match="cannot be part of a path"):
        CATALOG.partition_path(symbol, HOUR)


def test_a_naive_or_broken_hour_is_refused():
    with pytest.raises(ValueError, match="no time zone"):
        CATALOG.partition_path("BTCUSDT", HOUR.replace(tzinfo=None))
    with pytest.raises(ValueError, match="not the start of a UTC hour"):
        whole_hour(HOUR + timedelta(minutes=1))


@pytest.mark.parametrize("path", ["/etc/passwd", "../outside", "a/../../b"])
def test_a_ledger_path_cannot_leave_the_root(path):
    with pytest.raises(ValueError, match="leaves the lake's root"):
        CATALOG.absolute(path)


@given(st.datetimes(datetime(2019, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_ledger_path_and_file_path_are_inverse(instant):
    path = CATALOG.partition_path("ETHUSDT", floor_hour(instant))
    assert CATALOG.absolute(CATALOG.relative(path)) == path
    assert f"day={instant:%d}/hour={instant:%H}" in str(path)
