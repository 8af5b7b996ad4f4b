"""Whatever a host sends, a call ends in an error of the tree, in bounded time and memory (real sockets)."""

from __future__ import annotations

import gzip
import itertools
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from lake_resources.binance.archives.vision_client import VisionClient
from lake_resources.binance.um_streams import UM_STREAMS
from lake_resources.errors import ExchangeError, OverLimit, TransportError
from lake_resources.http import HttpClient
from lake_resources.input_limits import InputLimits
from lake_tests.support.hostile_host import Pieces, hostile

HEAD = b"HTTP/1.1 200 OK\r\n"
PLAIN = HEAD + b"Connection: close\r\n\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
STRICT = InputLimits(answer_bytes=1 << 20, download_bytes=1 << 20, answer_s=1.0, download_s=1.0, slow_s=0.3)
SMALL = InputLimits(answer_bytes=1 << 20, download_bytes=1 << 20)
"""For what ends by itself or by its size, on any machine."""
PACKED = gzip.compress(bytes(64 << 20), 1)


def without_end(start: bytes, piece: bytes) -> Pieces:
    return lambda: itertools.chain([start], itertools.repeat(piece))


def slowly(start: bytes, piece: bytes = b"1") -> Pieces:
    def pieces() -> Iterable[bytes]:
        yield start
        while True:
            time.sleep(0.05)
            yield piece

    return pieces


OVER = {
    "a body without end": without_end(PLAIN, b"1" * 65_536),
    "chunks without end": without_end(CHUNKED, b"8000\r\n" + b"1" * 0x8000 + b"\r\n"),
    "a chunk that is larger than any file": without_end(CHUNKED + b"ffffffffffff\r\n", b"1" * 65_536),
    "a length that is larger than any file": without_end(
        HEAD + b"Content-Length: 99999999999999\r\n\r\n", b"1" * 65_536
    ),
    "a byte now and then": slowly(PLAIN),
    "a status line, a byte now and then": slowly(b"HTTP/1.1 200 "),
    "headers, a byte now and then": slowly(HEAD + b"X: "),
    "nothing but 100 Continue": without_end(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
    "trailers without end": without_end(CHUNKED + b"0\r\n", b"X: 1\r\n" * 1000),
}
BROKEN = {
    "no HTTP": lambda: [b"SSH-2.0-OpenSSH_9.6\r\n"],
    "nothing": list,
    "a header line without end": without_end(HEAD, b"X" * 65_536),
    "headers without end": without_end(HEAD, b"X: 1\r\n" * 1000),
    "a chunk length that is none": lambda: [CHUNKED + b"zz\r\nabc\r\n"],
    "a chunk length without end": without_end(CHUNKED, b"1" * 65_536),
    "a negative chunk": lambda: [CHUNKED + b"-5\r\nabc\r\n"],
    "two lengths": lambda: [HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc"],
    "a cut body": lambda: [HEAD + b"Content-Length: 300\r\n\r\nabc"],
    "gzip that is none": lambda: [HEAD + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"],
    "packed again and again": lambda: [HEAD + b"Content-Encoding: " + b"gzip, " * 50 + b"gzip\r\n\r\nabc"],
}


def client_of(url: str, limits: InputLimits) -> HttpClient:
    return HttpClient(url, timeout_s=30, connections=1, gzip=True, limits=limits)


def got(url: str, limits: InputLimits, *, streamed: bool) -> None:
    client = client_of(url, limits)
    try:
        if streamed:
            with client.stream("/x") as answer:
                for _ in answer.pieces:
                    pass
        else:
            client.get("/x")
    finally:
        client.close()


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("name", OVER)
def test_what_has_no_end_is_given_up_at_a_limit(name: str, streamed: bool) -> None:
    with hostile(OVER[name]) as url, pytest.raises(OverLimit, match=r"GET http://127.0.0.1:\d+/x: .*LAKE_LIMITS__"):
        got(url, STRICT, streamed=streamed)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_http_is_a_transport_error(name: str, streamed: bool) -> None:
    with hostile(BROKEN[name]) as url, pytest.raises(TransportError, match="no complete answer"):
        got(url, SMALL, streamed=streamed)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_packed_body_is_given_up_where_it_inflates_too_far(streamed: bool) -> None:
    head = HEAD + f"Content-Encoding: gzip\r\nContent-Length: {len(PACKED)}\r\n\r\n".encode()
    with hostile(lambda: [head, PACKED]) as url, pytest.raises(OverLimit, match="more than 1,048,576 bytes"):
        got(url, SMALL, streamed=streamed)


@pytest.mark.parametrize("status", [b"404 Not Found", b"503 Busy", b"302 Found"])
def test_the_rest_of_a_long_error_body_is_not_read(status: bytes) -> None:
    def pieces() -> Iterable[bytes]:
        yield b"HTTP/1.1 " + status + b"\r\nLocation: /x\r\n\r\n"
        yield from itertools.repeat(b"1" * 65_536)

    with hostile(pieces) as url:
        client = client_of(url, InputLimits())
        with client.stream("/x") as answer:
            assert answer.status == int(status[:3])
        client.close()


def test_a_checksum_without_end_costs_no_memory_and_names_its_url() -> None:
    with hostile(without_end(PLAIN, b"a" * 65_536)) as url:
        vision = VisionClient(url, timeout_s=30, attempts=1)
        with pytest.raises(OverLimit, match=r"BTCUSDT-1m-2024-01-01.zip.CHECKSUM: a body of more than 4,096 bytes"):
            vision.checksum(UM_STREAMS["klines_1m"], "BTCUSDT", "2024-01-01")
        vision.close()


@pytest.mark.parametrize("wait", ["²", "nan", "inf", "-5", "1e300", "Mon, 01 Jan 9999 00:00:00 GMT", "x" * 5000])
def test_a_wait_that_makes_no_sense_is_bounded(wait: str) -> None:
    head = f"HTTP/1.1 429 Slow\r\nRetry-After: {wait}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode()
    slept: list[float] = []
    with hostile(lambda: [head]) as url:
        vision = VisionClient(url, timeout_s=30, attempts=2, sleep=slept.append)
        with pytest.raises(ExchangeError, match="429"):
            vision.checksum(UM_STREAMS["klines_1m"], "BTCUSDT", "2024-01-01")
        vision.close()
    assert len(slept) == 1
    assert 0 <= slept[0] <= 300


MEASURE = """
import sys, zipfile
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from lake_assets.inputs.archives import type_archive
from lake_resources.binance.um_streams import UM_STREAMS
from lake_resources.errors import ArchiveCorrupt
try:
    type_archive(Path(sys.argv[2]), UM_STREAMS[sys.argv[3]], Path(sys.argv[4]), {})
    said = "typed"
except ArchiveCorrupt as error:
    said = error.what
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(int(status["VmHWM"].split()[0]) // 1024, said)
"""


def bomb(path: Path, block: bytes, blocks: int) -> None:
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("x.csv", "w", force_zip64=True) as file,
    ):
        for _ in range(blocks):
            file.write(block)


def measured(path: Path, stream: str, tmp_path: Path) -> tuple[int, str]:
    command = [sys.executable, "-c", MEASURE, str(Path(__file__).parents[2]), str(path), stream, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=240)
    peak_mib, _, said = done.stdout.partition(" ")
    return int(peak_mib), said


ROW = b"1,27981.3,12.911,1,2,1696204800012,true\n"
KLINE = b"1696204800000,1,1,1,1,0,1696204859999,0,0,0,0,0\n"
BOMBS = {
    "one line": (b"1" * (1 << 20), "agg_trades", "a line of more than 65,536 bytes"),
    "one line of a metrics file": (b"1" * (1 << 20), "metrics", "more than 4,194,304 bytes of CSV"),
    "fields without end": (b"," * (1 << 20), "klines_1m", "a line of more than 65,536 bytes"),
    "the same trade again and again": (ROW * ((1 << 20) // len(ROW)), "agg_trades", "inflates to more than"),
    "the same minute again and again": (KLINE * ((1 << 20) // len(KLINE)), "klines_1m", "inflates to more than"),
    "empty lines": (b"\n" * (1 << 20), "klines_1m", "inflates to more than"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BOMBS)
def test_a_zip_that_inflates_without_end_is_refused_below_300_mib(name: str, tmp_path: Path) -> None:
    block, stream, reason = BOMBS[name]
    path = tmp_path / "x.zip"
    bomb(path, block, 400)
    peak_mib, said = measured(path, stream, tmp_path)
    assert reason in said
    assert peak_mib < 300


def test_a_zip_of_60_000_members_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(60_000):
            archive.writestr(f"{number}.csv", b"")
    peak_mib, said = measured(path, "klines_1m", tmp_path)
    assert "a directory of" in said
    assert peak_mib < 300
