"""Files of live rows when something is wrong: damage, other versions, records that are gone, writes that failed."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import polars as pl
import pytest

import lake_assets.live.row_files as module
from lake_assets.live.folding import LiveRecorder, rebuild
from lake_assets.live.row_files import LiveRows
from lake_assets.transforms.live.live_fold import fold_records
from lake_assets.transforms.live.live_rows import LIVE_ROWS
from lake_resources.binance.ws.frames import HEALED, Frame
from lake_resources.collector.segments import SegmentWriter, prune
from lake_resources.errors import StorageError
from lake_resources.storage.locks import writer_lock
from lake_tests.support.live_frames import MINUTE, START_MS, SYMBOL, agg_trade, alive, depth, record
from lake_tests.support.stores import store_at

HOUR = datetime.fromtimestamp(START_MS // 1000, UTC).replace(minute=0, second=0)
STAMP = datetime.fromtimestamp(START_MS // 1000, UTC)


@pytest.fixture
def rows(tmp_path: Path) -> LiveRows:
    return LiveRows(store_at(tmp_path).catalog)


def minute_of_frames(trades: int = 3) -> list[Frame]:
    """A minute in which all was heard, and the first second after it."""
    data = [agg_trade(100 + n, START_MS + 1000 * n) for n in range(trades)]
    data += [depth(1, 5, 0, START_MS + 500), *alive(START_MS, START_MS + 60_000)]
    return [record(number, each) for number, each in enumerate(data, start=1)]


def healed(seq: int, *trades: tuple[int, int]) -> Frame:
    """Trades from REST: id, ms after the start of the minute."""
    data = [agg_trade(number, START_MS + ms) for number, ms in trades]
    return Frame(seq, START_MS * 1_000_000, 0, HEALED, SYMBOL, MINUTE, orjson.dumps(data), data)


def fold(frames: list[Frame]) -> pl.DataFrame:
    return fold_records(SYMBOL, frames, MINUTE, MINUTE + 1)


def test_a_row_that_saw_less_does_not_replace_the_one_that_is_there(rows: LiveRows) -> None:
    whole = fold(minute_of_frames())
    rows.merge(SYMBOL, whole)
    rows.merge(SYMBOL, fold([healed(200, (103, 3000))]))
    assert rows.read(SYMBOL, HOUR, HOUR + timedelta(hours=1)).equals(whole)

    more = fold([*minute_of_frames(trades=4), healed(201, (104, 5000))])
    rows.merge(SYMBOL, more)
    assert rows.read(SYMBOL, HOUR, HOUR + timedelta(hours=1)).equals(more)


def test_healing_after_retention_took_the_records_leaves_the_row_alone(rows: LiveRows, tmp_path: Path) -> None:
    root = tmp_path / "records"
    write(root, minute_of_frames())
    kept = rebuild(root, rows, SYMBOL, MINUTE, MINUTE + 1)
    assert kept["has_depth"].to_list() == [True]
    prune(root, STAMP + timedelta(days=3), timedelta(hours=48), 1 << 40)
    write(root, [healed(300, (103, 3000))])

    rebuild(root, rows, SYMBOL, MINUTE, MINUTE + 1)

    assert rows.read(SYMBOL, HOUR, HOUR + timedelta(hours=1)).equals(kept)


def test_rows_of_an_earlier_version_lack_what_was_added_since(rows: LiveRows) -> None:
    whole = fold(minute_of_frames())
    path = rows.path(SYMBOL, HOUR)
    path.parent.mkdir(parents=True)
    whole.drop("book_ticker_alive").write_parquet(path)

    found = rows.read(SYMBOL, HOUR, HOUR + timedelta(hours=1))
    assert dict(found.schema) == LIVE_ROWS
    assert found["book_ticker_alive"].to_list() == [None]
    assert found.drop("book_ticker_alive").equals(whole.drop("book_ticker_alive"))


def test_rows_of_a_later_version_are_not_guessed_at(rows: LiveRows) -> None:
    path = rows.path(SYMBOL, HOUR)
    path.parent.mkdir(parents=True)
    fold(minute_of_frames()).with_columns(new_column=1).write_parquet(path)
    with pytest.raises(StorageError, match="does not know: new_column"):
        rows.read(SYMBOL, HOUR, HOUR + timedelta(hours=1))


def test_a_damaged_file_is_told_of_and_does_not_stop_the_hour(rows: LiveRows, caplog: pytest.LogCaptureFixture) -> None:
    whole = fold(minute_of_frames())
    path = rows.path(SYMBOL, HOUR)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"PAR1 torn")
    with pytest.raises(StorageError, match=r"do not read back(.|\n)*lake rebuild-live"):
        rows.read(SYMBOL, HOUR, HOUR + timedelta(hours=1))
    assert rows.newest_trade_id(SYMBOL) is None

    with caplog.at_level(logging.ERROR):
        rows.merge(SYMBOL, whole)

    assert "damaged" in caplog.text
    assert path.with_name(f"{path.name}.damaged").read_bytes() == b"PAR1 torn"
    assert rows.read(SYMBOL, HOUR, HOUR + timedelta(hours=1)).equals(whole)
    assert rows.newest_trade_id(SYMBOL) == 102


def test_rows_that_could_not_be_written_are_folded_again(
    rows: LiveRows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LOCK_TIMEOUT_S", 0.0)
    root, now_ns = tmp_path / "records", START_MS * 1_000_000
    recorder = LiveRecorder([SYMBOL], root, rows, lambda: now_ns)
    write(root, minute_of_frames())
    for frame in minute_of_frames():
        recorder.feed(frame)
    now_ns += 120 * 1_000_000_000
    job = recorder.work()
    assert job is not None
    with writer_lock(rows.catalog.live_lock_path(SYMBOL)), pytest.raises(Exception, match="another writer"):
        job()
    assert rows.read(SYMBOL, HOUR, HOUR + timedelta(hours=1)).is_empty()

    for _ in range(2):
        now_ns += 6_000_000_000
        if (job := recorder.work()) is not None:
            job()

    found = rows.read(SYMBOL, HOUR, HOUR + timedelta(hours=1))
    assert found.filter(pl.col("timestamp") == STAMP).equals(fold(minute_of_frames()))


def test_a_start_folds_minutes_that_never_became_a_row(rows: LiveRows, tmp_path: Path) -> None:
    root, now_ns = tmp_path / "records", (START_MS + 3_600_000) * 1_000_000
    write(root, minute_of_frames())
    write(root, [record(400, agg_trade(500, START_MS + 30 * 60_000))])
    recorder = LiveRecorder([SYMBOL], root, rows, lambda: now_ns)
    recorder.resume()
    for _ in range(2):
        now_ns += 6_000_000_000
        if (job := recorder.work()) is not None:
            job()

    found = rows.read(SYMBOL, HOUR, HOUR + timedelta(hours=2))
    assert found.filter(pl.col("timestamp") == STAMP).equals(fold(minute_of_frames()))


def write(root: Path, frames: list[Frame]) -> None:
    writer = SegmentWriter(root)
    for frame in frames:
        writer.add(frame.seq, frame.received_ns, frame.conn, frame.kind, frame.symbol, frame.minute, frame.payload)
    buffers, _ = writer.take()
    writer.write(buffers, frames[0].seq)
    writer.close_before(None)


def test_what_is_kept_in_memory_is_one_version_of_each_of_the_files_read_last(
    rows: LiveRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_KEPT_HOURS", 3)
    monkeypatch.setattr(module, "_kept", {})
    first = datetime(2026, 1, 1, tzinfo=UTC)
    one = pl.DataFrame([{"timestamp": first}], schema=LIVE_ROWS)
    for hour in range(5):
        at = first + timedelta(hours=hour)
        rows.merge(SYMBOL, one.with_columns(timestamp=pl.lit(at).cast(LIVE_ROWS["timestamp"])))
        assert rows.read(SYMBOL, at, at + timedelta(hours=1)).height == 1
    kept = [rows.path(SYMBOL, first + timedelta(hours=hour)) for hour in (2, 3, 4)]
    assert list(module._kept) == kept
    newest = first + timedelta(hours=4)
    rows.merge(SYMBOL, one.with_columns(timestamp=pl.lit(newest + timedelta(minutes=1)).cast(LIVE_ROWS["timestamp"])))
    assert rows.read(SYMBOL, newest, newest + timedelta(hours=1)).height == 2, "another version is read anew"
    assert list(module._kept) == kept
