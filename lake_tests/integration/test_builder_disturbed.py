"""Turns of the resident builder while exchange, disk or ledger fail: nothing is invented or lost, the same at last."""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from lake_assets.lake import Lake
from lake_assets.resident.hot_builder import Turn
from lake_assets.resident.hot_tables import RESIDENT_TABLES
from lake_assets.resident.keep_hot import keep_hot_once
from lake_resources.clock import HOUR, MINUTE, SECOND
from lake_resources.simulator.market.specs import Listing
from lake_resources.simulator.server import SimulatorServer
from lake_resources.storage.hashing import file_hash
from lake_resources.storage.ledger import engine
from lake_resources.storage.reader import read_partition
from lake_tests.support.simulated_lake import DAY, SYMBOL, Bench, bench_on, exchange

pytestmark = pytest.mark.slow

OPEN = DAY + 15 * HOUR
DISK_BYTES = 64 << 20
FAULTS: dict[str, dict[str, Any]] = {
    "429": {"retry_after_s": 30.0},
    "418": {"retry_after_s": 150.0},
    "5xx": {},
    "cut": {},
    "garbage": {},
    "missing_minutes": {"path": "klines", "start": OPEN + 9 * MINUTE, "end": OPEN + 11 * MINUTE},
    "duplicated": {},
    "unordered": {},
}
"""What the exchange does to each request of three turns, or to those that a path names."""


def bench(sim: SimulatorServer, root: Path, **given: object) -> Any:
    further: dict[str, Any] = {"spot_symbols": (SYMBOL,), "spot_rest_url": sim.base_url, "start": DAY.date()}
    return bench_on(sim, root, hot_hours=1, **(further | given))


def turn(bench: Bench, at: datetime) -> Turn:
    return keep_hot_once(bench.at(at).lake, bench.settings, say=bench.reports.append)


def committed(lake: Lake) -> dict[tuple[str, datetime], tuple[int, str]]:
    """Rows and hash by table and hour: files have these bytes, and rows that follow each other without a hole."""
    found = {}
    for table in RESIDENT_TABLES:
        own = lake.of(table)
        for row in own.ledger.partitions(SYMBOL, OPEN - HOUR, OPEN + HOUR):
            assert file_hash(own.files.here(row.path)) == row.content_hash
            times = read_partition(own.store, row)[table.layout.time_column]
            assert times.to_list() == [row.start + n * table.layout.grain for n in range(row.row_count)]
            found[table.name, row.start] = row.row_count, row.content_hash
    return found


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatorServer]:
    with exchange() as found:
        yield found


@pytest.fixture(scope="module")
def undisturbed(sim: SimulatorServer, tmp_path_factory: pytest.TempPathFactory) -> dict[Any, Any]:
    """What turns leave that nothing disturbs."""
    with bench(sim, tmp_path_factory.mktemp("undisturbed")) as found:
        turn(found, OPEN + 10 * MINUTE + SECOND)
        turn(found, OPEN + 63 * MINUTE + SECOND)
        return committed(found.lake)


@pytest.mark.parametrize("kind", FAULTS)
def test_what_the_exchange_does_to_turns_is_not_in_the_lake_at_last(
    sim: SimulatorServer, tmp_path: Path, undisturbed: dict[Any, Any], kind: str
) -> None:
    with bench(sim, tmp_path) as found:
        turn(found, OPEN + 10 * MINUTE + SECOND)
        before = committed(found.lake)
        found.fault(kind, **({"path": "/api/|/fapi/", "times": None} | FAULTS[kind]))
        for minute in (11, 12, 13):
            disturbed = turn(found, OPEN + minute * MINUTE + SECOND)
            now = committed(found.lake)
            assert all(now[key][0] >= count for key, (count, _) in before.items()), "what was committed stays"
            assert disturbed.behind or all(now[key][0] > count for key, (count, _) in before.items() if key[1] == OPEN)
        sim.faults.clear()
        again = turn(found, OPEN + 17 * MINUTE + SECOND)
        assert (again.failed, again.behind) == ({}, [])
        assert committed(found.lake)["um_minute", OPEN][0] == 17
        turn(found, OPEN + 63 * MINUTE + SECOND)
        assert committed(found.lake) == undisturbed
        for table in RESIDENT_TABLES:
            assert found.lake.of(table).ledger.quarantined(SYMBOL, OPEN - HOUR, OPEN + HOUR) == []


def test_a_symbol_whose_trading_ends_while_it_is_kept_hot_has_what_there_was_and_is_waited_for_no_more(
    tmp_path: Path,
) -> None:
    ended = OPEN + 30 * MINUTE
    with exchange(listings={SYMBOL: Listing(delivery=ended)}) as sim, bench(sim, tmp_path, spot_symbols=()) as found:
        for minute in (29, 30, 31, 34, 63, 64):
            last = turn(found, OPEN + minute * MINUTE + SECOND)
            assert last.failed == {}
            assert committed(found.lake)["um_minute", OPEN][0] == min(minute, 30)
        assert last.behind == [], "the exchange's list was read when the hour was to be sealed"
        row = found.lake.ledger.partition(SYMBOL, OPEN)
        assert row is not None
        assert (row.row_count, row.complete) == (30, True)
        sealed = committed(found.lake)
        turn(found, OPEN + 76 * MINUTE + SECOND)
        assert committed(found.lake) == sealed


def test_a_ledger_that_is_locked_for_longer_than_a_writer_waits_fails_turns_and_ends_nothing(
    sim: SimulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "BUSY_TIMEOUT_MS", 200)
    with bench(sim, tmp_path) as found:
        turn(found, OPEN + 10 * MINUTE + SECOND)
        before = committed(found.lake)
        with sqlite3.connect(found.settings.lake_root / "ledger.sqlite", isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            locked = turn(found, OPEN + 11 * MINUTE + SECOND)
            other.execute("ROLLBACK")
        assert {name.split("/")[0] for name in locked.failed} == {"um", "spot"}
        assert all("PartitionBusy" in text for text in locked.failed.values())
        assert committed(found.lake) == before
        again = turn(found, OPEN + 11 * MINUTE + 3 * SECOND)
        assert (again.failed, again.behind) == ({}, [])
        assert committed(found.lake)["um_minute", OPEN][0] == 11


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own; skips where mounting is not permitted."""
    place = tmp_path / "disk"
    place.mkdir()
    try:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(place)]
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"mounting a tmpfs is not permitted: {error}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path, leave: int) -> Path:
    """Take all space but so many bytes."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * (1 << 16))
        except OSError:
            pass
    with filler.open("r+b") as file:
        file.truncate(filler.stat().st_size - leave)
    return filler


@pytest.mark.parametrize("leave", [0, 16_384, 65_536])
def test_a_disk_that_fills_up_fails_turns_and_what_was_committed_stays(
    sim: SimulatorServer, disk: Path, undisturbed: dict[Any, Any], leave: int
) -> None:
    with bench(sim, disk) as found:
        turn(found, OPEN + 10 * MINUTE + SECOND)
        before = committed(found.lake)
        filler = fill(disk, leave)
        for minute in (11, 12):
            full = turn_or_error(lambda at=OPEN + minute * MINUTE + SECOND: turn(found, at))  # type: ignore[misc]
            assert "DiskFull" in full, full
        filler.unlink()
        again = turn(found, OPEN + 12 * MINUTE + 3 * SECOND)
        assert (again.failed, again.behind) == ({}, [])
        now = committed(found.lake)
        assert all(now[key][0] >= count for key, (count, _) in before.items())
        assert now["um_minute", OPEN][0] == 12
        turn(found, OPEN + 63 * MINUTE + SECOND)
        assert committed(found.lake) == undisturbed
        assert list(found.lake.catalog.temp_dir.iterdir()) == []


def turn_or_error(take: Callable[[], Turn]) -> str:
    """What failed in a turn."""
    try:
        return str(take().failed)
    except Exception as error:  # noqa: BLE001 - it is asserted on
        return type(error).__name__
