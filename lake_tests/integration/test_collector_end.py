"""The collector's process ends within 10 s, and lives on, whatever hangs: REST, the ledger, the disk, live rows."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lake_assets.live.recorder import run_collector
from lake_resources.collector.collector import Collector, CollectorSettings
from lake_resources.collector.intake import Intake
from lake_resources.collector.journal import ConnectionRow, Journal
from lake_resources.collector.segments import SegmentWriter
from lake_resources.errors import SettingsError
from lake_resources.settings import LakeSettings
from lake_resources.simulator.faults import Fault
from lake_resources.simulator.server import SimulatorServer
from lake_tests.support.collecting import collect_until, records_of
from lake_tests.support.observers import SilentObserver
from lake_tests.support.waiting import wait_until

SYMBOLS = ("BTCUSDT", "ETHUSDT")


@pytest.fixture
def sim() -> Iterator[SimulatorServer]:
    with SimulatorServer(seed=7, symbols=SYMBOLS, rate_per_min=600, limits=False) as server:
        yield server


@contextmanager
def trickling() -> Iterator[str]:
    """A REST host that sends a byte now and then, and never an end: no time-out of a socket notices."""
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)

        def trickle(peer: socket.socket) -> None:
            with peer:
                peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
                while not stop.wait(0.5):
                    try:
                        peer.sendall(b" ")
                    except OSError:
                        return

        def serve() -> None:
            while not stop.is_set():
                try:
                    peer, _ = server.accept()
                except TimeoutError:
                    continue
                threads.append(threading.Thread(target=trickle, args=(peer,)))
                threads[-1].start()

        threads = [threading.Thread(target=serve)]
        threads[0].start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            stop.set()
            for thread in threads:
                thread.join()


@contextmanager
def locked(root: Path) -> Iterator[sqlite3.Connection]:
    """Another process keeps the ledger for itself."""
    other = sqlite3.connect(root / "ledger.sqlite", isolation_level=None, timeout=60, check_same_thread=False)
    try:
        other.execute("BEGIN IMMEDIATE")
        yield other
    finally:
        other.close()


@contextmanager
def process(root: Path, sim: SimulatorServer, rest_url: str) -> Iterator[subprocess.Popen[bytes]]:
    """`lake collect`, once it has opened both its sockets and has a record on disk."""
    given = {
        "LAKE_ROOT": str(root), "LAKE_SYMBOLS": ",".join(SYMBOLS), "LAKE_SPOT_SYMBOLS": "",
        "LAKE_REST_URL": rest_url, "LAKE_WS_URL": sim.ws_url,
        "PATH": os.defpath, "HOME": str(root),
    }  # fmt: skip
    command = [str(Path(sys.executable).with_name("lake")), "collect"]
    with (root / "log").open("wb") as log:
        running = subprocess.Popen(command, env=given, cwd=root, stdout=log, stderr=log)
    try:
        wait_until(lambda: list(root.rglob("*.open")), "a record")
        wait_until(lambda: len(connections(root)) == 2, "both sockets", every_s=0.2)
        yield running
    finally:
        running.kill()
        running.wait()


HANGS_S = 600.0
"""What hangs here hangs so long; a collector that waited for it would not end before."""
ENDS_S = 240.0
"""It gives up after a few seconds; the rest is for machines with other work."""


def ended_by_itself(running: subprocess.Popen[bytes]) -> bool:
    """Whether it ends long before what hangs would let it."""
    running.send_signal(signal.SIGTERM)
    return running.wait(ENDS_S) == 0


def connections(root: Path) -> list[ConnectionRow]:
    journal = Journal(f"sqlite:///{root / 'ledger.sqlite'}", "um")
    try:
        return journal.connections()
    finally:
        journal.close()


@pytest.mark.slow
def test_a_hanging_rest_and_a_locked_ledger_do_not_keep_it(sim: SimulatorServer, tmp_path: Path) -> None:
    with trickling() as rest_url, process(tmp_path, sim, rest_url) as running, locked(tmp_path):
        assert ended_by_itself(running)
    assert not list(tmp_path.rglob("*.open"))


@pytest.mark.slow
def test_a_slow_rest_does_not_keep_it(sim: SimulatorServer, tmp_path: Path) -> None:
    sim.faults.add(Fault("slow", path="/fapi/v1/depth", delay_s=HANGS_S))
    with process(tmp_path, sim, sim.base_url) as running:
        assert ended_by_itself(running)
    assert not list(tmp_path.rglob("*.open"))
    assert [row.reason for row in connections(tmp_path)] == ["the collector stops"] * 2


class SlowDisk(SegmentWriter):
    """A disk that takes minutes for what comes after the first flush."""

    flushes = 0

    def write(self, buffers: Any, first_seq: int) -> None:
        SlowDisk.flushes += 1
        if SlowDisk.flushes > 1:
            time.sleep(HANGS_S)
        super().write(buffers, first_seq)


class SlowRows(SilentObserver):
    """An observer whose last rows take minutes."""

    def finish(self) -> Callable[[], None] | None:
        return lambda: time.sleep(HANGS_S)


class NoRest:
    """REST that never answers."""

    def depth(self, symbol: str) -> dict[str, Any]:
        time.sleep(HANGS_S)
        return {}

    def agg_trades_by_id(self, symbol: str, first_id: int, last_id: int) -> list[dict[str, Any]]:
        time.sleep(HANGS_S)
        return []


WORKER = """
import sys
from lake_tests.integration.test_collector_end import hang
hang(*sys.argv[1:])
"""


def hang(root: str, ws_url: str, slow: str) -> None:
    """A collector of which all hangs, in a process of its own, for two seconds and what its end takes."""
    segments = Path(root) / "live"
    writer = SlowDisk(segments) if slow == "disk" else SegmentWriter(segments)
    intake = Intake(SYMBOLS, writer, SlowRows(), time.time_ns, 1)
    journal = Journal(f"sqlite:///{root}/ledger.sqlite", "um", busy_ms=2_000)
    collector = Collector(CollectorSettings(SYMBOLS, ws_url, segments), intake, NoRest(), journal)

    async def run() -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(2.0, stop.set)
        asyncio.get_running_loop().call_later(2.0, partial(print, "stop", flush=True))
        await collector.run(stop)

    asyncio.run(run())


@pytest.mark.slow
@pytest.mark.parametrize("slow", ["disk", "rows"])
def test_nothing_that_hangs_keeps_it(sim: SimulatorServer, tmp_path: Path, slow: str) -> None:
    command = [sys.executable, "-c", WORKER, str(tmp_path), sim.ws_url, slow]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"stop\n"
        try:
            assert running.wait(ENDS_S) == 0
        finally:
            running.kill()


@pytest.mark.slow
def test_a_locked_ledger_keeps_no_record_and_no_row(sim: SimulatorServer, tmp_path: Path) -> None:
    given: dict[str, Any] = {"_env_file": None}
    settings = LakeSettings(root=tmp_path, rest_url=sim.base_url, ws_url=sim.ws_url, symbols=SYMBOLS, **given)
    journal = Journal(f"sqlite:///{tmp_path / 'ledger.sqlite'}", "um")
    collect_until(settings, lambda: wait_until(lambda: len(journal.connections()) == 2, "both sockets", every_s=0.1))

    def spans_four_seconds() -> bool:
        heard_ns = [frame.received_ns for frame in records_of(tmp_path, "BTCUSDT") if frame.received_ns > began_ns]
        return len(heard_ns) > 1 and heard_ns[-1] - heard_ns[0] > 4_000_000_000

    def recorded_while_locked() -> None:
        wait_until(spans_four_seconds, "records, which do not wait for the ledger", every_s=0.2)
        assert holder.in_transaction
        holder.rollback()
        wait_until(lambda: journal.gaps("healed"), "the healed gap", every_s=0.1)

    sim.faults.add(Fault("ws_gap", stream="btcusdt@aggTrade", every=5, count=2, times=1))
    with locked(tmp_path) as holder:
        began_ns = time.time_ns()
        parts = collect_until(settings, recorded_while_locked)

    assert [row.reason for row in parts.journal.connections()] == ["the collector stops"] * 4
    assert {gap.status for gap in parts.journal.gaps()} == {"healed"}


def test_more_streams_than_a_socket_carries_are_refused_at_the_start(tmp_path: Path) -> None:
    symbols = tuple(f"A{number}USDT" for number in range(342))
    given: dict[str, Any] = {"_env_file": None}
    settings = LakeSettings(root=tmp_path, rest_url="http://127.0.0.1:1", symbols=symbols, **given)
    with pytest.raises(SettingsError, match=r"1026 streams of one socket.*at most 341 symbols in LAKE_SYMBOLS"):
        run_collector(settings, say=lambda _: None, for_s=0.1)
    CollectorSettings(symbols[:341], "ws://127.0.0.1:1", tmp_path)
