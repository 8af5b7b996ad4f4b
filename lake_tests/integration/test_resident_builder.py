"""The resident builder on a simulated exchange: what it commits, what Dagster is told, and who stands in for it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from lake_assets.dagster_names import HOT_SENSOR, hour_key
from lake_assets.jobs.told_commits import BUILDER_TAG
from lake_assets.live.row_files import LiveRows
from lake_assets.metadata import minute_key
from lake_assets.resident.builder_beat import last_beat
from lake_assets.resident.hot_builder import HotBuilder, Turn
from lake_assets.resident.keep_hot import keep_hot_once
from lake_assets.sensors.hot_band import STANDS_IN
from lake_assets.tables.spot_bars_1s import SPOT_BARS_1S
from lake_assets.tables.um_minute import UM_MINUTE
from lake_assets.transforms.live.live_rows import LIVE_ROWS
from lake_resources.clock import HOUR, MINUTE, SECOND
from lake_resources.errors import PartitionBusy
from lake_resources.storage.ledger.ledger import Partition
from lake_resources.storage.locks import writer_lock
from lake_tests.support.automated_lake import Automated, automated
from lake_tests.support.heard_rows import hear
from lake_tests.support.simulated_lake import DAY, SYMBOL, Bench, bench_on, exchange

pytestmark = pytest.mark.slow

OPEN = DAY + 15 * HOUR
BEGAN = OPEN + 10 * MINUTE + SECOND
KEY = minute_key(SYMBOL)
NAME = KEY.to_user_string()


@pytest.fixture
def lake(tmp_path) -> Iterator[Automated]:
    instance = dg.DagsterInstance.ephemeral()
    with exchange() as sim, bench_on(sim, tmp_path, hot_hours=1, spot_symbols=()) as bench:
        bench.at(BEGAN)
        with automated(bench, instance) as found:
            yield found
    instance.dispose()


def turn(bench: Bench) -> Turn:
    return keep_hot_once(bench.lake, bench.settings, say=bench.reports.append)


def told(lake: Automated) -> list[tuple[str | None, int]]:
    """Partition and expected rows of each materialization, oldest first."""
    found = lake.instance.fetch_materializations(dg.AssetRecordsFilter(asset_key=KEY), limit=100, ascending=True)
    events = [(record.partition_key, record.asset_materialization) for record in found.records]
    return [(key, int(str(event.metadata["expected_rows"].value))) for key, event in events if event is not None]


def check_rows(lake: Automated) -> int:
    key = dg.AssetCheckKey(KEY, "continuity")
    return len(lake.instance.event_log_storage.get_asset_check_execution_history(key, limit=100))


def test_commits_of_the_builder_are_told_once_and_runs_stand_in_while_it_is_silent(lake: Automated) -> None:
    bench, ledger = lake.bench, lake.bench.lake.ledger
    first = turn(bench)
    assert {each.hour: each.row_count for each in first.hours[NAME]} == {OPEN: 10, OPEN - HOUR: 60}
    assert (first.failed, first.behind) == ({}, [])
    row = ledger.partition(SYMBOL, OPEN)
    assert row is not None
    assert ledger.provisional_from(row) == OPEN + 7 * MINUTE, "younger minutes are marked"

    found = lake.tick(HOT_SENSOR)
    assert not found.run_requests
    assert "keeps the band; 2 of its commits were told" in str(found.skip_message)
    before, now = hour_key(OPEN - HOUR), hour_key(OPEN)
    assert told(lake) == [(before, 60), (now, 7)]
    assert check_rows(lake) == 2
    (record,) = lake.instance.get_run_records(dg.RunsFilter(tags=BUILDER_TAG))
    assert record.dagster_run.tags["dagster/sensor_name"] == HOT_SENSOR, "nobody launched it by hand"
    assert record.start_time == record.end_time == bench.now.timestamp(), "it is not starting for ever"
    event = lake.instance.get_latest_materialization_event(KEY)
    assert event is not None
    assert event.asset_materialization is not None
    metadata = event.asset_materialization.metadata
    assert metadata["content_hash"].value == row.content_hash[:16]
    wanted = {"dagster/partition_row_count", "dagster/uri", "outcome", "band", "completeness_pct", "provenance"}
    assert wanted | {"close_and_volume"} < set(metadata), "as of a run"

    turn(bench.at(BEGAN + MINUTE))
    lake.tick(HOT_SENSOR)
    assert told(lake) == [(before, 60), (now, 7)], "the open hour waits for its five minutes"

    turn(bench.at(BEGAN + 5 * MINUTE))
    assert "1 of its commits" in str(lake.tick(HOT_SENSOR).skip_message)
    lake.cursors.clear()
    assert "no commit of it" in str(lake.tick(HOT_SENSOR).skip_message), "a lost cursor tells nothing twice"
    assert told(lake)[2:] == [(now, 12)]
    assert check_rows(lake) == 3

    bench.at(BEGAN + 5 * MINUTE + 89 * SECOND)
    assert not lake.tick(HOT_SENSOR).run_requests
    (request,) = lake.tick(HOT_SENSOR, BEGAN + 5 * MINUTE + 90 * SECOND).run_requests or ()
    assert "silent for 90 s" in request.tags[STANDS_IN]
    lake.run(request)
    assert told(lake)[3:] == [(now, 13)]
    assert not lake.tick(HOT_SENSOR).run_requests
    assert told(lake)[4:] == [], "what a run told is not told again"

    turn(bench.at(BEGAN + 7 * MINUTE))
    found = lake.tick(HOT_SENSOR)
    assert not found.run_requests, "it is back"
    assert "keeps the band" in str(found.skip_message)
    row = ledger.partition(SYMBOL, OPEN)
    assert row is not None
    assert row.row_count == 17


def test_an_hour_is_sealed_and_told_at_once(lake: Automated) -> None:
    bench = lake.bench
    turn(bench.at(OPEN + 60 * MINUTE + SECOND))
    lake.tick(HOT_SENSOR)
    sealed = turn(bench.at(OPEN + 63 * MINUTE + SECOND))
    assert {each.hour for each in sealed.hours[NAME]} == {OPEN, OPEN + HOUR}
    row = bench.lake.ledger.partition(SYMBOL, OPEN)
    assert row is not None
    assert row.complete
    lake.tick(HOT_SENSOR)
    assert (hour_key(OPEN), 60) in told(lake)
    assert not turn(bench).hours, "a sealed hour is left alone"
    assert set(UM_MINUTE.checks), "the checks of the table are those that are told"


def test_what_comes_seldom_is_asked_for_seldom_and_a_sealed_hour_is_that_of_an_ordinary_build(
    lake: Automated, tmp_path: Path
) -> None:
    bench = lake.bench
    turn(bench.at(OPEN + 55 * MINUTE + SECOND))

    def slow() -> set[str]:
        """Paths of slow series that a turn asks for, with those of bars left out."""
        return {path for path in bench.paths_asked() if "futures/data" in path or "fundingRate" in path}

    for minute in (56, 57):
        bench.sim.clear_requests()
        row = turn(bench.at(OPEN + minute * MINUTE + SECOND)).hours[NAME][0]
        assert (row.status, row.row_count) == ("committed", minute)
        assert not slow(), "nothing new is due"
        assert bench.paths_asked().count("/fapi/v1/time") == 1, "the exchange's clock is asked once for all streams"
    bench.sim.clear_requests()
    turn(bench.at(OPEN + 60 * MINUTE + SECOND))
    assert slow(), "five minutes are over"
    turn(bench.at(OPEN + 63 * MINUTE + SECOND))
    sealed = bench.committed(OPEN, OPEN + HOUR)
    with bench_on(bench.sim, tmp_path / "ordinary", hot_hours=1, spot_symbols=()) as other:
        built = other.at(OPEN + 63 * MINUTE + SECOND).build([OPEN])
        assert [(each.status, each.row_count) for each in built] == [("committed", 60)]
        assert other.committed(OPEN, OPEN + HOUR) == sealed


def test_seconds_of_spot_are_kept_by_the_same_turns(tmp_path: Path) -> None:
    asset = f"spot/{SYMBOL}/bars_1s"
    with exchange() as sim:
        given = {"spot_symbols": (SYMBOL,), "spot_rest_url": sim.base_url, "start": DAY.date(), "hot_hours": 1}
        with bench_on(sim, tmp_path, **given) as bench:
            first = turn(bench.at(BEGAN))
            assert first.failed == {}
            assert {each.hour: each.row_count for each in first.hours[asset]} == {OPEN: 601, OPEN - HOUR: 3600}
            assert NAME in first.hours, "and the minutes of futures beside them"
            assert asset not in turn(bench.at(BEGAN + 30 * SECOND)).hours, "no further minute is closed"
            second = turn(bench.at(BEGAN + MINUTE)).hours[asset]
            assert [(each.hour, each.status, each.row_count) for each in second] == [(OPEN, "committed", 661)]
            seconds = bench.lake.of(SPOT_BARS_1S)
            row = seconds.ledger.partition(SYMBOL, OPEN)
            assert row is not None
            assert seconds.ledger.provisional_from(row) == BEGAN + MINUTE - 3 * MINUTE
            turn(bench.at(OPEN + 63 * MINUTE + SECOND))
            sealed = seconds.ledger.partition(SYMBOL, OPEN)
            assert sealed is not None
            assert (sealed.complete, sealed.row_count) == (True, 3600)


def test_most_symbols_go_ahead_of_one_whose_row_is_late(tmp_path: Path) -> None:
    symbols = (SYMBOL, "ETHUSDT", "SOLUSDT")
    with exchange(symbols=symbols) as sim:
        given = {"symbols": symbols, "spot_symbols": (), "hot_hours": 1, "start": DAY.date()}
        with bench_on(sim, tmp_path, **given) as bench:
            turn(bench.at(BEGAN - MINUTE))
            for symbol in symbols:
                heard(bench, symbol, 9 if symbol == SYMBOL else 10)
            bench.at(BEGAN)
            passed: list[dict[str, int]] = []

            def sleep(seconds: float) -> None:
                """The clock goes on; the late row comes when the others were built, or never."""
                sim.clock.advance(seconds * SECOND)
                rows = {symbol: bench.lake.ledger.partition(symbol, OPEN) for symbol in symbols}
                passed.append({symbol: row.row_count for symbol, row in rows.items() if row is not None})
                if passed[-1]["SOLUSDT"] == 10:
                    heard(bench, SYMBOL, 10)

            done = HotBuilder(bench.lake, bench.settings, bench.reports.append, sleep).turn()
            assert passed[0] == dict.fromkeys(symbols, 9), "they wait for each other at first"
            assert passed[-1] == {SYMBOL: 9, "ETHUSDT": 10, "SOLUSDT": 10}
            assert bench.now < OPEN + 10 * MINUTE + 2 * SECOND, "nobody waited for the end of the patience"
            assert list(done.hours) == [f"um/{symbol}/minute" for symbol in (*symbols[1:], SYMBOL)]
            assert {each.row_count for several in done.hours.values() for each in several} == {10}
            assert (done.failed, done.behind) == ({}, [])


def test_a_heard_hour_grows_by_a_minute_of_which_no_trades_are_proven_yet(tmp_path: Path) -> None:
    with exchange() as sim, bench_on(sim, tmp_path, hot_hours=1, spot_symbols=()) as bench:

        def built(minutes: int) -> Partition:
            turn(bench.at(OPEN + minutes * MINUTE + SECOND))
            row = bench.lake.ledger.partition(SYMBOL, OPEN)
            assert row is not None
            assert row.row_count == minutes, "a row for each minute that closed"
            return row

        def hears(first: int, end: int) -> None:
            bench.at(OPEN + end * MINUTE + SECOND)
            hear(bench.lake, [SYMBOL], OPEN + first * MINUTE, OPEN + end * MINUTE)

        hears(-60, 6)
        assert built(6).sources["agg_trades"].kind == "ws"
        bench.at(OPEN + 7 * MINUTE + SECOND)
        write(bench, SYMBOL, [OPEN + 6 * MINUTE])
        rows = pl.read_parquet(bench.lake.catalog.absolute(built(7).path))
        assert rows["vol_buy_retail_btc"].is_null().to_list() == [False] * 6 + [True], "nothing is made up"
        assert not rows["close"].null_count()
        hears(6, 8)
        rows = pl.read_parquet(bench.lake.catalog.absolute(built(8).path))
        assert not rows["vol_buy_retail_btc"].null_count()


def test_a_heard_hour_that_has_just_begun_asks_rest_for_no_trades(tmp_path: Path) -> None:
    with exchange() as sim, bench_on(sim, tmp_path, hot_hours=1, spot_symbols=()) as bench:
        bench.at(OPEN + MINUTE + SECOND)
        hear(bench.lake, [SYMBOL], OPEN - HOUR, OPEN + MINUTE)
        turn(bench)
        row = bench.lake.ledger.partition(SYMBOL, OPEN)
        assert row is not None
        assert row.sources["agg_trades"].kind == "ws", "what REST said would be cut in while the hour is open"


def heard(bench: Bench, symbol: str, minutes: int) -> None:
    """The collector wrote rows of so many minutes of the open hour."""
    write(bench, symbol, [OPEN + number * MINUTE for number in range(minutes)])


def write(bench: Bench, symbol: str, minutes: list[datetime]) -> None:
    """The collector wrote rows that prove nothing."""
    rows = pl.DataFrame({"timestamp": minutes}).with_columns(
        pl.lit(None, dtype=dtype).alias(name) for name, dtype in LIVE_ROWS.items() if name != "timestamp"
    )
    LiveRows(bench.lake.catalog).merge(symbol, rows.select(list(LIVE_ROWS)).cast(pl.Schema(LIVE_ROWS)))


def test_there_is_one_builder_per_lake_and_it_says_that_it_lives(lake: Automated) -> None:
    bench = lake.bench
    assert last_beat(bench.settings) is None
    with writer_lock(bench.lake.catalog.builder_lock_path), pytest.raises(PartitionBusy):
        turn(bench)
    assert last_beat(bench.settings) is None, "one that is refused says nothing"
    assert not bench.lake.ledger.partitions(SYMBOL, OPEN - HOUR, OPEN + HOUR)
    turn(bench)
    beat = last_beat(bench.settings)
    assert beat is not None
    assert (beat.at, beat.turns, beat.failed) == (BEGAN, 1, {})


def test_an_exchange_that_is_down_is_told_of_and_asked_again_later(lake: Automated) -> None:
    bench = lake.bench
    turn(bench)
    bench.fault("5xx", "/fapi/", times=None)
    failed = turn(bench.at(BEGAN + MINUTE))
    assert failed.behind == [NAME]
    row = bench.lake.ledger.partition(SYMBOL, OPEN)
    assert row is not None
    assert row.row_count == 10, "what was committed stays"
    bench.sim.faults.clear()
    again = turn(bench.at(BEGAN + MINUTE + 2 * SECOND))
    assert [each.row_count for each in again.hours[NAME]] == [11]
