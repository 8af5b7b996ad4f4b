"""The sensors on a simulated exchange: what they ask for is executed, and the lake afterwards is what was promised."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta

import dagster as dg
import pytest

from lake_assets.dagster_names import AUTOMATION_TAG, HEAL_SENSOR, HOT_SENSOR, PROMOTE_SENSOR
from lake_assets.metadata import minute_key, vision_key
from lake_resources.clock import HOUR, MINUTE, SECOND
from lake_resources.storage.ledger.ledger import Listing
from lake_tests.support.automated_lake import Automated, automated, ranges
from lake_tests.support.simulated_lake import DAY, SYMBOL, Bench, hours, kinds

pytestmark = pytest.mark.slow

OPEN = DAY + 15 * HOUR
DUE = DAY + 24 * HOUR + timedelta(hours=8, minutes=45)


@pytest.fixture
def lake(bench: Bench) -> Iterator[Automated]:
    instance = dg.DagsterInstance.ephemeral()
    with automated(bench, instance) as found:
        yield found
    instance.dispose()


def rows(lake: Automated, hour: datetime) -> int:
    row = lake.bench.lake.ledger.partition(SYMBOL, hour)
    return 0 if row is None else row.row_count


def of_the_day(lake: Automated, requests: Sequence[dg.RunRequest] | None) -> None:
    """Execute what was asked for the test's day alone: days that were published meanwhile are many hours."""
    chosen = [
        request
        for request in requests or ()
        if "2026-11-18" in (request.partition_key or request.tags["dagster/asset_partition_range_start"])
    ]
    assert chosen
    for request in chosen:
        lake.run(request)


@pytest.mark.slow
def test_the_hot_band_is_filled_and_the_open_hour_grows_minute_by_minute(lake: Automated) -> None:
    now = OPEN + 10 * MINUTE + 5 * SECOND
    first = lake.tick(HOT_SENSOR, now).run_requests
    assert ranges(first) == [("2026-11-18-14:00", "2026-11-18-15:00")]
    assert first is not None
    lake.run(first[0])
    lake.tick_and_run(HOT_SENSOR, now + 30 * SECOND)
    assert [rows(lake, OPEN - index * HOUR) for index in range(7)] == [10, *[60] * 6]
    assert lake.tick(HOT_SENSOR, now + 40 * SECOND).run_requests == []
    for minute in (11, 12, 13):
        lake.tick_and_run(HOT_SENSOR, OPEN + minute * MINUTE + 5 * SECOND)
        assert rows(lake, OPEN) == minute
        assert not lake.tick(HOT_SENSOR, OPEN + minute * MINUTE + 35 * SECOND).run_requests


@pytest.mark.slow
def test_an_hour_is_sealed_by_a_last_run_after_it_closed(lake: Automated) -> None:
    # Its last answers are those of open interest, which are final a quarter of an hour later.
    for half_minute in (*range(-3, 9), *range(29, 34)):
        lake.tick_and_run(HOT_SENSOR, OPEN + 60 * MINUTE + half_minute * 30 * SECOND + 5 * SECOND)
    row = lake.bench.lake.ledger.partition(SYMBOL, OPEN)
    assert row is not None
    assert row.complete
    assert lake.bench.lake.ledger.provisional_from(row) is None
    assert lake.bench.lake.ledger.unfinished_captures(SYMBOL, OPEN, OPEN + HOUR) == []
    assert lake.bench.lake.ledger.watermark(SYMBOL) >= OPEN + 59 * MINUTE
    started = [
        run for run in lake.instance.get_runs() if run.tags["dagster/asset_partition_range_start"] == "2026-11-18-15:00"
    ]
    assert 4 <= len(started) <= 8, "about one run a minute, none for an hour that is sealed"


def test_it_skips_while_its_last_run_is_at_work_but_not_for_one_that_died(lake: Automated) -> None:
    job = lake.repository.get_job("minute_hours")
    lake.bench.at(datetime.now(OPEN.tzinfo))
    lake.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags={AUTOMATION_TAG: "hot"})
    found = lake.tick(HOT_SENSOR)
    assert found.run_requests == []
    assert "still at work" in str(found.skip_message)
    lake.bench.at(datetime.now(OPEN.tzinfo) + timedelta(minutes=6))
    assert lake.tick(HOT_SENSOR).run_requests


def test_a_symbol_whose_trading_ended_is_asked_for_no_more(lake: Automated) -> None:
    ledger = lake.bench.lake.ledger
    assert lake.tick(HOT_SENSOR, OPEN + 10 * MINUTE).run_requests
    ledger.record_listing(Listing(SYMBOL, None, OPEN - 10 * HOUR), at=OPEN)
    assert not lake.tick(HOT_SENSOR, OPEN + 20 * MINUTE).run_requests
    assert not lake.tick(HEAL_SENSOR, OPEN + 20 * MINUTE).run_requests


def test_archives_after_the_end_of_trading_are_not_waited_for(lake: Automated) -> None:
    bench = lake.bench
    bench.build([DAY - 48 * HOUR])
    bench.lake.ledger.record_listing(Listing(SYMBOL, None, DAY - 15 * HOUR), at=bench.now)
    lake.tick(PROMOTE_SENSOR, DUE + timedelta(days=3))
    asked = {path.split("-1m-")[1][:10] for path in bench.paths_asked() if "-1m-" in path and "CHECKSUM" in path}
    assert asked == {"2026-11-16", "2026-11-17"}


def test_an_exchange_that_is_down_is_not_hammered(lake: Automated) -> None:
    for minute in (0, 0.5):
        lake.tick_and_run(HOT_SENSOR, OPEN + (10 + minute) * MINUTE)
    lake.bench.fault("5xx", "/fapi/")
    asked = 0
    for tick in range(40):
        found = lake.tick(HOT_SENSOR, OPEN + 11 * MINUTE + 5 * SECOND + tick * 30 * SECOND)
        asked += len(found.run_requests or ())
        for request in found.run_requests or ():
            lake.run(request, fails=True)
    assert 5 <= asked <= 14, "the open hour and the one before, of 40 ticks"
    assert rows(lake, OPEN) == 10, "what was committed stays"
    lake.bench.sim.faults.clear()
    lake.tick_and_run(HOT_SENSOR, OPEN + 40 * MINUTE)
    assert rows(lake, OPEN) in {39, 40}


@pytest.mark.slow
def test_holes_of_the_warm_band_are_healed_and_then_left_alone(lake: Automated) -> None:
    bench = lake.bench
    bench.build(hours(-30, -28))
    bench.fault("5xx", "/aggTrades")
    bench.build(hours(0, 3))
    bench.fault("missing_minutes", "/klines", start=DAY + 4 * HOUR, end=DAY + 4 * HOUR + MINUTE)
    bench.build([DAY + 4 * HOUR])
    assert rows(lake, DAY + 4 * HOUR) == 0
    bench.sim.faults.clear()

    healed = lake.tick_and_run(HEAL_SENSOR, OPEN + 5 * MINUTE)

    assert healed
    while lake.tick_and_run(HEAL_SENSOR, bench.now + 5 * MINUTE):
        pass
    start, end = DAY - 30 * HOUR, OPEN - 6 * HOUR
    assert bench.lake.ledger.missing_partitions(SYMBOL, start, end) == []
    assert bench.lake.ledger.quarantined(SYMBOL, start, end) == []
    assert [row for row in bench.lake.ledger.missing_sources(SYMBOL) if row.source == "rest"] == []
    held = {row.start: row for row in bench.lake.ledger.partitions(SYMBOL, start, end)}
    assert {held[hour].sources["agg_trades"].kind for hour in hours(0, 3)} == {"rest"}
    found = lake.tick(HEAL_SENSOR, bench.now + 10 * MINUTE)
    assert not found.run_requests


def test_an_empty_lake_has_no_holes(lake: Automated) -> None:
    assert "no holes" in str(lake.tick(HEAL_SENSOR).skip_message)


def test_a_tick_heals_no_more_than_its_cap(lake: Automated) -> None:
    lake.bench.build([DAY - 100 * HOUR])
    requests = lake.tick(HEAL_SENSOR).run_requests or ()
    spans = [
        (datetime.strptime(last, "%Y-%m-%d-%H:%M") - datetime.strptime(first, "%Y-%m-%d-%H:%M")) // HOUR + 1  # noqa: DTZ007
        for first, last in ranges(requests)
    ]
    assert sum(spans) == 24


def test_holes_of_an_outage_of_twelve_days_are_all_tried_and_filled(lake: Automated) -> None:
    first = OPEN - timedelta(days=12)
    lake.bench.at(first + 35 * MINUTE).build([first])
    row = lake.bench.lake.ledger.partition(SYMBOL, first)
    assert row is not None
    assert not row.complete, "the platform died in the middle of it"
    asked: list[datetime] = []
    requests = []
    for tick in range(13):
        found = lake.tick(HEAL_SENSOR, OPEN + tick * 10 * SECOND).run_requests or []
        requests += found
        for start, end in ranges(found):
            span = [datetime.strptime(key, "%Y-%m-%d-%H:%M").replace(tzinfo=UTC) for key in (start, end)]
            asked += [span[0] + index * HOUR for index in range((span[1] - span[0]) // HOUR + 1)]
    assert sorted(asked) == [first + index * HOUR for index in range(12 * 24 - 6)], "each once"
    oldest = min(requests, key=lambda request: request.tags["dagster/asset_partition_range_start"])
    lake.run(oldest)
    healed = lake.bench.lake.ledger.partitions(SYMBOL, first, first + 3 * HOUR)
    assert [row.complete for row in healed] == [True] * 3


def test_a_day_without_any_hour_is_promoted(lake: Automated) -> None:
    bench = lake.bench
    bench.at(DAY + 12 * HOUR).build([DAY - 24 * HOUR])
    bench.fault("5xx", "/fapi/")
    for tick in range(3):
        lake.tick_and_run(PROMOTE_SENSOR, DUE + tick * 5 * MINUTE)
    held = bench.lake.ledger.partitions(SYMBOL, DAY, DAY + 24 * HOUR)
    assert len(held) == 24
    assert {row.sources["klines_1m"].kind for row in held} == {"archive"}
    assert not lake.tick(PROMOTE_SENSOR, DUE + 15 * MINUTE).run_requests


def test_a_published_day_is_taken_and_its_hours_are_rebuilt_from_it(lake: Automated) -> None:
    bench = lake.bench
    built = bench.at(DAY + 20 * HOUR).build(hours(3, 6))
    assert {kinds(result)["klines_1m"] for result in built} == {"rest"}
    assert not lake.tick(PROMOTE_SENSOR, DUE - 20 * MINUTE).run_requests, "it is not due yet"

    taken = lake.tick(PROMOTE_SENSOR, DUE).run_requests or ()
    assert {request.partition_key for request in taken} == {"2026-11-18"}
    wanted = {"klines_1m", "mark_price_klines_1m", "index_price_klines_1m", "premium_index_klines_1m", "agg_trades"}
    assert {key for request in taken for key in request.asset_selection or ()} == {
        vision_key(SYMBOL, name) for name in (*wanted, "metrics")
    }
    for request in taken:
        lake.run(request)
    rebuild = lake.tick(PROMOTE_SENSOR, DUE + 5 * MINUTE).run_requests or ()
    assert ranges(rebuild) == [("2026-11-18-00:00", "2026-11-18-23:00")]
    lake.run(rebuild[0])

    held = bench.lake.ledger.partitions(SYMBOL, DAY, DAY + 24 * HOUR)
    assert len(held) == 24
    assert {row.sources[name].kind for row in held for name in wanted} == {"archive"}
    assert not lake.tick(PROMOTE_SENSOR, DUE + 10 * MINUTE).run_requests


def test_differences_of_the_archive_are_recorded_and_shown(lake: Automated) -> None:
    bench = lake.bench
    bench.fault("missing_minutes", "/aggTrades", start=DAY + 3 * HOUR, end=DAY + 3 * HOUR + 5 * MINUTE)
    bench.at(DAY + 20 * HOUR).build([DAY + 3 * HOUR])
    bench.sim.faults.clear()
    for tick in range(2):
        lake.tick_and_run(PROMOTE_SENSOR, DUE + tick * 5 * MINUTE)
    assert bench.lake.ledger.revisions(SYMBOL, DAY + 3 * HOUR, DAY + 4 * HOUR, "agg_trades")
    row = bench.lake.ledger.partition(SYMBOL, DAY + 3 * HOUR)
    assert row is not None
    assert row.sources["agg_trades"].kind == "archive"
    assert '"archive_parity"' in row.checks


def test_a_republication_within_ten_days_is_noticed(lake: Automated) -> None:
    bench = lake.bench
    bench.at(DAY + 20 * HOUR).build([DAY + 3 * HOUR])
    for tick in range(2):
        lake.tick_and_run(PROMOTE_SENSOR, DUE + tick * 5 * MINUTE)
    before = bench.lake.ledger.archive(SYMBOL, "klines_1m", "2026-11-18")
    bench.fault("republished", "klines/BTCUSDT/1m/BTCUSDT-1m-2026-11-18")
    assert not lake.tick(PROMOTE_SENSOR, DUE + 30 * MINUTE).run_requests, "compared a moment ago"
    again = lake.tick(PROMOTE_SENSOR, DUE + timedelta(days=2)).run_requests or ()
    causes = {request.partition_key: request.tags["lake/cause"] for request in again}
    assert causes == {"2026-11-18": "republished", "2026-11-19": "published", "2026-11-20": "published"}
    of_the_day(lake, again)
    after = bench.lake.ledger.archive(SYMBOL, "klines_1m", "2026-11-18")
    assert before is not None
    assert after is not None
    assert before.sha256 != after.sha256
    of_the_day(lake, lake.tick(PROMOTE_SENSOR, DUE + timedelta(days=2, hours=2)).run_requests)
    row = bench.lake.ledger.partition(SYMBOL, DAY + 3 * HOUR)
    assert row is not None
    assert row.sources["klines_1m"].reference == after.sha256


def test_a_comparison_that_vision_did_not_answer_is_made_at_the_next_tick(lake: Automated) -> None:
    bench = lake.bench
    bench.at(DAY + 20 * HOUR).build([DAY + 3 * HOUR])
    for tick in range(2):
        lake.tick_and_run(PROMOTE_SENSOR, DUE + tick * 5 * MINUTE)
    bench.fault("republished", "klines/BTCUSDT/1m/BTCUSDT-1m-2026-11-18")
    bench.fault("5xx", "CHECKSUM")
    later = DUE + timedelta(hours=7)
    assert "Vision did not answer" in str(lake.tick(PROMOTE_SENSOR, later).skip_message)
    bench.sim.faults.clear()
    bench.fault("republished", "klines/BTCUSDT/1m/BTCUSDT-1m-2026-11-18")
    again = lake.tick(PROMOTE_SENSOR, later + 5 * MINUTE).run_requests or ()
    assert [request.tags["lake/cause"] for request in again] == ["republished"]


def test_an_hour_that_rest_kept_whole_is_not_rebuilt_for_an_archive_that_lost_trades_of_it(lake: Automated) -> None:
    bench = lake.bench
    torn = DAY + 3 * HOUR
    bench.at(DAY + 20 * HOUR).build([torn, torn + HOUR])
    bench.fault("missing_minutes", "daily/aggTrades/", start=torn + 20 * MINUTE, end=torn + 40 * MINUTE)
    for tick in range(2):
        lake.tick_and_run(PROMOTE_SENSOR, DUE + tick * 5 * MINUTE)
    held = {row.start: row for row in bench.lake.ledger.partitions(SYMBOL, torn, torn + 2 * HOUR)}
    kept = [held[torn + index * HOUR].sources["agg_trades"].kind for index in range(2)]
    assert kept == ["archive+rest", "archive"], "what the archive lost is kept"
    for step in range(1, 8):
        again = lake.tick(PROMOTE_SENSOR, DUE + step * timedelta(hours=13)).run_requests or ()
        assert ranges([request for request in again if request.tags["lake/cause"] == "rebuild"]) == []

    bench.sim.faults.clear()
    for tick in range(2):
        of_the_day(lake, lake.tick(PROMOTE_SENSOR, DUE + timedelta(days=5) + tick * timedelta(hours=1)).run_requests)
    row = bench.lake.ledger.partition(SYMBOL, torn)
    assert row is not None
    assert row.sources["agg_trades"].kind == "archive", "a whole one is taken"


def test_a_day_that_is_late_raises_one_alarm(lake: Automated) -> None:
    bench = lake.bench
    bench.at(DAY + 20 * HOUR).build([DAY + 3 * HOUR])
    bench.fault("missing", "2026-11-18")
    early = lake.tick(PROMOTE_SENSOR, DUE + 23 * HOUR)
    assert early.asset_events == []
    late = lake.tick(PROMOTE_SENSOR, DUE + 25 * HOUR)
    keys = {event.asset_key for event in late.asset_events}
    assert vision_key(SYMBOL, "klines_1m") in keys
    assert {event.partition for event in late.asset_events} == {date(2026, 11, 18).isoformat()}
    assert lake.tick(PROMOTE_SENSOR, DUE + 29 * HOUR).asset_events == [], "told once"
    (row,) = [row for row in bench.lake.ledger.missing_sources(SYMBOL, "klines_1m") if row.source == "archive"]
    assert "which was due at 2026-11-19 08:30" in row.reason
    assert row.attempts == 3


def test_vision_being_down_is_no_error_of_the_sensor(lake: Automated) -> None:
    bench = lake.bench
    bench.at(DAY + 20 * HOUR).build([DAY + 3 * HOUR])
    bench.fault("5xx", "CHECKSUM")
    found = lake.tick(PROMOTE_SENSOR, DUE)
    assert not found.run_requests
    assert "Vision did not answer" in str(found.skip_message)


def test_runs_of_the_hot_band_are_seen_in_dagster(lake: Automated) -> None:
    for minute in (10.1, 10.6):
        lake.tick_and_run(HOT_SENSOR, OPEN + minute * MINUTE)
    keys = lake.instance.get_materialized_partitions(minute_key(SYMBOL))
    assert {f"2026-11-18-{hour:02}:00" for hour in range(9, 16)} <= keys
