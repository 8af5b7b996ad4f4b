"""Several hostile answers at once take no more memory than one: bounds of the whole process (real sockets)."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.server import ServerConnection, serve

from lake_resources.binance.ws.stream_session import SessionLimits, StreamSession
from lake_resources.clock import MINUTE_MS
from lake_resources.collector.connection import MOST_BUFFERED_BYTES, Connection
from lake_resources.collector.intake import Intake
from lake_resources.collector.segments import SegmentWriter
from lake_resources.errors import MalformedAnswer, OverLimit, TransportError
from lake_resources.input_limits import DEFAULT_LIMITS, InputLimits
from lake_resources.yahoo.yahoo_minutes import YahooMinutes
from lake_tests.bench.meter import peak_mib
from lake_tests.support.hostile_host import hostile
from lake_tests.support.waiting import wait_until

NOW = datetime(2026, 11, 25, 15, 30, tzinfo=UTC)
MIB = 1 << 20
ASK = """
import sys, tempfile
sys.path.insert(0, sys.argv[1])
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from lake_resources.binance.rest.rest_client import BinanceRest, Patience
from lake_resources.errors import LakeError
from lake_resources.governor import WeightGovernor
now = datetime(2026, 11, 19, 9, tzinfo=UTC)
def ask(name):
    try:
        if name == "server_time":
            rest.server_time()
        else:
            rest.fetch(name, "BTCUSDT", now - timedelta(hours=2), now - timedelta(hours=1))
    except LakeError as error:
        return type(error).__name__
with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(8) as threads:
    governor = WeightGovernor(Path(folder) / "governor.sqlite", lambda: now, share=1.0, sleep=lambda _: None)
    rest = BinanceRest(
        sys.argv[2], governor=governor, clock=lambda: now, patience=Patience(timeout_s=240, attempts=1)
    )
    said = set(threads.map(ask, ["server_time", "klines_1m", "agg_trades", "metrics"] * 2))
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(int(status["VmHWM"].split()[0]) // 1024, *sorted(map(str, said)))
"""


def answered(body: bytes, *headers: bytes) -> list[bytes]:
    head = [b"HTTP/1.1 200 OK", b"Connection: close", b"Content-Length: %d" % len(body), *headers]
    return [b"\r\n".join([*head, b"", b""]), body]


def wide() -> list[list[bytes]]:
    """Bodies just below every limit, each of which becomes a hundred MiB or more."""
    values = DEFAULT_LIMITS.answer_values - 1000
    keys = b"{" + b",".join(b'"k%06d":"v%06d"' % (number, number) for number in range(values)) + b"}"
    objects = b"[" + b",".join(b'{"a":%d}' % number for number in range(values // 2)) + b"]"
    text = b'[["' + "𐀀".encode() * (15 * MIB // 4) + b'",1,1,1,1,1,1,1,1,1,1,1]]'
    packed = gzip.compress(b"1" * (64 * MIB), 1)
    return [answered(keys), answered(objects), answered(text), answered(packed, b"Content-Encoding: gzip")]


def test_eight_answers_at_once_stay_below_300_mib() -> None:
    turns = itertools.cycle(wide())
    lock = threading.Lock()

    def pieces() -> list[bytes]:
        with lock:
            return next(turns)

    with hostile(pieces) as url:
        command = [sys.executable, "-c", ASK, str(Path(__file__).parents[2]), url]
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=480).stdout.split()
    assert set(said[1:]) == {"MalformedAnswer", "OverLimit"}
    assert int(said[0]) < 300


@pytest.fixture
def flood() -> Iterator[tuple[str, Callable[[], int]]]:
    """An exchange that sends frames as large as may be, as fast as they are read; and how many of them it sent."""
    sent = 0

    def handle(socket: ServerConnection) -> None:
        nonlocal sent
        for _ in itertools.count():
            socket.send("x" * (DEFAULT_LIMITS.frame_bytes - 100))
            sent += 1

    with serve(handle, "127.0.0.1", 0, compression=None) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}", lambda: sent


class Nobody:
    """Makes nothing of records."""

    pressing = False

    def feed(self, _frame: Any) -> None:
        """Take a record."""

    def checkpoint(self, _symbol: str) -> None:
        """No state."""

    def work(self) -> None:
        """Nothing to write."""

    def finish(self) -> None:
        """Nothing to write."""


def test_a_flood_waits_in_the_socket_while_the_disk_does_not_follow(
    flood: tuple[str, Callable[[], int]], tmp_path: Path
) -> None:
    url, sent = flood

    async def read() -> tuple[int, int]:
        writer = SegmentWriter(tmp_path)
        intake = Intake(["BTCUSDT"], writer, Nobody(), lambda: int(NOW.timestamp() * 1e9), 1)
        connection = Connection(1, url, StreamSession("public", ("BTCUSDT",), SessionLimits()), intake, lambda: 0.0)
        while writer.buffered_bytes <= MOST_BUFFERED_BYTES:
            await asyncio.wait([connection.done], timeout=0.05)
            assert not connection.done.done(), connection.done.result()
        before, still = -1, 0
        while still < 10:  # until nothing more fits into the queue and the system's buffers
            await asyncio.sleep(0.05)
            still = still + 1 if sent() == before else 0
            before = sent()
        held = writer.buffered_bytes
        writer.take()  # the disk follows again
        while not writer.buffered_bytes:
            await asyncio.wait([connection.done], timeout=0.05)
        await connection.close("the test is over")
        return held, before

    held, sent_frames = asyncio.run(asyncio.wait_for(read(), 240))
    assert held <= MOST_BUFFERED_BYTES + DEFAULT_LIMITS.frame_bytes
    assert sent_frames < 100


def hostile_frames() -> Iterator[str]:
    """What no exchange sends: frames of a MiB that are nothing, or many values; trades of random years."""
    size, now_ms, chance = DEFAULT_LIMITS.frame_bytes - 200, int(datetime.now(UTC).timestamp() * 1000), random.Random(7)
    wide = "{" + ",".join(f'"k{n:06d}":{n}' for n in range(60_000)) + "}"
    for number in itertools.count(1):
        yield ("x" * size, "[" * size, '{"a":' * (size // 5), "[" + "1.5," * (size // 4 - 1) + "1]", wide)[number % 5]
        for n in range(200 * number, 200 * number + 200):
            at = now_ms - MINUTE_MS * chance.randrange(3_000_000)
            yield json.dumps({
                "e": "aggTrade", "E": at, "s": "BTCUSDT", "a": 2 * n, "p": "100.0", "q": "1.0", "f": n, "l": n, "T": at,
                "m": False,
            })  # fmt: skip


@pytest.fixture
def hostile_exchange() -> Iterator[tuple[str, Callable[[], int]]]:
    """An exchange that sends nothing else, as fast as it is read; and how many frames it sent."""
    frames, lock, sent = hostile_frames(), threading.Lock(), 0

    def handle(socket: ServerConnection) -> None:
        nonlocal sent
        while True:
            with lock:
                frame, sent = next(frames), sent + 1
            socket.send(frame)

    with serve(handle, "127.0.0.1", 0, compression=None) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}", lambda: sent


def test_a_collector_of_hostile_frames_stays_below_300_mib(
    hostile_exchange: tuple[str, Callable[[], int]], tmp_path: Path
) -> None:
    (url, sent), nobody, root = hostile_exchange, "http://127.0.0.1:9", tmp_path / "lake"
    given = {"ROOT": root, "SYMBOLS": "BTCUSDT", "WS_URL": url, "REST_URL": nobody, "VISION_URL": nobody}
    environment = os.environ | {f"LAKE_{name}": str(value) for name, value in given.items()}
    with (tmp_path / "log").open("w") as log:
        command = [sys.executable, "-m", "lake_assets.live.process"]
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            wait_until(lambda: sent() > 10_000, "ten thousand frames")
            peak = peak_mib(process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()
    assert process.returncode == 0, (tmp_path / "log").read_text()
    assert peak < 300
    # Each minute has files of its own, and these trades are of ten thousand minutes.
    assert len(list(root.rglob("*.seg"))) < 1000


YAHOO = {
    "a body without end": (
        lambda: itertools.chain([b"HTTP/1.1 200 OK\r\n\r\n"], itertools.repeat(b"1" * 65_536)),
        OverLimit,
    ),
    "a body that inflates": (lambda: answered(gzip.compress(bytes(16 * MIB)), b"Content-Encoding: gzip"), OverLimit),
    "too many values": (lambda: answered(b"[" + b"1," * 30_000 + b"1]"), OverLimit),
    "lists in lists": (lambda: answered(b'{"chart":' + b"[" * 9_000), MalformedAnswer),
    "a time that is none": (
        lambda: answered(b'{"chart":{"result":[{"meta":{"regularMarketTime":1e300},"timestamp":[1e300]}]}}'),
        MalformedAnswer,
    ),
    "no HTTP": (lambda: [b"SSH-2.0\r\n"], TransportError),
}


@pytest.mark.parametrize("name", YAHOO)
def test_what_yahoos_host_sends_is_bounded(name: str, tmp_path: Path) -> None:
    pieces, error = YAHOO[name]
    limits = InputLimits(answer_bytes=MIB, answer_values=10_000)
    with hostile(pieces) as url, pytest.raises(error):
        YahooMinutes(url, tmp_path, timeout_s=60, limits=limits).minutes("SPY", NOW - timedelta(hours=3), NOW, now=NOW)
