"""Hours from the archive, from REST and from both: which source each stream gets, and which minutes must exist."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from lake_assets.tables.um_minute import UM_MINUTE
from lake_assets.windows import band
from lake_resources.clock import HOUR, MINUTE
from lake_resources.storage.reader import scan
from lake_tests.support.simulated_lake import (
    DAY,
    ON_THE_DAY,
    PUBLISHED,
    SYMBOL,
    Bench,
    checks,
    failed_checks,
    hours,
    kinds,
    statuses,
)

pytestmark = pytest.mark.slow

REST_STREAMS = [name for name in UM_MINUTE.uses if name != "book_ticker"]


def test_a_published_day_comes_from_the_archive(bench: Bench) -> None:
    bench.at(PUBLISHED)
    results = bench.build(hours(4, 7))
    assert statuses(results) == ["committed"] * 3
    for result in results:
        wanted = dict.fromkeys(REST_STREAMS, "archive") | {"book_ticker": "none", "funding_rate": "rest"}
        assert kinds(result) == wanted
        assert failed_checks(result) == set()
        assert result.row_count == result.expected_rows == 60
        assert result.sources["klines_1m"].reference == bench.archives("klines_1m", "2026-11-18")[0].sha256
    rows = bench.rows(DAY + 4 * HOUR)
    assert rows.schema == UM_MINUTE.polars_schema
    assert rows["timestamp"].to_list() == [DAY + 4 * HOUR + index * MINUTE for index in range(60)]


def test_today_comes_from_rest(bench: Bench) -> None:
    results = bench.build(hours(12, 15))
    assert statuses(results) == ["committed"] * 3
    for result in results:
        assert kinds(result) == dict.fromkeys(REST_STREAMS, "rest") | {"book_ticker": "none"}
        assert failed_checks(result) == set()
    assert not [path for path in bench.paths_asked() if path.startswith("/data/") and "2026-11-18" in path], (
        "an archive that cannot be there yet is not asked for"
    )


def test_a_stream_without_its_archive_comes_from_rest_and_the_others_from_theirs(bench: Bench) -> None:
    bench.at(PUBLISHED).fault("missing", "daily/(metrics|aggTrades)/")
    (result,) = bench.build(hours(4, 5))
    found = kinds(result)
    assert (found["klines_1m"], found["metrics"], found["agg_trades"]) == ("archive", "rest", "rest")
    assert failed_checks(result) == set()
    missing = {(row.stream, row.period): row for row in bench.lake.ledger.missing_sources(SYMBOL)}
    assert {("metrics", "2026-11-18"), ("agg_trades", "2026-11-18")} <= missing.keys()
    assert "404" in missing["metrics", "2026-11-18"].reason


@pytest.mark.parametrize(("age", "wanted"), [(2 * HOUR, "hot"), (3 * 24 * HOUR, "warm"), (40 * 24 * HOUR, "cold")])
def test_every_band_is_built_from_the_best_source_that_exists(bench: Bench, age: timedelta, wanted: str) -> None:
    hour = (ON_THE_DAY - age).replace(minute=0, second=0)
    assert band(ON_THE_DAY - hour - HOUR) == wanted
    (result,) = bench.build([hour])
    source = "rest" if wanted == "hot" else "archive"
    assert [kinds(result)[name] for name in ("klines_1m", "agg_trades", "metrics")] == [source] * 3
    assert failed_checks(result) == set()


def test_rest_aggtrades_reach_back_48_hours_and_no_further(bench: Bench) -> None:
    now = bench.at(DAY + 60 * HOUR + 30 * MINUTE).now
    bench.fault("missing", "daily/aggTrades/")
    edge = (now - 48 * HOUR).replace(minute=0)  # reaches back half an hour too far
    before, after = bench.build([edge, edge + HOUR])
    assert kinds(before)["agg_trades"] == "none"
    assert kinds(after)["agg_trades"] == "rest"
    assert statuses([before, after]) == ["committed", "committed"]
    assert before.frame is not None
    assert after.frame is not None
    for column in ("count_buy_trades", "max_trade_size_btc", "realized_vol_1m", "transact_time"):
        assert before.frame[column].null_count() == 60, column
    assert after.frame["count_buy_trades"].null_count() == 0
    assert before.frame["vwap_1m"].null_count() == 0, "klines are enough for it"
    coverage = checks(before)["source_coverage"]
    assert not coverage.passed
    assert coverage.metadata["absent_streams"] == "agg_trades"
    (row,) = [row for row in bench.lake.ledger.missing_sources(SYMBOL, "agg_trades") if row.source == "rest"]
    assert row.period == f"{edge:%Y-%m-%dT%H}"
    assert "REST does not keep the hour" in row.reason


def test_the_open_hour_grows_and_closes(bench: Bench) -> None:
    hour = DAY + 15 * HOUR
    grown = []
    for minute in (0, 3, 4, 30, 59, 62, 63):
        (result,) = bench.at(hour + minute * MINUTE + timedelta(seconds=20)).build([hour])
        grown.append((result.status, result.row_count, result.expected_rows))
        if result.present:
            assert failed_checks(result) == set()
    assert grown == [
        ("not_yet", 0, 0),
        ("not_yet", 0, 0),
        ("committed", 1, 1),
        ("committed", 27, 27),
        ("committed", 56, 56),
        ("committed", 59, 59),
        ("committed", 60, 60),
    ]
    held = bench.lake.ledger.partition(SYMBOL, hour)
    assert held is not None
    assert held.complete
    assert bench.lake.ledger.watermark(SYMBOL) == hour + 59 * MINUTE


def test_an_hour_built_while_it_grew_equals_one_built_at_once(bench: Bench) -> None:
    hour = DAY + 13 * HOUR
    for minute in (10, 61, 65):
        bench.at(hour + minute * MINUTE).build([hour])
    bench.at(ON_THE_DAY)
    (grown,) = bench.build([hour])
    bench.lake.catalog.partition_path(SYMBOL, hour).unlink()
    (again,) = bench.build([hour])
    assert (grown.content_hash, again.content_hash) == (grown.content_hash,) * 2
    assert grown.row_count == 60


def test_hours_that_have_not_begun_are_no_failure(bench: Bench) -> None:
    results = bench.build(hours(15, 20))
    assert statuses(results) == ["committed", "not_yet", "not_yet", "not_yet", "not_yet"]
    assert all("3 minutes" in result.reason for result in results[1:])
    assert not any(result.failed for result in results)
    bench.sim.clear_requests()
    assert statuses(bench.build(hours(18, 20))) == ["not_yet", "not_yet"]
    assert bench.paths_asked() == [], "nobody is asked about the future"


def test_hours_before_the_market_began_are_left_out_with_a_reason(bench: Bench) -> None:
    start = datetime(2019, 6, 1, tzinfo=UTC)
    results = bench.build(hours(0, 2, start))
    assert statuses(results) == ["not_yet", "not_yet"]
    assert all("does not trade BTCUSDT then" in result.reason for result in results)
    assert bench.lake.ledger.quarantined(SYMBOL, start, start + 24 * HOUR) == []
    assert not [path for path in bench.paths_asked() if path.startswith("/data/")], "no archive can exist"
    assert bench.lake.ledger.partitions(SYMBOL, start, start + 24 * HOUR) == []


def test_metrics_and_funding_reach_over_midnight(bench: Bench) -> None:
    bench.at(PUBLISHED)
    (result,) = bench.build([DAY])
    frame = result.frame
    assert frame is not None
    metrics = bench.lake.ledger.archive(SYMBOL, "metrics", "2026-11-17")
    assert metrics is not None, "the day before is fetched for the look-back"
    raw = pl.read_parquet(bench.lake.catalog.absolute(metrics.path))
    before = raw.filter(pl.col("create_time") == DAY - 10 * MINUTE)["sum_open_interest"].item()
    known_at_midnight = raw.filter(pl.col("create_time") == DAY - 5 * MINUTE)["sum_open_interest"].item()
    assert frame["oi_contracts"][:5].to_list() == [known_at_midnight] * 5
    assert before != known_at_midnight
    assert frame["funding_rate"].null_count() == 0
    # Without the day before, what it would have told is not made up.
    bench.fault("missing", "metrics/.*2026-11-19")
    bench.fault("5xx", "/futures/data/")
    (alone,) = bench.at(PUBLISHED + 24 * HOUR).build([DAY + 24 * HOUR])
    assert kinds(alone)["metrics"] == "none"
    assert alone.frame is not None
    carried = alone.frame["oi_contracts"]
    assert carried[0] is not None, "carried from the day before, at most an hour"
    assert carried.null_count() == 0


def test_funding_of_last_month_reaches_into_this_one(bench: Bench) -> None:
    first = datetime(2026, 11, 1, tzinfo=UTC)
    (result,) = bench.build([first + HOUR])
    assert kinds(result)["funding_rate"] == "rest"
    months = {row.period for row in bench.lake.ledger.archives_between(SYMBOL, "funding_rate", first - HOUR, first)}
    assert months == {"2026-10"}, "the look-back of 18 hours reaches into October's file"
    assert result.frame is not None
    assert result.frame["funding_rate"].null_count() == 0


def test_book_ticker_of_its_era_fills_its_columns_and_is_carried_over_midnight(bench: Bench) -> None:
    day = datetime(2024, 3, 30, tzinfo=UTC)
    last, after = bench.build([day + 23 * HOUR, day + 24 * HOUR])
    assert kinds(last)["book_ticker"] == "archive"
    assert last.frame is not None
    assert last.frame["micro_price_close"].null_count() < 60
    assert last.frame["avg_spread_usdt"].null_count() == 0
    assert failed_checks(last) == set()
    # The archive ended that day: the next hour has no source and no values, carried ones neither.
    assert kinds(after)["book_ticker"] == "none"
    assert after.frame is not None
    assert after.frame["avg_spread_usdt"].null_count() == 60
    assert "book_ticker" not in str(checks(after)["source_coverage"].metadata["absent_streams"])


def test_the_reader_finds_what_was_built(bench: Bench) -> None:
    bench.build(hours(11, 16))
    rows = scan(bench.lake.store, SYMBOL, DAY + 11 * HOUR, DAY + 16 * HOUR).collect()
    assert rows.height == 4 * 60 + 27
    assert rows["timestamp"].is_sorted()
