"""A recorded WebSocket file served again: every frame in its order, with its pace, and its depth snapshot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from lake_resources.simulator.server import SimulatorServer
from lake_resources.simulator.ws.recording import Recording, Replay, read_recording, recorded_name
from lake_tests.support.ws_client import LocalBook, Socket

NAMES = "btcusdt@depth@100ms/btcusdt@trade"
STAMP_NS = 1_723_161_255_000_000_000


@pytest.fixture(scope="module")
def whole(request: pytest.FixtureRequest) -> Recording:
    recorded: Callable[[str], Path] = request.getfixturevalue("recorded")
    return read_recording([recorded("ws/usdm__btcusdt_20240808.gz")])


def depth_of(sim: SimulatorServer, path: str = "/fapi/v1/depth") -> Any:
    url = f"{sim.base_url}{path}?symbol=BTCUSDT&limit=1000"
    return httpx.get(url, trust_env=False).raise_for_status().json()


def test_the_recorded_book_syncs_on_the_recorded_snapshot(whole: Recording) -> None:
    with (
        SimulatorServer(symbols=("BTCUSDT", "ETHUSDT"), ws_replay=Replay(whole, speed=0)) as sim,
        Socket(f"{sim.ws_url}/public/stream?streams={NAMES}") as socket,
    ):
        first = socket.take(1)[0]["data"]
        snapshot = depth_of(sim)
        book = LocalBook(snapshot)
        frames = [frame["data"] for frame in socket.take(6551 + 21_313 - 1)]
        assert socket.silent()
        assert (snapshot["lastUpdateId"], len(snapshot["bids"])) == (5_123_107_852_948, 1000)
        events = [frame for frame in [first, *frames] if frame["e"] == "depthUpdate"]
        for event in events:
            book.apply(event)
        assert (len(events), book.applied, book.last) == (6551, 6547, 5_123_135_475_514)
        bids, asks = book.best(5)
        assert (bids[0][0], asks[0][0]) == ("61659.70", "61659.80")
        later = depth_of(sim)
        assert (later["lastUpdateId"], later["bids"][:5], later["asks"][:5]) == (book.last, bids, asks)
        assert sum(frame["e"] == "trade" for frame in frames) == 21_313
        assert sim.exchange.replay is not None
        assert sim.exchange.replay.done


def recording(tmp_path: Path, name: str, frames: list[tuple[float, str, Any]]) -> Path:
    """A small file: seconds, stream, payload."""
    path = tmp_path / name
    lines = [
        b"%d %b" % (STAMP_NS + int(at * 1e9), orjson.dumps({"stream": stream, "data": data}))
        for at, stream, data in frames
    ]
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


@pytest.mark.parametrize("speed", [1.0, 2.0])
def test_the_pace_is_the_recorded_one_times_the_speed(tmp_path: Path, speed: float) -> None:
    path = recording(tmp_path, "a.txt", [(n / 2, "btcusdt@depth@0ms", {"u": n}) for n in range(5)])
    replay = Replay(read_recording([path]), speed=speed, settle_s=0.2)
    assert replay.due(50.0) == [], "it waits for somebody who listens"
    replay.subscribed(100.0)
    replay.subscribed(101.0)
    assert replay.due(100.1) == []
    for n in range(5):
        due = 100.2 + n / 2 / speed
        assert replay.due(due - 0.01) == []
        assert replay.due(due + 0.01) == [("btcusdt@depth", b'{"u":%d}' % n)]
    assert replay.done
    assert replay.due(200.0) == []


def test_frames_in_their_order_and_the_other_symbols(tmp_path: Path) -> None:
    path = recording(tmp_path, "a.txt", [(n / 10, "btcusdt@depth@0ms", {"pu": n, "u": n}) for n in range(5)])
    replay = Replay(read_recording([path]), speed=2.0, settle_s=0.2)
    names = "btcusdt@depth/btcusdt@bookTicker/ethusdt@bookTicker"
    with (
        SimulatorServer(symbols=("BTCUSDT", "ETHUSDT"), ws_replay=replay, rate_per_min=600) as sim,
        Socket(f"{sim.ws_url}/public/stream?streams={names}") as socket,
        Socket(f"{sim.ws_url}/market/ws/btcusdt@aggTrade") as market,
    ):
        seen: Counter[str] = Counter()

        def both(frame: Any) -> bool:
            seen[frame["stream"]] += 1
            return seen["btcusdt@depth"] == 5 and seen["ethusdt@bookTicker"] >= 3

        frames = socket.until(both)
        mine = [frame for frame in frames if frame["stream"] == "btcusdt@depth"]
        assert [frame["data"]["pu"] for frame in mine] == list(range(5))
        assert set(seen) == {"btcusdt@depth", "ethusdt@bookTicker"}, "a recorded symbol shows only what was recorded"
        assert market.silent(0.1)


def test_two_files_are_one_recording_and_the_wrong_route_stays_silent(tmp_path: Path) -> None:
    early = recording(tmp_path, "1.txt", [(0.0, "btcusdt@trade", {"t": 1}), (0.2, "btcusdt@trade", {"t": 3})])
    late = recording(tmp_path, "2.txt", [(0.1, "btcusdt@trade", {"t": 2})])
    replay = Replay(read_recording([early, late]), speed=0, settle_s=0.3)
    with (
        SimulatorServer(symbols=("BTCUSDT",), ws_replay=replay, rate_per_min=1200) as sim,
        Socket(f"{sim.ws_url}/public/ws/btcusdt@trade") as futures,
        Socket(f"{sim.ws_url}/spot/ws/btcusdt@trade") as spot,
    ):
        assert replay.recording.spot
        assert [frame["t"] for frame in spot.take(3)] == [1, 2, 3]
        assert {frame["s"] for frame in futures.until(lambda frame: "X" in frame)} == {"BTCUSDT"}


@pytest.mark.parametrize("line", ["x {}", '12 {"stream', '12 {"bids":[]}', '12.5 {"stream":"a@b","data":{}}'])
def test_a_line_that_is_no_frame_is_refused(tmp_path: Path, line: str) -> None:
    path = tmp_path / "bad.txt"
    path.write_text(line + "\n")
    with pytest.raises(ValueError, match=r"bad\.txt:1"):
        read_recording([path])


def test_the_recorded_spot_book_syncs_over_midnight(recorded: Callable[[str], Path]) -> None:
    files = [recorded(f"ws/spot__btcusdt_2024080{day}.gz") for day in (8, 9)]
    whole = read_recording(files)
    with (
        SimulatorServer(symbols=("BTCUSDT",), ws_replay=Replay(whole, speed=0)) as sim,
        Socket(f"{sim.ws_url}/spot/stream?streams=btcusdt@depth@100ms") as socket,
    ):
        socket.take(1)
        last = depth_of(sim, "/api/v3/depth")["lastUpdateId"]
        recorded_events = sum(recorded_name(name) == "btcusdt@depth" for name in whole.name)
        events = [frame["data"] for frame in socket.take(recorded_events - 1)]
        used = [event for event in events if event["u"] > last]
        assert used[0]["U"] <= last + 1 <= used[0]["u"]
        assert all(late["U"] == early["u"] + 1 for early, late in pairwise(used))
        assert len(used) > 5_000


@pytest.mark.parametrize("factor", [1, 1_000, 1_000_000, 1_000_000_000])
def test_the_unit_of_the_stamps_is_told_by_their_size(tmp_path: Path, factor: int) -> None:
    path = tmp_path / "frames"
    stamps = [1_723_161_253_000_000_000 + n * 1_000_000_000 for n in range(3)]
    frame = b'{"stream":"btcusdt@trade","data":{"e":"trade"}}'
    path.write_bytes(b"".join(b"%d %s\n" % (stamp // factor, frame) for stamp in stamps))
    assert read_recording([path]).stamp_ns == stamps


def test_a_recording_that_is_no_gzip_names_its_file(tmp_path: Path) -> None:
    path = tmp_path / "frames.gz"
    path.write_bytes(b"1723161253000000000 {}\n")
    with pytest.raises(ValueError, match=r"frames\.gz: cannot be read"):
        read_recording([path])
