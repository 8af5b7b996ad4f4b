"""The resident builder killed or stopped in the middle of a turn over several symbols, as a process; runs stand in."""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from lake_assets.dagster_names import HOT_SENSOR, hour_key, sensor_name
from lake_assets.dashboard.chart_series import AskedChart, chart_of
from lake_assets.exports.export import ExportRequest, ExportTarget, write_export
from lake_assets.lake import Lake
from lake_assets.live.live_tail import PROVISIONAL, Listening
from lake_assets.local_stack.places import dagster_home
from lake_assets.metadata import minute_key, table_key
from lake_assets.reading import LoadOptions, load
from lake_assets.resident.builder_beat import last_beat
from lake_assets.resident.hot_tables import RESIDENT_TABLES
from lake_assets.resident.keep_hot import keep_hot_once
from lake_assets.schema.table import Table
from lake_assets.tables.um_minute import UM_MINUTE
from lake_resources import event_log
from lake_resources.clock import HOUR, MINUTE, SECOND, epoch_ms
from lake_resources.collector.segments import SegmentWriter
from lake_resources.dagster_instance import open_instance
from lake_resources.storage.hashing import file_hash
from lake_resources.storage.locks import writer_lock
from lake_resources.storage.reader import read_partition
from lake_tests.support.automated_lake import Automated, automated
from lake_tests.support.forgotten_writer import forget
from lake_tests.support.halted_hot import Halt, halted
from lake_tests.support.live_frames import agg_trade
from lake_tests.support.live_frames import record as frame_of
from lake_tests.support.simulated_lake import DAY, bench_on, exchange

pytestmark = pytest.mark.slow

OPEN = DAY + 15 * HOUR
BEGAN = OPEN + 10 * MINUTE + SECOND
FIRST, SECOND_ONE = "BTCUSDT", "ETHUSDT"
SYMBOLS = (FIRST, SECOND_ONE)
BEFORE, NOW = hour_key(OPEN - HOUR), hour_key(OPEN)
TABLES = pytest.mark.parametrize("table", RESIDENT_TABLES, ids=[table.name for table in RESIDENT_TABLES])


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Automated]:
    instance = dg.DagsterInstance.ephemeral()
    with exchange(symbols=SYMBOLS) as sim:
        given = {"symbols": SYMBOLS, "spot_symbols": SYMBOLS, "spot_rest_url": sim.base_url, "start": DAY.date()}
        with bench_on(sim, tmp_path, hot_hours=1, hot_builder_silent_s=20, **given) as bench:
            bench.at(BEGAN)
            with automated(bench, instance) as found:
                yield found
    instance.dispose()


def point(lake: Lake, name: str, hour: datetime) -> Halt:
    """Where the builder is halted at the second symbol: rows staged, in the commit, or between rename and row.

    Minutes of all symbols are committed at once: theirs are staged before the first lock is taken.
    """
    catalog = lake.catalog
    if name == "staged":
        return Halt("open", str(catalog.lock_path(FIRST if lake.table is UM_MINUTE else SECOND_ONE)))
    return Halt("os.rename", str(catalog.partition_path(SECOND_ONE, hour)), after=name == "renamed")


def stand_in(lake: Automated, at: datetime) -> list[str]:
    """What the sensors of all hot tables ask for then is executed; their runs."""
    return [run for table in RESIDENT_TABLES for run in lake.tick_and_run(sensor_name(HOT_SENSOR, table.layout), at)]


def committed(lake: Automated) -> dict[tuple[str, str, datetime], tuple[int, str]]:
    """Rows and hash of each partition; its file has these bytes, its rows are all different and without a gap."""
    found = {}
    for table in RESIDENT_TABLES:
        own = lake.bench.lake.of(table)
        assert own.ledger.intents() == [], "nothing is left half-way"
        for symbol in SYMBOLS:
            for row in own.ledger.partitions(symbol, OPEN - HOUR, OPEN + HOUR):
                assert file_hash(own.files.here(row.path)) == row.content_hash, row
                times = read_partition(own.store, row)[table.layout.time_column]
                wanted = [row.start + n * table.layout.grain for n in range(row.row_count)]
                assert times.to_list() == wanted, (table.name, symbol, row.start)
                found[table.name, symbol, row.start] = row.row_count, row.content_hash
    return found


def whole(table: Table, minutes: int) -> int:
    """Rows of so many closed minutes; the second that a minute ends in is closed a second later."""
    return minutes if table is UM_MINUTE else minutes * 60


@TABLES
@pytest.mark.parametrize("name", ["staged", "renaming", "renamed"])
def test_a_builder_killed_at_one_symbol_of_a_turn_loses_nothing_and_runs_stand_in(
    lake: Automated, table: Table, name: str
) -> None:
    bench = lake.bench
    own = bench.lake.of(table)
    with halted("build", bench.settings, BEGAN, signal.SIGKILL, point(own, name, OPEN)) as builder:
        assert builder.returncode == -signal.SIGKILL
    at_once = table is UM_MINUTE and name == "staged"
    assert (own.ledger.partition(FIRST, OPEN) is None) == at_once, "the symbol before it is committed, by itself"
    assert bool(own.ledger.intents()) == (name != "staged")
    assert stand_in(lake, BEGAN + 19 * SECOND) == [], "it may be at work"
    runs = stand_in(lake, BEGAN + 62 * SECOND)
    assert len(runs) == len(RESIDENT_TABLES)
    after = committed(lake)
    for each in RESIDENT_TABLES:
        for symbol in SYMBOLS:
            assert after[each.name, symbol, OPEN - HOUR][0] == whole(each, 60)
            assert after[each.name, symbol, OPEN][0] >= whole(each, 11)
    keep_hot_once(bench.lake, bench.settings, say=bench.reports.append)
    assert last_beat(bench.settings) is not None
    assert stand_in(lake, bench.now + 10 * SECOND) == [], "it is back"
    again = committed(lake)
    assert all(again[key][0] >= rows for key, (rows, _) in after.items())


@TABLES
def test_a_writer_that_hangs_with_one_symbol_keeps_the_others_of_a_turn_waiting_for_seconds(
    lake: Automated, table: Table
) -> None:
    bench = lake.bench
    own = bench.lake.of(table)
    with writer_lock(own.catalog.lock_path(FIRST)):
        turn = keep_hot_once(bench.lake, bench.settings, say=bench.reports.append)
        name = table_key(table.layout, FIRST).to_user_string()
        assert list(turn.failed) == [name]
        assert "another writer held it for 5 s" in turn.failed[name]
        assert own.ledger.partition(FIRST, OPEN) is None
        assert own.ledger.partition(SECOND_ONE, OPEN) is not None
    assert keep_hot_once(bench.lake, bench.settings, say=bench.reports.append).failed == {}
    assert committed(lake)[table.name, FIRST, OPEN][0] >= whole(table, 10)


@TABLES
def test_a_builder_that_was_stopped_and_goes_on_does_not_put_older_rows_over_newer_ones(
    lake: Automated, table: Table
) -> None:
    """What it was told was wrong; what runs were told, which stood in for it while it stood still, is right."""
    bench = lake.bench
    column, path = ("4", "markPriceKlines") if table is UM_MINUTE else ("5", "/api/v3/klines")
    wrong = bench.fault("scaled", path, column=column, by=1.01, every=1, times=None, query=SECOND_ONE)
    with halted("build", bench.settings, BEGAN, signal.SIGSTOP, point(bench.lake.of(table), "staged", OPEN)) as builder:
        bench.sim.faults.remove(wrong)
        assert stand_in(lake, BEGAN + 21 * SECOND)
        before = committed(lake)
        assert before[table.name, SECOND_ONE, OPEN][0] >= whole(table, 10)
        builder.send_signal(signal.SIGCONT)
        said, _ = builder.communicate(timeout=240)
        assert builder.returncode == 0
    assert committed(lake) == before
    assert "kept_better" in said, said


def told(lake: Automated) -> list[tuple[str, str | None]]:
    """Symbol and partition of each materialization of minutes, in order; each shows what is committed."""
    found = []
    for symbol in SYMBOLS:
        wanted = dg.AssetRecordsFilter(asset_key=minute_key(symbol))
        for record in lake.instance.fetch_materializations(wanted, limit=100, ascending=True).records:
            event, key = record.asset_materialization, record.partition_key
            row = lake.bench.lake.ledger.partition(symbol, OPEN if key == NOW else OPEN - HOUR)
            assert event is not None
            assert row is not None
            assert event.metadata["content_hash"].value == row.content_hash[:16]
            found.append((symbol, key))
    return found


def checked(lake: Automated) -> list[int]:
    """Rows of a check, by symbol."""
    storage = lake.instance.event_log_storage
    keys = [dg.AssetCheckKey(minute_key(symbol), "continuity") for symbol in SYMBOLS]
    return [len(storage.get_asset_check_execution_history(key, limit=100)) for key in keys]


def test_a_daemon_killed_while_it_tells_has_told_each_commit_once_when_it_is_back(
    lake: Automated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first symbol was told, the second was not, and no cursor was written."""
    bench = lake.bench
    keep_hot_once(bench.lake, bench.settings, say=bench.reports.append)
    monkeypatch.setenv("DAGSTER_HOME", str(dagster_home(bench.settings)))
    with open_instance() as instance, automated(bench, instance) as daemon:
        with halted("tell", bench.settings, bench.now, signal.SIGKILL, Halt("os.utime", ".db")) as teller:
            assert teller.returncode == -signal.SIGKILL
        assert told(daemon) == [(FIRST, BEFORE), (FIRST, NOW)]
        assert checked(daemon) == [2, 0]
        assert "2 of its commits were told" in str(daemon.tick(HOT_SENSOR).skip_message)
        assert told(daemon) == [(s, key) for s in SYMBOLS for key in (BEFORE, NOW)]
        assert checked(daemon) == [2, 2]
        cursor = daemon.cursors[HOT_SENSOR]
        assert "no commit of it" in str(daemon.tick(HOT_SENSOR).skip_message)
        assert daemon.cursors[HOT_SENSOR] == cursor


def test_commits_are_told_once_each_after_the_event_log_was_locked_and_runs_stand_in_meanwhile(
    lake: Automated, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = lake.bench
    keep_hot_once(bench.lake, bench.settings, say=bench.reports.append)
    monkeypatch.setenv("DAGSTER_HOME", str(dagster_home(bench.settings)))
    monkeypatch.setattr(event_log, "SQLITE_BUSY_TIMEOUT_SECONDS", 0.2)
    with open_instance() as instance, automated(bench, instance) as daemon:
        assert told(daemon) == [], "which makes the file"
        (index,) = dagster_home(bench.settings).rglob("index.db")
        with sqlite3.connect(index, isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            assert "no commit of it" in str(daemon.tick(HOT_SENSOR).skip_message)
            assert daemon.tick(HOT_SENSOR, BEGAN + 62 * SECOND).run_requests, "the builder is silent"
            other.execute("ROLLBACK")
        assert told(daemon) == []
        keep_hot_once(bench.lake, bench.settings, say=bench.reports.append)
        assert "4 of its commits were told" in str(daemon.tick(HOT_SENSOR).skip_message)
        assert "no commit of it" in str(daemon.tick(HOT_SENSOR).skip_message)
        assert told(daemon) == [(symbol, key) for symbol in SYMBOLS for key in (BEFORE, NOW)]
        assert checked(daemon) == [2, 2]


def test_a_damaged_file_of_one_symbol_keeps_neither_telling_nor_runs_from_the_others(lake: Automated) -> None:
    bench = lake.bench
    keep_hot_once(bench.lake, bench.settings, say=bench.reports.append)
    path = bench.lake.catalog.partition_path(FIRST, OPEN)
    path.write_bytes(path.read_bytes()[:100])
    assert "2 of its commits were told" in str(lake.tick(HOT_SENSOR).skip_message)
    assert told(lake) == [(SECOND_ONE, BEFORE), (SECOND_ONE, NOW)]
    runs = len(lake.instance.get_runs())
    assert "no commit of it" in str(lake.tick(HOT_SENSOR).skip_message)
    assert len(lake.instance.get_runs()) == runs, "what cannot be told leaves no empty run"
    assert stand_in(lake, BEGAN + 62 * SECOND), "the builder is silent"
    assert committed(lake)["um_minute", FIRST, OPEN][0] == 11, "built anew"


def hear_minutes(lake: Lake, first: int, last: int) -> None:
    """Trades of the symbol that is halted, as the collector of another one hears them: six a minute, all touching."""
    writer = SegmentWriter(lake.catalog.live_records_dir)
    times = range(epoch_ms(OPEN + first * MINUTE) + 100, epoch_ms(OPEN + last * MINUTE), 10_000)
    for number, ms in enumerate(times):
        frame = frame_of(number, agg_trade(number + 1, ms))
        writer.add(*frame[:4], SECOND_ONE, *frame[5:7])
    writer.write(writer.take()[0], 1)
    forget(writer)


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL])
@pytest.mark.parametrize(("name", "since"), [("staged", 10), ("renaming", 10), ("renamed", 11)])
def test_live_readers_see_each_minute_once_wherever_the_builder_is_halted(
    lake: Automated, name: str, since: int, how: signal.Signals
) -> None:
    bench = lake.bench
    keep_hot_once(bench.lake, bench.settings, say=bench.reports.append)
    hear_minutes(bench.lake, 8, 14)
    now = OPEN + 13 * MINUTE + SECOND
    options: LoadOptions = {"settings": bench.settings, "clock": lambda: now, "live": True}
    wanted = [OPEN + n * MINUTE for n in range(13)]

    def seen() -> None:
        frame, certificate = load(SECOND_ONE, OPEN, OPEN + HOUR, **options)
        rows = frame.collect()
        assert rows["timestamp"].to_list() == wanted
        assert certificate.live_from == OPEN + since * MINUTE
        assert certificate.live_rows == 13 - since
        live = rows.filter(pl.col("timestamp") >= certificate.live_from)
        assert live[PROVISIONAL].all()
        assert live["oi_contracts"].null_count() == live.height, "what sockets do not tell is not invented"
        assert live["trade_count"].to_list() == [12] * live.height
        request = ExportRequest(OPEN, OPEN + HOUR, live=Listening.by(bench.settings, now))
        target = ExportTarget(bench.settings.lake_root / "exports", "parquet", "simulator")
        done = write_export(bench.lake.store, SECOND_ONE, request, target, now=now, lag_minutes=3)
        assert done.row_count == 13
        chart = chart_of(AskedChart(UM_MINUTE, SECOND_ONE, OPEN, now), settings=bench.settings, clock=lambda: now)
        assert chart.bars["time"].to_list() == [int(at.timestamp()) for at in wanted]

    later = BEGAN + MINUTE
    bench.at(later)
    with halted("build", bench.settings, later, how, point(bench.lake, name, OPEN)):
        seen()
    assert keep_hot_once(bench.lake, bench.settings, say=bench.reports.append).failed == {}
    since = 11
    seen()
