"""Real bytes to mutate: what the simulator serves, and recorded files where they are at hand.

Belongs here: samples by kind. Does not belong here: changing or reading them. `python -m lake_tests.bench.fuzz_samples
FILE` keeps them, so that who reads mutants has no simulator in its process.
"""

from __future__ import annotations

import gzip
import io
import pickle
import socket
import sys
import tempfile
import zipfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from urllib.parse import urlsplit

import orjson

from lake_resources.binance.stream import Stream
from lake_resources.binance.streams import STREAMS
from lake_resources.binance.um_streams import UM_STREAMS
from lake_resources.settings import LakeSettings
from lake_tests.support import live_frames
from lake_tests.support.sliced import FIRST, OF, SPAN, ms

RECORDED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
DAY = datetime(2026, 11, 18, tzinfo=UTC)
YAHOO_AT = DAY + timedelta(days=1, hours=15)
SLICED_AT = FIRST + 2 * SPAN + timedelta(minutes=5)
ARCHIVES = (
    "klines_1m", "premium_index_klines_1m", "agg_trades", "metrics", "trades", "book_depth", "funding_rate",
    "spot/klines_1s", "spot/trades", "spot/agg_trades",
)  # fmt: skip
ANSWERS = {
    "klines_1m": "/fapi/v1/klines?symbol=BTCUSDT&interval=1m&startTime={start}&endTime={end}&limit=99",
    "agg_trades": "/fapi/v1/aggTrades?symbol=BTCUSDT&startTime={start}&endTime={end}&limit=1000",
    "metrics": "/futures/data/openInterestHist?symbol=BTCUSDT&period=5m&startTime={start}&endTime={end}&limit=500",
    "funding_rate": "/fapi/v1/fundingRate?symbol=BTCUSDT&startTime={start}&endTime={end}&limit=1000",
    "time": "/fapi/v1/time",
    "depth": "/fapi/v1/depth?symbol=BTCUSDT&limit=1000",
    "exchange_info": "/fapi/v1/exchangeInfo",
}
_RECORDED_ZIPS = {"funding_rate": "vision/um/funding_rate/*.zip", "book_depth": "vision/um/book_depth/*.zip"}
_RECORDED_CSVS = {
    "klines_1m": "vision/um/klines_1m_*/*.csv",
    "agg_trades": "vision/um/agg_trades/*.csv",
    "book_ticker": "vision/um/book_ticker/*.csv",
}
_LINES = 400
_MOST_BYTES = 60_000


@dataclass
class Samples:
    """Samples by kind; archives and answers by stream or call.

    Attributes:
        zips: (stream, zip); `stream_of` reads the name.
        csvs: (stream, CSV).
        answers: (call, whole answer from the status line on).
        checksums: whole answers.
        frames: WebSocket frames.
        yahoo: one whole answer of the chart API.
        sliced: files of a lake with raw slices, by path below its root.
    """

    zips: list[tuple[str, bytes]] = field(default_factory=list)
    csvs: list[tuple[str, bytes]] = field(default_factory=list)
    answers: list[tuple[str, bytes]] = field(default_factory=list)
    checksums: list[bytes] = field(default_factory=list)
    frames: list[bytes] = field(default_factory=list)
    yahoo: bytes = b""
    sliced: dict[str, bytes] = field(default_factory=dict)


def collect() -> Samples:
    """The simulator's, and the recorded ones where the folder is there."""
    # Imported here: who reads mutants has the samples from a file, and a process without these.
    from lake_resources.simulator.server import SimulatorServer

    found = Samples()
    now = DAY + timedelta(days=1, hours=9)
    with SimulatorServer(seed=7, symbols=("BTCUSDT",), clock=lambda: now, rate_per_min=1.0, limits=False) as sim:
        sim.clock.freeze(now)
        for name in ARCHIVES:
            stream = stream_of(name)
            period = stream.files.period((DAY if stream.files.cadence == "daily" else DAY - timedelta(days=31)).date())
            head, _, body = raw_answer(sim.base_url, stream.url_path("BTCUSDT", period)).partition(b"\r\n\r\n")
            assert b" 200 " in head[:16], (name, period, head)
            found.zips.append((name, body))
            found.csvs.append((name, _short(_csv(body))))
        found.checksums.append(
            raw_answer(sim.base_url, UM_STREAMS["klines_1m"].url_path("BTCUSDT", "2026-11-18") + ".CHECKSUM")
        )
        start = int((now - timedelta(hours=2)).timestamp() * 1000)
        for call, path in ANSWERS.items():
            found.answers.append((call, raw_answer(sim.base_url, path.format(start=start, end=start + 3_599_999))))
        sim.clock.freeze(YAHOO_AT)
        begin = int((YAHOO_AT - timedelta(hours=3)).timestamp())
        found.yahoo = raw_answer(
            sim.base_url, f"/v8/finance/chart/SPY?interval=1m&period1={begin}&period2={begin + 10_800}"
        )
        assert b" 200 " in found.yahoo[:16], found.yahoo[:400]
    with SimulatorServer(seed=7, symbols=("BTCUSDT",), limits=False) as sim:
        sim.clock.freeze(SLICED_AT)
        found.sliced = _sliced(sim.base_url)
    found.frames = _frames()
    _add_recorded(found)
    return found


def _sliced(url: str) -> dict[str, bytes]:
    from lake_assets.slices.server import open_slices, run_once

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        settings = LakeSettings(root=root, spot_rest_url=url, rest_url=url, _env_file=None)
        with open_slices(settings, clock=lambda: SLICED_AT, sleep=lambda _: None) as opened:
            run_once(opened, OF, first=ms(FIRST))
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def stream_of(name: str) -> Stream:
    """The stream of a sample's name: `klines_1m` of USD-M, `spot/trades` of spot."""
    market, _, stream = name.rpartition("/")
    return STREAMS[market or "um"][stream]


def _add_recorded(found: Samples) -> None:
    for name, pattern in _RECORDED_ZIPS.items():
        found.zips += [(name, path.read_bytes()) for path in sorted(RECORDED.glob(pattern))]
    for name, pattern in _RECORDED_CSVS.items():
        found.csvs += [(name, _short(path.read_bytes())) for path in sorted(RECORDED.glob(pattern))]
    for path in sorted(RECORDED.glob("rest/fapi/fundingRate*limit20.json")):
        body = path.read_bytes()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        found.answers.append(("funding_rate", head % len(body) + body))
    for path in sorted(RECORDED.glob("ws/usdm__*.gz")):
        with gzip.open(path) as lines:
            found.frames += [line.strip().partition(b" ")[2] for line in islice(lines, _LINES)]


def _frames() -> list[bytes]:
    ms = live_frames.START_MS
    book = {"bids": (("99.9", "1.000"),), "asks": (("100.1", "2.000"),)}
    made = [
        live_frames.agg_trade(7, ms + 10),
        live_frames.book_ticker(9, ms + 20),
        live_frames.depth(10, 12, 9, ms + 30, **book),
        live_frames.mark_price(ms + 40),
        live_frames.force_order(ms + 50, q="1.000", p="99.0", ap="99.0"),
        {"result": None, "id": 1},
        {"stream": "btcusdt@aggTrade", "data": live_frames.agg_trade(8, ms + 60)},
    ]
    return [orjson.dumps(frame) for frame in made]


def _csv(body: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        return archive.read(archive.namelist()[0])


def _short(csv: bytes) -> bytes:
    return b"\n".join(csv[:_MOST_BYTES].split(b"\n")[:_LINES])


def raw_answer(base_url: str, path: str) -> bytes:
    """The whole answer as it comes over the wire."""
    parts = urlsplit(base_url)
    with socket.create_connection((parts.hostname, parts.port)) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n".encode())
        return b"".join(iter(lambda: sock.recv(65_536), b""))


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(pickle.dumps(collect()))
