"""WebSocket of the simulator over a real socket: routes, requests, limits; every stream against the REST side."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, ConnectionClosedError

from lake_resources.simulator.server import SimulatorServer
from lake_resources.simulator.ws.session import WsLimits
from lake_tests.support.waiting import wait_until
from lake_tests.support.ws_client import LocalBook, Socket

pytestmark = pytest.mark.slow

START = datetime(2026, 2, 15, 12, 34, 20, tzinfo=UTC)
SPEED = 30.0


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatorServer]:
    with SimulatorServer(seed=7, symbols=("BTCUSDT", "ETHUSDT"), rate_per_min=120, speed=SPEED, start=START) as server:
        yield server


@pytest.fixture(scope="module")
def still() -> Iterator[SimulatorServer]:
    """An exchange whose time stands still but for `advance`, so that what is sent is known exactly."""
    with SimulatorServer(
        seed=7, symbols=("BTCUSDT", "ETHUSDT"), rate_per_min=120, liquidations_per_min=40, clock=lambda: START
    ) as server:
        yield server


def rest(sim: SimulatorServer, path: str, **params: Any) -> Any:
    sim.exchange.limits.reset()
    answer = httpx.get(f"{sim.base_url}{path}", params={"symbol": "BTCUSDT"} | params, trust_env=False)
    assert answer.status_code == 200, answer.text
    return answer.json()


def everything(sim: SimulatorServer, socket: Socket, seconds: float) -> list[Any]:
    """All frames of the next so many seconds of the still exchange."""
    socket.ask("LIST_SUBSCRIPTIONS")
    sim.clock.advance(timedelta(seconds=seconds))
    while sim.hub.reached_ms < sim.clock.now_ms():
        time.sleep(0.005)
    socket.say("LIST_SUBSCRIPTIONS", number="end")
    return socket.until(lambda frame: frame.get("id") == "end")[:-1]


def collect(sim: SimulatorServer, path: str, seconds: float) -> tuple[int, list[Any]]:
    """Exchange time before, and all frames of so many seconds of the still exchange."""
    with Socket(f"{sim.ws_url}{path}") as socket:
        before = sim.clock.now_ms()
        return before, everything(sim, socket, seconds)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/market/ws/btcusdt@aggTrade", "aggTrade"),
        ("/market/ws/btcusdt@markPrice@1s", "markPriceUpdate"),
        ("/market/ws/btcusdt@kline_1m", "kline"),
        ("/public/ws/btcusdt@bookTicker", "bookTicker"),
        ("/public/ws/btcusdt@depth", "depthUpdate"),
        ("/public/ws/btcusdt@depth20@500ms", "depthUpdate"),
        ("/public/ws/btcusdt@trade", "trade"),
        ("/public/ws/!bookTicker", "bookTicker"),
        ("/ws/btcusdt@bookTicker", "bookTicker"),
        ("/spot/ws/btcusdt@trade", "trade"),
        ("/spot/ws/btcusdt@kline_1s", "kline"),
    ],
)
def test_a_stream_on_its_route_delivers_plain_frames(sim: SimulatorServer, path: str, name: str) -> None:
    with Socket(f"{sim.ws_url}{path}") as socket:
        assert {frame["e"] for frame in socket.take(3)} == {name}


@pytest.mark.parametrize(
    ("route", "names"),
    [
        ("/public", ["btcusdt@aggTrade", "btcusdt@markPrice@1s", "btcusdt@kline_1m", "btcusdt@forceOrder"]),
        ("/market", ["btcusdt@bookTicker", "btcusdt@depth@100ms", "!bookTicker"]),
        ("/private", ["btcusdt@aggTrade", "btcusdt@bookTicker"]),
        ("", ["btcusdt@aggTrade", "btcusdt@markPrice@1s", "!markPrice@arr@1s"]),
        ("/market", ["BTCUSDT@aggTrade", "nopeusdt@aggTrade", "btcusdt@nothing", "btcusdt@AGGTRADE"]),
        ("/public", ["btcusdt@depth@250ms", "btcusdt@depth50", "btcusdt@depth@0ms"]),
    ],
)
def test_the_wrong_route_and_unknown_names_are_acknowledged_and_silent(
    sim: SimulatorServer, route: str, names: list[str]
) -> None:
    with Socket(f"{sim.ws_url}{route}/ws/3") as socket:
        assert socket.ask("SUBSCRIBE", *names, number=9) == {"result": None, "id": 9}
        assert socket.ask("LIST_SUBSCRIPTIONS", number="list") == {"result": names, "id": "list"}
        assert socket.silent(0.5)


def test_combined_frames_are_wrapped_and_requests_take_effect(sim: SimulatorServer) -> None:
    url = f"{sim.ws_url}/public/stream?streams=btcusdt@bookTicker/ethusdt@depth@100ms"
    with Socket(url) as socket:
        for name, symbol in (("btcusdt@bookTicker", "BTCUSDT"), ("ethusdt@depth@100ms", "ETHUSDT")):
            frames = socket.until(lambda frame, name=name: frame["stream"] == name)
            assert frames[-1]["data"]["s"] == symbol
            assert {frame["stream"] for frame in frames} <= {"btcusdt@bookTicker", "ethusdt@depth@100ms"}
        assert socket.ask("UNSUBSCRIBE", "ethusdt@depth@100ms", number="a-b")["id"] == "a-b"
        assert {frame["stream"] for frame in socket.take(10)} == {"btcusdt@bookTicker"}
        assert socket.ask("UNSUBSCRIBE", "btcusdt@bookTicker")["result"] is None
        assert socket.ask("LIST_SUBSCRIPTIONS") == {"result": [], "id": 1}
        assert socket.silent()
        assert socket.ask("NONSENSE")["error"]["code"] == 2
        socket.raw.send("{")
        assert socket.take(1)[0]["error"]["code"] == 3
    assert ("WS", "/public/stream", "streams=btcusdt@bookTicker/ethusdt@depth@100ms") in sim.requests


def _more_until_closed(socket: Socket) -> None:
    """A hundred at once, more than once: on a slow machine some of the burst is earned again meanwhile."""
    for _ in range(20):
        for number in range(100):
            socket.say("LIST_SUBSCRIPTIONS", number=number)
        socket.take(100)


def test_sixteen_messages_back_to_back_close_the_connection(sim: SimulatorServer) -> None:
    with Socket(f"{sim.ws_url}/market/ws") as socket:
        for number in range(15):
            socket.say("LIST_SUBSCRIPTIONS", number=number)
        assert [frame["id"] for frame in socket.take(15)] == list(range(15))
        # The connection may be closed while some are still being sent.
        with pytest.raises(ConnectionClosedError) as closed:
            _more_until_closed(socket)
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1008, "Too many requests")


def test_one_stream_too_many_loses_all(sim: SimulatorServer) -> None:
    with Socket(f"{sim.ws_url}/market/ws") as socket:
        assert socket.ask("SUBSCRIBE", *[f"x{n}@aggTrade" for n in range(1024)])["result"] is None
        socket.say("SUBSCRIBE", "btcusdt@aggTrade", number=5)
        assert socket.take(1) == [{"error": {"code": 4, "msg": "Too many streams"}, "id": 5}]
        with pytest.raises(ConnectionClosedError) as closed:
            socket.take(1)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008


def test_agg_trades_are_those_of_rest(still: SimulatorServer) -> None:
    before, frames = collect(still, "/market/stream?streams=btcusdt@aggTrade", 120)
    sent = [frame["data"] for frame in frames]
    rows = rest(still, "/fapi/v1/aggTrades", fromId=sent[0]["a"], limit=1000)
    names = ("a", "p", "q", "nq", "f", "l", "T", "m")
    assert [{name: each[name] for name in names} for each in sent] == rows[: len(sent)]
    assert len(sent) > 150
    assert len(rows) - len(sent) <= 1, "the newest one may be known to REST a few ms earlier"
    assert all(before < each["E"] <= still.clock.now_ms() and 0 < each["E"] - each["T"] < 120 for each in sent)
    assert list(sent[0]) == ["e", "E", "a", "s", "p", "q", "nq", "f", "l", "T", "m", "st"]


def test_a_client_that_follows_the_procedure_holds_the_book_of_rest(sim: SimulatorServer) -> None:
    with Socket(f"{sim.ws_url}/public/ws/btcusdt@depth@100ms") as socket:
        buffered = socket.take(40)
        book = LocalBook(rest(sim, "/fapi/v1/depth", limit=1000))
        for event in [*buffered, *socket.until(lambda event: event["u"] >= book.last + 64 * 30_000)]:
            book.apply(event)
    assert book.synced
    assert book.applied >= 290


@pytest.mark.parametrize(("step", "per_minute"), [("@100ms", 600), ("", 240), ("@500ms", 120)])
def test_a_book_kept_for_a_minute_equals_a_new_snapshot(still: SimulatorServer, step: str, per_minute: int) -> None:
    with Socket(f"{still.ws_url}/public/stream?streams=btcusdt@depth{step}/btcusdt@bookTicker") as socket:
        before = everything(still, socket, 1.037)
        book = LocalBook(rest(still, "/fapi/v1/depth", limit=1000))
        frames = [frame["data"] for frame in before + everything(still, socket, 60)]
    events = [frame for frame in frames if frame["e"] == "depthUpdate"]
    for event in events:
        book.apply(event)
        assert event["U"] > event["pu"]
        assert event["T"] < event["E"] <= event["T"] + 8
    assert book.applied == pytest.approx(per_minute, abs=1)
    still.clock.freeze(datetime.fromtimestamp(events[-1]["T"] / 1000, UTC))
    now = rest(still, "/fapi/v1/depth", limit=1000)
    assert now["lastUpdateId"] == events[-1]["u"]
    assert book.best(400) == (now["bids"][:400], now["asks"][:400])
    ticker = [frame for frame in frames if frame["e"] == "bookTicker" and frame["u"] <= book.last][-1]
    assert [ticker["b"], ticker["B"]] == now["bids"][0]
    assert [ticker["a"], ticker["A"]] == now["asks"][0]
    assert float(ticker["b"]) < float(ticker["a"])


def test_partial_books_are_the_top_of_the_snapshot(still: SimulatorServer) -> None:
    _, frames = collect(still, "/public/stream?streams=btcusdt@depth5@100ms/btcusdt@depth20@100ms", 0.5)
    last = frames[-1]["data"]
    assert {len(frame["data"]["b"]) for frame in frames} == {5, 20}
    still.clock.freeze(datetime.fromtimestamp(last["T"] / 1000, UTC))
    now = rest(still, "/fapi/v1/depth", limit=20)
    assert (last["u"], last["b"], last["a"]) == (now["lastUpdateId"], now["bids"], now["asks"])


def test_mark_price_is_that_of_rest_and_comes_each_second(still: SimulatorServer) -> None:
    _, frames = collect(still, "/market/stream?streams=btcusdt@markPrice@1s/btcusdt@markPrice/!markPrice@arr@1s", 6.2)
    by_name: dict[str, list[Any]] = {}
    for frame in frames:
        by_name.setdefault(frame["stream"], []).append(frame["data"])
    assert len(by_name["btcusdt@markPrice@1s"]) in (6, 7)
    every_3_s = [frame["E"] for frame in by_name["btcusdt@markPrice"]]
    assert {round((later - earlier) / 1000) for earlier, later in pairwise(every_3_s)} == {3}
    assert [len(each) for each in by_name["!markPrice@arr@1s"][:2]] == [1, 1], "two frames per second"
    last = by_name["btcusdt@markPrice@1s"][-1]
    now = rest(still, "/fapi/v1/premiumIndex")
    assert (last["p"], last["i"], last["r"]) == (now["markPrice"], now["indexPrice"], now["lastFundingRate"])
    assert last["T"] == now["nextFundingTime"]
    assert abs(float(last["ap"]) / float(last["p"]) - 1) < 0.01


def test_liquidations_are_sampled_and_told_at_the_end_of_their_second(still: SimulatorServer) -> None:
    before, frames = collect(still, "/market/stream?streams=btcusdt@forceOrder/!forceOrder@arr", 580)
    mine = [frame["data"] for frame in frames if frame["stream"] == "btcusdt@forceOrder"]
    every = still.hub.tape("BTCUSDT").liquidations(before - 1000, still.clock.now_ms())
    seconds = [order["o"]["T"] // 1000 for order in mine]
    assert len(mine) > 5
    assert len(set(seconds)) == len(seconds), "one per second at most"
    assert len(every.at_ms) > len(mine), "some are left out"
    last_of_second = {int(at) // 1000: int(at) for at in every.at_ms}
    assert all(last_of_second[order["o"]["T"] // 1000] == order["o"]["T"] for order in mine)
    assert all(0 < order["E"] - order["o"]["T"] <= 1005 for order in mine)
    assert {order["o"]["S"] for order in mine} <= {"BUY", "SELL"}
    assert all(float(order["o"]["l"]) <= float(order["o"]["z"]) <= float(order["o"]["q"]) for order in mine)
    arrays = [frame["data"]["o"]["s"] for frame in frames if frame["stream"] == "!forceOrder@arr"]
    assert set(arrays) == {"BTCUSDT", "ETHUSDT"}


def test_closed_klines_are_those_of_rest(still: SimulatorServer) -> None:
    _, frames = collect(still, "/market/stream?streams=btcusdt@kline_1m/btcusdt@kline_5m", 400)
    for name, count in (("1m", 6), ("5m", 1)):
        closed = [frame["data"]["k"] for frame in frames if frame["data"]["k"]["i"] == name and frame["data"]["k"]["x"]]
        assert len(closed) >= count
        for bar in closed:
            row = rest(still, "/fapi/v1/klines", interval=name, startTime=bar["t"], limit=1)[0]
            shown = [bar[key] for key in ("t", "o", "h", "l", "c", "v", "T", "q", "n", "V", "Q", "B")]
            assert shown == row
            assert bar["L"] - bar["f"] + 1 == bar["n"]


def test_spot_has_no_times_in_its_ticker_and_a_bar_each_second(still: SimulatorServer) -> None:
    names = "btcusdt@bookTicker/btcusdt@trade/btcusdt@kline_1s/btcusdt@depth@100ms"
    _, frames = collect(still, f"/spot/stream?streams={names}", 20)
    by_name: dict[str, list[Any]] = {}
    for frame in frames:
        by_name.setdefault(frame["stream"].split("@", 1)[1], []).append(frame["data"])
    assert set(by_name["bookTicker"][0]) == {"u", "s", "b", "B", "a", "A"}
    assert set(by_name["trade"][0]) == {"e", "E", "s", "t", "p", "q", "T", "m", "M"}
    assert len(by_name["kline_1s"]) == 20
    assert [each["U"] for each in by_name["depth@100ms"][1:]] == [each["u"] + 1 for each in by_name["depth@100ms"][:-1]]
    bars = {bar["k"]["t"]: bar["k"] for bar in by_name["kline_1s"]}
    second = by_name["trade"][5]["T"] // 1000 * 1000
    inside = [trade for trade in by_name["trade"] if trade["T"] // 1000 * 1000 == second]
    assert bars[second]["n"] == len(inside)
    assert bars[second]["c"] == inside[-1]["p"]


def test_time_runs_at_the_speed_asked_for(sim: SimulatorServer) -> None:
    def read() -> tuple[float, int, float]:
        """Exchange time, and the machine's just before and after it was read."""
        before = time.monotonic()
        return before, sim.clock.now_ms(), time.monotonic()

    with Socket(f"{sim.ws_url}/market/ws/btcusdt@markPrice@1s") as socket:
        first = socket.take(1)[0]["E"]
        before, began, just_after = read()
        frames = socket.until(lambda frame: frame["E"] >= first + 60_000)
        just_before, ended, after = read()
    passed_s = (ended - began) / 1000
    assert (just_before - just_after) * SPEED - 0.01 <= passed_s <= (after - before) * SPEED + 0.01
    assert len(frames) == pytest.approx(60, abs=2)
    assert frames[-1]["E"] <= ended <= rest(sim, "/fapi/v1/time")["serverTime"]


def _pings(socket: Socket, *, answered: bool) -> list[bytes]:
    """Notes the pings that come, and hides them from the library, which would answer, if asked to."""
    receive = socket.raw.protocol.receive_data
    found: list[bytes] = []

    def noting(data: bytes) -> None:
        # A server's ping starts with 0x89 and its length; what comes with it must not be lost.
        while data[:1] == b"\x89":
            found.append(data)
            if answered:
                break
            data = data[2 + data[1] :]
        if data:
            receive(data)

    socket.raw.protocol.receive_data = noting  # type: ignore[method-assign]
    return found


def test_pings_and_the_end_of_life() -> None:
    limits = WsLimits(ping_s=0.2, pong_timeout_s=600, lifetime_s=1.5)
    with SimulatorServer(symbols=("BTCUSDT",), ws_limits=limits) as sim:
        with Socket(f"{sim.ws_url}/market/ws") as socket:
            pings = _pings(socket, answered=True)
            with pytest.raises(ConnectionClosed) as closed:
                socket.take(1)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001, "it lived to its end"
        assert pings


def test_a_pong_is_owed_until_it_comes_and_its_lack_closes() -> None:
    with (
        SimulatorServer(symbols=("BTCUSDT",), ws_limits=WsLimits(ping_s=0.2, pong_timeout_s=600)) as sim,
        Socket(f"{sim.ws_url}/market/ws") as socket,
    ):
        pings = _pings(socket, answered=True)
        wait_until(lambda: len(pings) >= 2, "a second ping")
        wait_until(lambda: not sim.hub.connections[0].state()["owes_pong"], "the pong")
    with (
        SimulatorServer(symbols=("BTCUSDT",), ws_limits=WsLimits(ping_s=0.2, pong_timeout_s=0.5)) as sim,
        Socket(f"{sim.ws_url}/market/ws") as socket,
    ):
        _pings(socket, answered=False)
        with pytest.raises(ConnectionClosed) as closed:
            socket.take(1)
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1008, "Pong timeout")
