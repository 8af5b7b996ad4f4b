"""Scripted faults of the simulator's sockets: each does what it says to the frames and connections it names."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from lake_resources.simulator.faults import Fault
from lake_resources.simulator.server import SimulatorServer
from lake_tests.support.waiting import wait_until
from lake_tests.support.ws_client import LocalBook, Socket

pytestmark = pytest.mark.slow

START = datetime(2026, 2, 15, 12, 34, 20, tzinfo=UTC)
DEPTH = "/public/ws/btcusdt@depth@100ms"
BOTH = "/public/stream?streams=btcusdt@depth@100ms/btcusdt@bookTicker"


@pytest.fixture(scope="module")
def server() -> Iterator[SimulatorServer]:
    with SimulatorServer(seed=7, symbols=("BTCUSDT",), rate_per_min=120, speed=10, start=START) as running:
        yield running


@pytest.fixture
def sim(server: SimulatorServer) -> Iterator[SimulatorServer]:
    server.faults.clear()
    yield server
    server.faults.clear()


def broken(events: list[Any]) -> int:
    """Places where the chain of depth events does not hold."""
    return sum(late["pu"] != early["u"] for early, late in pairwise(events))


def test_a_healthy_chain_has_no_break(sim: SimulatorServer) -> None:
    with Socket(sim.ws_url + DEPTH) as socket:
        assert broken(socket.take(60)) == 0


def test_a_drop_comes_without_a_closing_handshake_as_often_as_scripted(sim: SimulatorServer) -> None:
    number = sim.faults.add(Fault("ws_drop", "/public/", after_s=0.2, times=1))
    with Socket(sim.ws_url + DEPTH) as socket, Socket(f"{sim.ws_url}/market/ws/btcusdt@aggTrade") as other:
        with pytest.raises(ConnectionClosed) as closed:
            socket.take(10_000)
        assert closed.value.rcvd is None
        assert other.take(5)
    assert sim.faults.hits(number) == 1
    with Socket(sim.ws_url + DEPTH) as again:
        assert len(again.take(60)) == 60


def test_a_drop_with_a_code_says_so_and_open_sockets_can_be_cut(sim: SimulatorServer) -> None:
    sim.faults.add(Fault("ws_drop", code=1012))
    with Socket(sim.ws_url + DEPTH) as socket, pytest.raises(ConnectionClosed) as closed:
        socket.take(10_000)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1012
    sim.faults.clear()
    with Socket(sim.ws_url + DEPTH) as socket:
        socket.take(1)
        state = httpx.get(f"{sim.base_url}/sim/sockets", trust_env=False).json()
        assert [each["delivering"] for each in state] == [["btcusdt@depth@100ms"]]
        sim.cut_sockets("/public")
        with pytest.raises(ConnectionClosed):
            socket.take(10_000)


def test_a_handshake_is_refused(sim: SimulatorServer) -> None:
    sim.faults.add(Fault("ws_refuse", status=503, times=1))
    with pytest.raises(InvalidStatus) as refused, Socket(sim.ws_url + DEPTH):
        pass
    assert refused.value.response.status_code == 503
    with Socket(sim.ws_url + DEPTH) as socket:
        socket.take(1)


def test_a_stalled_connection_stays_open_and_answers_nothing(sim: SimulatorServer) -> None:
    with Socket(sim.ws_url + DEPTH) as socket:
        before = socket.take(5)
        stalled = sim.faults.add(Fault("ws_stall", times=1))
        wait_until(lambda: sim.faults.hits(stalled) == 1, "the stall")
        before += socket.frames(0.25)
        pong = socket.raw.ping()
        assert socket.silent(0.4), "nothing comes, not even an end"
        assert not pong.is_set(), "nor a pong"
        sim.faults.clear()
        after = socket.take(5)
        assert pong.wait(60)
    assert broken(after) == 0
    assert after[0]["E"] - before[-1]["E"] > 4_000, "what was due meanwhile is lost"


def test_one_stream_can_fall_silent_alone(sim: SimulatorServer) -> None:
    sim.faults.add(Fault("ws_stall", stream="@depth"))
    with Socket(sim.ws_url + BOTH) as socket:
        assert {frame["stream"] for frame in socket.take(30)} == {"btcusdt@bookTicker"}
        sim.faults.clear()
        socket.until(lambda frame: frame["stream"] == "btcusdt@depth@100ms")


def test_held_frames_come_at_once_and_none_is_lost(sim: SimulatorServer) -> None:
    sim.faults.add(Fault("ws_hold", after_s=0.2, duration_s=0.5, times=1))
    with Socket(sim.ws_url + DEPTH) as socket:
        events, ages_ms = [], []
        for _ in range(120):
            events += socket.take(1)
            ages_ms.append(sim.clock.now_ms() - events[-1]["E"])
    assert broken(events) == 0
    assert max(ages_ms) > 4_000, "the first that was held had waited for half a second, five of the exchange's"


def test_each_nth_frame_is_lost_repeated_or_swapped(sim: SimulatorServer) -> None:
    lost = sim.faults.add(Fault("ws_gap", stream="@depth", every=10, count=2, times=3))
    with Socket(sim.ws_url + BOTH) as socket:
        frames: list[Any] = []
        while sum("depth" in frame["stream"] for frame in frames) < 50:
            frames += socket.take(20)
        depth = [frame["data"] for frame in frames if "depth" in frame["stream"]]
        tickers = [frame["data"]["u"] for frame in frames if "bookTicker" in frame["stream"]]
    assert sim.faults.hits(lost) == broken(depth) == 3
    assert tickers == sorted(set(tickers))
    sim.faults.clear()
    sim.faults.add(Fault("ws_duplicate", stream="@depth", every=5))
    with Socket(sim.ws_url + DEPTH) as socket:
        assert Counter(Counter(event["u"] for event in socket.take(60)).values()) == {1: 40, 2: 10}
    sim.faults.clear()
    sim.faults.add(Fault("ws_reorder", stream="@depth", every=5))
    with Socket(sim.ws_url + DEPTH) as socket:
        events = socket.take(61)[:60]
    assert [event["u"] for event in events] != sorted(event["u"] for event in events)
    assert broken(sorted(events, key=lambda event: event["u"])) == 0


def test_a_broken_chain_is_what_a_client_notices(sim: SimulatorServer) -> None:
    with Socket(sim.ws_url + DEPTH) as socket:
        events = socket.take(5)
        answer = httpx.get(f"{sim.base_url}/fapi/v1/depth?symbol=BTCUSDT&limit=1000", trust_env=False)
        book = LocalBook(answer.json())
        sim.faults.add(Fault("ws_gap", stream="@depth", every=40, times=1))
        while broken(events) == 0:
            events += socket.take(10)
    with pytest.raises(AssertionError, match="pu"):
        deque(map(book.apply, events))
    assert book.applied > 5


def test_a_skewed_clock_shifts_event_and_trade_time_alike(sim: SimulatorServer) -> None:
    with (
        Socket(f"{sim.ws_url}/market/ws/btcusdt@aggTrade") as plain,
        Socket(f"{sim.ws_url}/market/ws/btcusdt@aggTrade?x=1") as skewed,
    ):
        plain.ask("LIST_SUBSCRIPTIONS")
        sim.faults.add(Fault("ws_skew", query="x=1", stream="aggTrade", skew_ms=-7_000))
        skewed.ask("LIST_SUBSCRIPTIONS")
        # What the hub was about to send when the fault came may be as it was.
        shifted = skewed.take(30)[10:]
        truth = {event["a"]: event for event in plain.until(lambda event: event["a"] >= shifted[-1]["a"])}
    both = [(event, truth[event["a"]]) for event in shifted]
    assert {(event["E"] - true["E"], event["T"] - true["T"]) for event, true in both} == {(-7_000, -7_000)}


def test_a_flood_is_ten_times_the_frames(sim: SimulatorServer) -> None:
    sim.faults.add(Fault("ws_flood", stream="bookTicker", factor=10))
    with Socket(sim.ws_url + BOTH) as socket:
        frames = socket.take(600)
    tickers = Counter(frame["data"]["u"] for frame in frames if "bookTicker" in frame["stream"])
    assert Counter(list(tickers.values())[:-1]) == {10: len(tickers) - 1}
    assert broken([frame["data"] for frame in frames if "depth" in frame["stream"]]) == 0


def test_socket_faults_are_scripted_over_http_like_the_others(sim: SimulatorServer) -> None:
    fault = {"kind": "ws_gap", "path": "/public", "stream": "@depth", "after_s": 0.1, "every": 10}
    assert httpx.post(f"{sim.base_url}/sim/faults", json=fault, trust_env=False).status_code == 201
    with Socket(sim.ws_url + DEPTH) as socket:
        assert broken(socket.take(60)) >= 4
    answer = httpx.post(f"{sim.base_url}/sim/faults", json={"kind": "ws_gap", "stream": "("}, trust_env=False)
    assert answer.status_code == 400
    assert "no regular expression" in answer.json()["error"]
