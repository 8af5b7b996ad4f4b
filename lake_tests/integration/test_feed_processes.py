"""Several processes on one table: two writers, readers, a writer killed in the middle, a foreign program."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from lake_assets.feed_1h.history import audit, continuity
from lake_resources.clock import HOUR
from lake_resources.errors import PartitionBusy
from lake_resources.simulator.server import SimulatorServer
from lake_resources.storage.bars_duckdb import BarsTable
from lake_tests.support.killed_at_step import Step

PROJECT = Path(__file__).resolve().parents[2]
FIRST = datetime(2026, 11, 1, tzinfo=UTC)
LATER = FIRST + 201 * HOUR


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "lake_tests.support.feed_worker", *arguments]
    return subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str]) -> dict[str, int]:
    out, error = process.communicate(timeout=600)
    assert process.returncode == 0, error[-3000:]
    found: dict[str, int] = json.loads(out)
    return found


def exchange() -> SimulatorServer:
    return SimulatorServer(symbols=("BTCUSDT",), clock=lambda: LATER, limits=False)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("hours", [24, pytest.param(200, marks=pytest.mark.long)])
def test_two_writers_append_every_hour_once_and_readers_never_see_a_lock(tmp_path: Path, hours: int) -> None:
    with exchange() as sim:
        reader = start("read", str(tmp_path), str(hours))
        assert reader.stdout is not None
        assert reader.stdout.readline() == "reading\n"
        writers = [start("append", str(tmp_path), sim.base_url, FIRST.isoformat(), str(hours)) for _ in range(2)]
        first, second = (ended(writer) for writer in writers)
        assert first.get("append", 0) + second.get("append", 0) == hours
        assert first.get("present", 0) + second.get("present", 0) == hours
        assert ended(reader)["states"] > 1
    table = BarsTable(tmp_path / "ohlcv.duckdb")
    state = table.snapshot()
    start_hour = FIRST.replace(tzinfo=None)
    assert state.rows["timestamp"].to_list() == [start_hour + index * HOUR for index in range(hours)]
    assert continuity(state.rows, start_hour + (hours - 1) * HOUR, hours).sound
    assert audit(state.rows, state.chain).changed == ()
    assert table.published().rows.equals(state.rows)
    assert len(list((tmp_path / "files" / "x").glob("*_api_pull.csv"))) == 2 * hours


KILLS = (
    (Step("/ohlcv.duckdb.lock", 3), 2, 2),
    (Step("/.ohlcv_readonly.", 3), 4, 3),
    (Step("/ohlcv_readonly.duckdb", 2), 5, 4),
    (Step("_for_inference.csv"), 5, 5),
)
"""Steps that writers die before, one after the other; hours in the table then, and in the copy that readers have."""


@pytest.mark.slow
def test_killed_writers_leave_whole_hours_and_the_next_one_goes_on(tmp_path: Path) -> None:
    with exchange() as sim:
        table = BarsTable(tmp_path / "ohlcv.duckdb")
        for step, rows, published in KILLS:
            arguments = (str(tmp_path), sim.base_url, FIRST.isoformat(), "12")
            writer = start("append", *arguments, step.of, str(step.number))
            _, error = writer.communicate(timeout=600)
            assert writer.returncode == -signal.SIGKILL, error[-3000:]
            state = table.snapshot()
            assert audit(state.rows, state.chain).changed == ()
            assert state.rows.height == state.chain.height
            assert (state.rows.height, table.published().rows.height) == (rows, published), step
        assert ended(start("append", *arguments))["append"] == 12 - rows
        assert table.published().rows.height == 12


def test_a_program_that_holds_the_file_is_named(tmp_path: Path) -> None:
    table = BarsTable(tmp_path / "ohlcv.duckdb")
    with table.writer():
        pass
    code = (
        "import duckdb, sys; c = duckdb.connect(sys.argv[1]); c.execute('BEGIN'); print('open', flush=True);"
        " sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(table.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(PartitionBusy, match="another program has the file open"), table.writer():
            raise AssertionError("two writers")
        with duckdb.connect(str(table.published_path), read_only=True) as reader:
            assert reader.execute("SELECT count(*) FROM ohlcv_btcusdt_1h").fetchall() == [(0,)]
        holder.communicate()
    with table.writer() as writer:
        assert writer.state().rows.height == 0
