"""Runs of the feed on a real DuckDB file and real files, against a scripted exchange (acceptance case A-23)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from lake_resources.errors import PartitionBusy, ServerError, StorageError
from lake_resources.storage.bars_duckdb import BarsTable
from lake_resources.storage.locks import writer_lock
from lake_tests.bench.feed_1h import (
    DAY,
    NOW,
    FeedBench,
    at,
    case_bar,
    case_bars,
    csv_hours,
    failed_checks,
    feed_bench,
    long_bars,
    outcomes,
    statuses,
)

pytestmark = pytest.mark.slow


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[FeedBench]:
    with feed_bench(tmp_path) as found:
        yield found


@pytest.fixture
def grown(tmp_path: Path) -> Iterator[FeedBench]:
    """A feed whose table holds 800 hours until 12:00; the exchange has 13:00, too."""
    bars = long_bars(at(13), 801)
    with feed_bench(tmp_path, bars) as found:
        found.seed({hour: bar for hour, bar in bars.items() if hour <= at(12)})
        yield found


def test_the_newest_closed_hour_is_appended_once(bench: FeedBench) -> None:
    bench.seed(case_bars(11, 12))
    done = bench.run()
    assert statuses(done) == ["append"]
    assert done.stats.startswith("pulled=3 validated=2 appended=1 target=2024-01-15 13:00 coverage=3 rows")
    again = bench.run()
    assert statuses(again) == ["present"]
    assert "appended=0" in again.stats
    assert bench.hours() == [11, 12, 13]
    assert failed_checks(again) == {"inference_file"}


def test_the_table_is_exactly_as_designed(bench: FeedBench) -> None:
    bench.run()
    described = bench.sql(
        "SELECT column_name, data_type, is_nullable, column_default FROM information_schema.columns "
        "WHERE table_name = 'ohlcv_btcusdt_1h' ORDER BY ordinal_position"
    )
    doubles = [(name, "DOUBLE", "YES", None) for name in ("open", "high", "low", "close", "volume")]
    assert described[0] == ("timestamp", "TIMESTAMP", "NO", None)
    assert described[1:6] == doubles
    assert described[6][:2] == ("created_at", "TIMESTAMP")
    assert "get_current_timestamp" in str(described[6][3]) or "CURRENT_TIMESTAMP" in str(described[6][3])
    keys = "SELECT constraint_column_names FROM duckdb_constraints() WHERE table_name = 'ohlcv_btcusdt_1h'"
    assert (["timestamp"],) in bench.sql(f"{keys} AND constraint_type = 'PRIMARY KEY'")
    assert bench.sql("SELECT * FROM ohlcv_btcusdt_1h") == [
        (at(13), 150.0, 152.0, 148.0, 151.0, 10.0, NOW.replace(tzinfo=None))
    ]


def test_an_empty_table_grows_hour_by_hour(bench: FeedBench) -> None:
    for hour in (8, 9, 10):
        assert statuses(bench.run(hour)) == ["append"]
    assert bench.hours() == [8, 9, 10]


def test_missed_hours_are_caught_up_in_order(bench: FeedBench) -> None:
    bench.seed(case_bars(8, 9))
    refused = bench.run()
    assert statuses(refused) == ["refused"]
    assert "lake feed-1h --catch-up" in refused.hours[0].verdict.reason
    assert bench.hours() == [8, 9]
    done = bench.run(catch_up=True)
    assert statuses(done) == ["append"] * 4
    assert (done.pulled, done.validated) == (6, 2)
    assert bench.hours() == [8, 9, 10, 11, 12, 13]
    assert statuses(bench.run(catch_up=True)) == ["present"]


def test_an_empty_table_is_seeded_to_thirty_days_and_buffer(tmp_path: Path) -> None:
    with feed_bench(tmp_path, long_bars(at(13), 900)) as bench:
        done = bench.run(catch_up=True)
        assert (len(done.hours), done.inference_problem) == (727, None)
        assert failed_checks(done) == set()
        assert done.coverage == (727, at(13 - 726), at(13))


@pytest.mark.parametrize(
    ("column", "value"), [(0, "140.01"), (3, "99999"), (4, "10.000000001")], ids=["open", "close", "volume"]
)
def test_a_restated_bar_appends_nothing_and_keeps_both_versions(bench: FeedBench, column: int, value: str) -> None:
    bench.seed(case_bars(8, 12))
    bar = case_bar(12)
    bar[column] = value
    bench.exchange.bars[at(12)] = bar
    before = bench.rows()
    for done in (bench.run(), bench.run()):
        assert statuses(done) == ["refused"]
        name = ("open", "high", "low", "close", "volume")[column]
        text = f"2024-01-15 12:00 {name}: table {float(case_bar(12)[column])!r}, exchange {float(value)!r}"
        assert text in done.hours[0].verdict.reason
        assert outcomes(done)["api_db_parity"].metadata["first_mismatch"] == text
        assert failed_checks(done) >= {"api_db_parity"}
        assert done.artifacts.differences is not None
        kept = pl.read_csv(done.artifacts.differences)
        assert kept.rows() == [("2024-01-15 12:00:00", name, float(case_bar(12)[column]), float(value))]
        assert csv_hours(done.artifacts.api_pull) == [11, 12, 13]
    assert bench.rows().equals(before)
    assert bench.feed.table.differences().rows() == [(at(12), name, float(case_bar(12)[column]), float(value))]


def test_a_changed_last_row_of_the_table_is_found(bench: FeedBench) -> None:
    bench.seed(case_bars(8, 12))
    bench.sql("UPDATE ohlcv_btcusdt_1h SET close = 99999 WHERE timestamp = '2024-01-15 12:00:00'")
    done = bench.run(catch_up=True)
    assert statuses(done) == ["refused"]
    assert "2024-01-15 12:00 close: table 99999.0, exchange 141.0" in done.hours[0].verdict.reason
    assert failed_checks(done) >= {"api_db_parity", "append_only"}
    assert bench.hours() == [8, 9, 10, 11, 12]


def test_a_lagging_exchange_is_refused_and_the_snapshot_is_written(bench: FeedBench) -> None:
    bench.seed(case_bars(8, 12))
    del bench.exchange.bars[at(13)]
    del bench.exchange.bars[at(14)]
    done = bench.run()
    assert statuses(done) == ["waiting"]
    assert (
        "does not have 2024-01-15 13:00 yet, its newest closed bar is 2024-01-15 12:00" in done.hours[0].verdict.reason
    )
    assert csv_hours(done.artifacts.api_pull) == [11, 12]
    assert csv_hours(done.artifacts.inference) == [8, 9, 10, 11, 12]
    assert bench.feed.files.latest() is None
    assert bench.hours() == [8, 9, 10, 11, 12]


@pytest.mark.parametrize(
    ("hours", "text"),
    [([12], "2024-01-15 13:00 follows 2024-01-15 11:00"), ([11], "2024-01-15 11:00 is in the table and not in")],
)
def test_a_missing_bar_is_refused(bench: FeedBench, hours: list[int], text: str) -> None:
    bench.seed(case_bars(8, 12))
    for hour in hours:
        del bench.exchange.bars[at(hour)]
    done = bench.run()
    assert statuses(done) == ["refused"]
    assert text in done.hours[0].verdict.reason
    assert bench.hours() == [8, 9, 10, 11, 12]


@pytest.mark.parametrize("hour", [12, 13])
def test_a_doubled_hour_is_refused(bench: FeedBench, hour: int) -> None:
    bench.seed(case_bars(8, 12))
    bench.exchange.twice.add(at(hour))
    done = bench.run()
    assert statuses(done) == ["refused"]
    assert f"{at(hour):%Y-%m-%d %H:%M} more than once" in done.hours[0].verdict.reason
    assert csv_hours(done.artifacts.api_pull).count(hour) == 2
    assert bench.hours() == [8, 9, 10, 11, 12]


@pytest.mark.parametrize("text", ["NaN", "", "what?"])
def test_what_is_no_number_is_refused(bench: FeedBench, text: str) -> None:
    bench.seed(case_bars(8, 12))
    bench.exchange.bars[at(13)] = [*case_bar(13)[:3], text, "10"]
    done = bench.run()
    assert statuses(done) == ["refused"]
    assert "2024-01-15 13:00 has no number in close" in done.hours[0].verdict.reason
    assert failed_checks(done) >= {"api_db_parity", "ohlc"}
    assert bench.hours() == [8, 9, 10, 11, 12]


def test_a_clock_that_runs_ahead_never_appends_an_open_candle(bench: FeedBench) -> None:
    bench.seed(case_bars(8, 13))
    bench.skew = timedelta(minutes=40)  # this machine: 15:03:45, the exchange: 14:23:45, 14:00 is running
    done = bench.run()
    assert statuses(done) == ["waiting"]
    reason = done.hours[0].verdict.reason
    assert "the candle of 2024-01-15 14:00 is not closed: the exchange's clock says 2024-01-15 14:23:45" in reason
    assert any("2400.0 s ahead of the exchange's" in warning for warning in done.warnings)
    assert csv_hours(done.artifacts.api_pull) == [12, 13, 14]
    assert bench.hours()[-1] == 13


def test_a_clock_that_is_behind_is_told_of(bench: FeedBench) -> None:
    bench.seed(case_bars(8, 12))
    bench.skew = timedelta(seconds=-11)
    done = bench.run()
    assert statuses(done) == ["append"]
    assert any("11.0 s behind the exchange's" in warning for warning in done.warnings)
    assert outcomes(done)["api_db_parity"].metadata["clock_skew_s"] == -11.0
    bench.skew = timedelta(seconds=9)
    assert not any("clock" in warning for warning in bench.run().warnings)


def test_files_of_a_complete_run(grown: FeedBench) -> None:
    done = grown.run()
    assert failed_checks(done) == set()
    folder = grown.feed.options.persist_dir / "binance_btcusdt_p_60"
    pull, inference = folder / "20240115_142345Z_2_api_pull.csv", folder / "20240115_142345Z_2_for_inference.csv"
    assert (done.artifacts.api_pull, done.artifacts.inference) == (pull, inference)
    assert pull.read_text().splitlines()[0] == "timestamp,open,high,low,close,volume"
    lines = inference.read_text().splitlines()
    assert lines[0] == "timestamp,open,high,low,close,volume"
    assert len(lines) == 1 + 727
    assert lines[-1].startswith("2024-01-15 13:00:00,")
    latest = json.loads((folder / "latest.json").read_text())
    assert (latest["run_time"], latest["rows"], latest["source"]) == ("20240115_142345Z_2", 727, "db")
    assert (folder / "latest_for_inference.csv").read_bytes() == inference.read_bytes()
    table = grown.rows().tail(727).drop("created_at")
    assert pl.read_csv(inference, try_parse_dates=True).rows() == table.rows()
    assert not list(folder.glob(".*csv*"))


def test_the_pointer_never_goes_back_or_to_an_incomplete_file(grown: FeedBench) -> None:
    first = grown.run()
    newest = grown.feed.files.latest()
    assert newest is not None
    assert grown.run(12).inference_problem is None
    assert grown.feed.files.latest() == newest
    grown.exchange.now += timedelta(hours=1)
    assert statuses(grown.run()) == ["waiting"]
    assert grown.feed.files.latest() == newest
    assert newest["for_inference"] == first.artifacts.inference.name


@pytest.mark.parametrize("rows", [726, 727])
def test_consumers_need_727_rows(tmp_path: Path, rows: int) -> None:
    bars = long_bars(at(13), rows)
    with feed_bench(tmp_path, bars) as bench:
        bench.seed({hour: bar for hour, bar in bars.items() if hour <= at(12)})
        done = bench.run()
        assert statuses(done) == ["append"]
        complete = rows == 727
        assert (done.inference_problem is None) == complete
        assert ("inference_file" in failed_checks(done)) != complete
        assert (bench.feed.files.latest() is not None) == complete


def test_the_inference_file_can_come_from_the_exchange(grown: FeedBench) -> None:
    done = grown.set(inference_source="api").run()
    assert (done.inference_source, done.inference_rows, done.inference_problem) == ("api", 727, None)
    assert done.fallback is None
    from_table = grown.set(inference_source="db").run()
    assert from_table.artifacts.inference.read_bytes() == done.artifacts.inference.read_bytes()


def test_a_flagged_table_falls_back_to_the_exchange(grown: FeedBench) -> None:
    grown.sql("UPDATE ohlcv_btcusdt_1h SET volume = volume + 1 WHERE timestamp = '2024-01-01 12:00:00'")
    done = grown.run()
    assert (done.inference_source, done.fallback) == ("api", "earlier rows of the table changed")
    assert done.inference_problem is None
    assert failed_checks(done) == {"append_only"}
    assert outcomes(done)["append_only"].metadata["first_changed"] == "2024-01-01 12:00"
    latest = grown.feed.files.latest()
    assert latest is not None
    assert (latest["source"], latest["fallback"]) == ("api", "earlier rows of the table changed")


def test_a_hole_in_the_history_is_found_and_falls_back(grown: FeedBench) -> None:
    grown.sql("DELETE FROM ohlcv_btcusdt_1h WHERE timestamp = '2024-01-01 12:00:00'")
    done = grown.run()
    assert failed_checks(done) == {"append_only", "continuity"}
    assert outcomes(done)["continuity"].metadata["missing"] == 1
    assert (done.inference_source, done.inference_rows) == ("api", 727)


def test_a_restatement_falls_back_to_the_exchange(grown: FeedBench) -> None:
    grown.exchange.bars[at(12)][3] = "42000.5"
    done = grown.run()
    assert (statuses(done), done.inference_source) == (["refused"], "api")
    assert done.fallback == "the table differs from the exchange"
    assert done.artifacts.inference.read_text().splitlines()[-2].split(",")[4] == "42000.5"


def test_an_unreadable_table_falls_back_and_fails(grown: FeedBench) -> None:
    grown.feed.table.path.write_bytes(b"not a database, but long enough to be read")
    done = grown.run()
    assert isinstance(done.error, StorageError)
    assert statuses(done) == ["refused"]
    assert "is no DuckDB file" in done.hours[0].verdict.reason
    assert (done.inference_source, done.inference_rows, done.inference_problem) == ("api", 727, None)
    assert failed_checks(done) == {"api_db_parity", "continuity", "append_only"}


def test_a_failing_exchange_still_leaves_files(grown: FeedBench) -> None:
    grown.exchange.broken = 503
    done = grown.run()
    assert isinstance(done.error, ServerError)
    assert statuses(done) == ["waiting"]
    assert done.artifacts.api_pull.read_text() == "timestamp,open,high,low,close,volume\n"
    assert done.inference_problem == "ends at 2024-01-15 12:00, not at 2024-01-15 13:00"
    assert grown.hours()[-1] == 12


def test_a_dry_run_writes_files_and_not_the_table(bench: FeedBench) -> None:
    done = bench.run(catch_up=True, dry_run=True)
    assert "appended=0 (dry run, would append" in done.stats
    assert not bench.feed.table.path.exists()
    bench.seed(case_bars(8, 12))
    done = bench.run(dry_run=True)
    assert statuses(done) == ["append"]
    assert bench.hours() == [8, 9, 10, 11, 12]
    assert csv_hours(done.artifacts.inference) == [8, 9, 10, 11, 12, 13]
    assert bench.feed.files.latest() is None


def test_old_files_go_and_the_pointed_ones_and_the_evidence_stay(grown: FeedBench) -> None:
    folder = grown.feed.files.directory
    assert grown.run().inference_problem is None
    pointed = grown.feed.files.latest()
    assert pointed is not None
    old = {path.name for path in folder.glob("2*")}
    (folder / "20230101_000000Z_differences.csv").write_text("evidence")
    (folder / "notes.csv").write_text("mine")
    grown.exchange.now += timedelta(days=31)
    grown.run()
    left = {path.name for path in folder.iterdir()}
    assert old & left == {pointed["api_pull"], pointed["for_inference"]}
    assert {"20230101_000000Z_differences.csv", "notes.csv"} <= left
    grown.set(keep_days=0)
    grown.exchange.now += timedelta(days=400)
    grown.run()
    assert left <= {path.name for path in folder.iterdir()}


def test_a_table_of_another_program_is_adopted(bench: FeedBench) -> None:
    bench.sql("CREATE TABLE ohlcv_btcusdt_1h (timestamp TIMESTAMP PRIMARY KEY, open DOUBLE, high DOUBLE, low DOUBLE,"
              " close DOUBLE, volume DOUBLE, created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP)")  # fmt: skip
    for hour in (11, 12):
        values = ", ".join(case_bar(hour))
        bench.sql(f"INSERT INTO ohlcv_btcusdt_1h VALUES ('{at(hour)}', {values}, NULL)")
    assert bench.run(dry_run=True).validated == 2
    done = bench.run(catch_up=True)
    assert statuses(done) == ["append"]
    assert outcomes(done)["append_only"].passed
    bench.sql("UPDATE ohlcv_btcusdt_1h SET low = 1 WHERE timestamp = '2024-01-15 11:00:00'")
    assert "append_only" in failed_checks(bench.run())


def test_another_table_of_that_name_is_refused(bench: FeedBench) -> None:
    bench.sql("CREATE TABLE ohlcv_btcusdt_1h (timestamp TIMESTAMP, price DOUBLE)")
    done = bench.run()
    assert "holds another ohlcv_btcusdt_1h" in done.hours[0].verdict.reason
    assert bench.sql("SELECT count(*) FROM ohlcv_btcusdt_1h") == [(0,)]


def test_a_second_writer_waits_then_fails_with_a_clear_message(bench: FeedBench) -> None:
    table: BarsTable = bench.feed.table
    bench.run()
    with (
        writer_lock(table.lock_path),
        pytest.raises(PartitionBusy, match=r"another writer held it for 0\.2 s"),
        table.writer(timeout_s=0.2),
    ):
        raise AssertionError("two writers")
    assert bench.hours() == [13]


def test_the_copy_for_readers_follows_each_append_and_repairs_itself(bench: FeedBench) -> None:
    table = bench.feed.table
    assert table.published().rows.height == 0
    bench.run(8)
    assert table.published_path.name == "ohlcv_readonly.duckdb"
    bench.run(9)
    assert table.published().rows.equals(table.snapshot().rows)
    table.published_path.unlink()  # as if the process had died between append and publishing
    bench.run(9)
    assert table.published().rows.height == 2
    assert [path.name for path in table.path.parent.glob(".ohlcv*")] == []


def test_a_table_set_aside_is_kept_and_begun_anew(bench: FeedBench) -> None:
    bench.seed(case_bars(8, 12))
    aside = bench.feed.table.set_aside("20240115_142345Z")
    assert aside is not None
    assert BarsTable(aside).snapshot().rows.height == 5
    assert bench.rows().height == 0
    assert statuses(bench.run()) == ["append"]
    assert DAY + timedelta(hours=13) == bench.rows()["timestamp"][0]
