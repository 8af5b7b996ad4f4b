"""A copy taken while the lake goes on is consistent, and a lake made of it is the lake of that moment."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from lake_assets.reading import scan_minutes
from lake_resources.errors import LedgerError, SettingsError
from lake_resources.storage.backup import Named
from lake_resources.storage.bars_duckdb import CHAIN_SCHEMA, DIFFERENCE_SCHEMA, ROW_SCHEMA, BarsTable
from lake_resources.storage.commit import commit_partitions
from lake_resources.storage.root import claim_root
from lake_resources.storage.store import Store
from lake_tests.support.sound_hours import FIRST, HOUR, NOW, SYMBOL, candidate, commit_sound, open_files, sound_rows
from lake_tests.support.stores import store_at
from lake_tests.support.terminal import ok, run

END = FIRST + 24 * HOUR


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A lake of six hours, live rows and a 1H table, which the environment names."""
    root = tmp_path / "lake"
    claim_root(root, "simulator")
    found = open_files(root)
    commit_sound(found, FIRST, 6)
    live = root / "live" / "um" / "symbol=BTCUSDT" / "part.parquet"
    live.parent.mkdir(parents=True)
    pl.DataFrame({"a": [1]}).write_parquet(live)
    with BarsTable(root / "feed" / "ohlcv.duckdb").writer() as writer:
        hour = FIRST.replace(tzinfo=None)
        rows = pl.DataFrame([(hour, 1.0, 2.0, 0.5, 1.5, 3.0, hour)], schema=ROW_SCHEMA, orient="row")
        chain = pl.DataFrame([(hour, "a")], schema=CHAIN_SCHEMA, orient="row")
        writer.append(rows, chain, pl.DataFrame(schema=DIFFERENCE_SCHEMA), seen_at=NOW)
    monkeypatch.setenv("LAKE_ROOT", str(root))
    monkeypatch.setenv("LAKE_SYMBOLS", SYMBOL)
    monkeypatch.chdir(tmp_path)
    yield found
    found.close()


def rewritten(store: Store, version: int) -> None:
    """The same hours with other values: each file and row of the ledger is replaced."""
    rows = sound_rows(FIRST, 6).with_columns(close=pl.lit(float(version)))
    parts = [candidate(FIRST + n * HOUR, rows.slice(60 * n, 60)) for n in range(6)]
    commit_partitions(store, SYMBOL, parts, clock=lambda: NOW)


def test_a_restored_lake_is_the_lake_of_the_backup(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = scan_minutes(SYMBOL, FIRST, END).collect()
    held = store.ledger.partitions(SYMBOL, FIRST, END)
    told = json.loads(ok("backup", "copy", "--json"))
    assert (told["named"], told["rounds"], told["with_feed"]) == (6, 1, True)
    rewritten(store, 9)
    monkeypatch.setenv("LAKE_ROOT", str(tmp_path / "elsewhere" / "lake"))
    (tmp_path / "elsewhere").mkdir()
    assert "watermark 2026-01-15 05:59" in ok("restore", "copy")
    assert scan_minutes(SYMBOL, FIRST, END).collect().equals(rows)
    new = store_at(tmp_path / "elsewhere" / "lake")
    assert new.ledger.partitions(SYMBOL, FIRST, END) == held
    assert BarsTable(new.root / "feed" / "ohlcv.duckdb").snapshot().rows.height == 1
    assert (new.root / "live" / "um" / "symbol=BTCUSDT" / "part.parquet").is_file()
    new.close()
    assert "missing" not in ok("audit", "--start", "2026-01-15", "--end", "2026-01-15T06:00")


def test_a_copy_taken_while_hours_are_replaced_is_consistent(store: Store, tmp_path: Path) -> None:
    rewritten(store, 0)
    stop = threading.Event()

    def write() -> None:
        version = 0
        while not stop.is_set():
            version += 1
            rewritten(store, version)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(3):
            ok("backup", f"copy-{number}")
    finally:
        stop.set()
        writer.join()
    for number in range(3):
        copy = store_at(tmp_path / f"copy-{number}")
        closes = [
            pl.read_parquet(copy.catalog.absolute(row.path))["close"].unique().to_list()
            for row in copy.ledger.partitions(SYMBOL, FIRST, END)
        ]
        copy.close()
        assert len(closes) == 6
        assert all(each == closes[0] for each in closes), closes


def test_a_lake_that_lost_its_mark_is_backed_up_and_restored(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (store.root / "EXCHANGE").unlink()
    assert json.loads(ok("backup", "copy", "--json"))["exchange"] == "simulator"
    monkeypatch.setenv("LAKE_ROOT", str(tmp_path / "new"))
    ok("restore", "copy")
    monkeypatch.setenv("LAKE_EXCHANGE", "binance")
    assert "holds data of the exchange 'simulator'" in str(run("show-watermark").exception)


def test_a_lost_hour_is_told_and_leaves_no_half_copy(store: Store, tmp_path: Path) -> None:
    store.catalog.partition_path(SYMBOL, FIRST).unlink()
    result = run("backup", "copy")
    assert isinstance(result.exception, LedgerError)
    assert "hour=00" in str(result.exception)
    assert not (tmp_path / "copy").exists()
    assert not (tmp_path / ".copy.partial").exists()


def test_nothing_is_written_over(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ok("backup", "copy")
    assert isinstance(run("backup", "copy").exception, SettingsError)
    assert isinstance(run("backup", str(store.root / "copy")).exception, SettingsError)
    assert "is there already" in str(run("restore", "copy").exception)
    monkeypatch.setenv("LAKE_ROOT", str(tmp_path / "new"))
    assert isinstance(run("restore", str(store.root)).exception, SettingsError)
    (tmp_path / "copy" / store.catalog.relative(store.catalog.partition_path(SYMBOL, FIRST))).write_bytes(b"torn")
    damaged = run("restore", "copy")
    assert isinstance(damaged.exception, LedgerError)
    assert "hour=00" in str(damaged.exception)
    assert not (tmp_path / "new").exists()


def test_a_lake_that_was_moved_is_read_where_it_lies_now(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = scan_minutes(SYMBOL, FIRST, END).collect()
    store.close()
    shutil.move(store.root, tmp_path / "moved")
    monkeypatch.setenv("LAKE_ROOT", str(tmp_path / "moved"))
    assert scan_minutes(SYMBOL, FIRST, END).collect().equals(rows)
    assert "2026-01-15 05:59" in ok("show-watermark")
    assert not store.root.exists()


def test_files_of_before_and_after_a_commit_are_told_from_a_whole_one() -> None:
    """What a copy is not taken of while its writer is alive: two files renamed, a third not yet."""
    named = Named({path: {"old", "new"} for path in "abc"}, set(), dict.fromkeys("abc", "new"))
    assert named.is_between({"a": "new", "b": "new", "c": "old"})
    assert not named.is_between(dict.fromkeys("abc", "old"))
    assert not named.is_between(dict.fromkeys("abc", "new"))
    assert not Named({}, set(), {}).is_between({})
