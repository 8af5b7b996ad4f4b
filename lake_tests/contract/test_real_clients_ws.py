"""Real clients stream from the simulator: what they hand out is the simulator's own market.

ccxt.pro, Binance's derivatives SDK and python-binance, each with nothing changed but its addresses.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from lake_resources.simulator.market.trades import MINUTE_MS
from lake_resources.simulator.server import SimulatorServer
from lake_tests.contract.test_real_clients import client_module

START = datetime(2026, 2, 15, 12, 34, 20, tzinfo=UTC)
SPEED = 10.0


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatorServer]:
    with SimulatorServer(seed=7, symbols=("BTCUSDT", "ETHUSDT"), rate_per_min=120, speed=SPEED, start=START) as server:
        yield server


def run(work: Callable[[], Awaitable[None]]) -> None:
    """Run a client to its end; its own warnings are not ours."""

    async def limited() -> None:
        await asyncio.wait_for(work(), 120)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        asyncio.run(limited())


def same_fill(sim: SimulatorServer, fill_id: int, price: float, quantity: float, time_ms: int) -> None:
    """A fill against the market."""
    found = sim.exchange.feeds["BTCUSDT"].trades(time_ms // MINUTE_MS - 1, time_ms // MINUTE_MS + 1)
    at = int(np.searchsorted(found.fill_id, fill_id))
    assert found.fill_id[at] == fill_id
    assert found.fill_time[at] == time_ms
    assert found.fill_quantity[at] == round(quantity * 1000)
    assert found.price[found.fill_agg[at]] == round(price * 100)


def same_spot_fill(sim: SimulatorServer, fill_id: int, price: float, quantity: float, time_ms: int) -> None:
    """A fill of spot against its market, which is not the futures' one."""
    found = sim.exchange.spot_feeds["BTCUSDT"].trades(time_ms // MINUTE_MS, time_ms // MINUTE_MS + 1)
    at = int(np.searchsorted(found.fill_id, fill_id))
    assert (found.fill_id[at], found.fill_time[at]) == (fill_id, time_ms)
    assert found.fill_quantity[at] == round(quantity * 1000)
    assert found.price[found.fill_agg[at]] == round(price * 100)


def same_aggregate(sim: SimulatorServer, agg: dict[str, Any]) -> None:
    """An aggregate trade against the market."""
    found = sim.exchange.feeds["BTCUSDT"].trades(agg["T"] // MINUTE_MS, agg["T"] // MINUTE_MS + 1)
    at = int(np.searchsorted(found.agg_id, agg["a"]))
    assert found.agg_id[at] == agg["a"]
    assert found.agg_time[at] == agg["T"]
    assert (found.first_id[at], found.last_id[at]) == (agg["f"], agg["l"])
    assert found.price[at] == round(float(agg["p"]) * 100)
    assert found.quantity[at] == round(float(agg["q"]) * 1000)
    assert found.buyer_maker[at] == agg["m"]


def test_ccxt_pro(sim: SimulatorServer) -> None:
    ccxt = client_module("ccxt.pro")

    async def work() -> None:
        exchange = ccxt.binanceusdm(
            {
                "options": {"fetchCurrencies": False, "fetchMarkets": {"types": ["linear"]}},
                # The key is `future` or `linear`, depending on the release; the other one is ignored without a word.
                "urls": {"api": {"ws": {"future": f"{sim.ws_url}/ws", "linear": f"{sim.ws_url}/ws"}}},
            }
        )
        for name, url in exchange.urls["api"].items():
            if isinstance(url, str) and "://" in url:
                exchange.urls["api"][name] = f"{sim.base_url}/{url.split('://', 1)[1].partition('/')[2]}"
        try:
            fills: list[Any] = []
            while len(fills) < 10:
                fills += await exchange.watch_trades("BTC/USDT:USDT")
            for fill in fills:
                same_fill(sim, int(fill["id"]), fill["price"], fill["amount"], fill["timestamp"])
            for _ in range(20):
                book = await exchange.watch_order_book("BTC/USDT:USDT")
            assert len(book["bids"]) >= 500
            assert book["bids"][0][0] < book["asks"][0][0]
            assert book["nonce"] > 0
        finally:
            await exchange.close()

    run(work)
    paths = {path for method, path, _ in sim.requests if method == "WS"}
    assert any(path.startswith("/public/ws/") for path in paths)
    assert ("GET", "/fapi/v1/depth", "symbol=BTCUSDT&limit=1000") in sim.requests


def test_the_derivatives_sdk_streams(sim: SimulatorServer) -> None:
    sdk = client_module("binance_sdk_derivatives_trading_usds_futures.derivatives_trading_usds_futures")
    common = client_module("binance_common.configuration")

    async def work() -> None:
        configuration = common.ConfigurationWebSocketStreams(stream_url=sim.ws_url)
        client = sdk.DerivativesTradingUsdsFutures(config_ws_streams=configuration)
        connection = await client.websocket_streams.create_connection()
        got: dict[str, list[Any]] = {"trades": [], "marks": [], "book": [], "depth": []}
        try:
            streams = {
                "trades": await connection.aggregate_trade_streams(symbol="btcusdt"),
                "marks": await connection.mark_price_stream(symbol="btcusdt", update_speed="1s"),
                "book": await connection.individual_symbol_book_ticker_streams(symbol="btcusdt"),
                "depth": await connection.diff_book_depth_streams(symbol="btcusdt", update_speed="100ms"),
            }
            for name, stream in streams.items():
                stream.on("message", got[name].append)
            while min(len(frames) for frames in got.values()) < 5:
                await asyncio.sleep(0.05)
            for stream in streams.values():
                await stream.unsubscribe()
        finally:
            await connection.close_connection(close_session=True)
        for trade in got["trades"]:
            same_aggregate(sim, {name: getattr(trade, name) for name in ("a", "T", "f", "l", "p", "q", "m")})
        chain = got["depth"]
        assert [event.pu for event in chain[1:]] == [event.u for event in chain[:-1]]
        assert all(frame.b for frame in got["book"])
        assert len({mark.p for mark in got["marks"]}) > 2

    run(work)
    assert {path for method, path, _ in sim.requests if method == "WS"} >= {
        "/public/stream", "/market/stream", "/private/stream",
    }  # fmt: skip


def test_python_binance_streams(sim: SimulatorServer) -> None:
    binance = client_module("binance")
    streams = client_module("binance.ws.streams")

    async def work() -> None:
        client = binance.AsyncClient()
        manager = streams.BinanceSocketManager(client)
        manager.FSTREAM_URL = f"{sim.ws_url}/"
        try:
            async with manager.futures_multiplex_socket(["btcusdt@aggTrade"]) as socket:
                for _ in range(10):
                    frame = await socket.recv()
                    assert frame["stream"] == "btcusdt@aggTrade"
                    same_aggregate(sim, frame["data"])
        finally:
            await client.close_connection()

    run(work)


def test_ccxt_pro_streams_spot(sim: SimulatorServer) -> None:
    ccxt = client_module("ccxt.pro")

    async def work() -> None:
        exchange = ccxt.binance(
            {
                "options": {"fetchCurrencies": False, "fetchMarkets": {"types": ["spot"]}, "defaultType": "spot"},
                # Spot's address has to hold `/stream`, by which this client knows it (as `//stream.binance.com` does),
                # and its frames come bare; as the name of a stream it means nothing here.
                "urls": {"api": {"ws": {"spot": f"{sim.ws_url}/spot/ws/stream"}}},
            }
        )
        for name, url in exchange.urls["api"].items():
            if isinstance(url, str) and "://" in url:
                exchange.urls["api"][name] = f"{sim.base_url}/{url.split('://', 1)[1].partition('/')[2]}"
        try:
            fills: list[Any] = []
            while len(fills) < 10:
                fills += await exchange.watch_trades("BTC/USDT")
            for fill in fills:
                same_spot_fill(sim, int(fill["id"]), fill["price"], fill["amount"], fill["timestamp"])
        finally:
            await exchange.close()

    run(work)
    assert any(method == "WS" and path.startswith("/spot/ws/") for method, path, _ in sim.requests)


def test_python_binance_streams_spot(sim: SimulatorServer) -> None:
    binance = client_module("binance")
    streams = client_module("binance.ws.streams")

    async def work() -> None:
        client = binance.AsyncClient()
        manager = streams.BinanceSocketManager(client)
        manager.STREAM_URL = f"{sim.ws_url}/spot/"
        try:
            async with manager.multiplex_socket(["btcusdt@trade", "btcusdt@bookTicker", "btcusdt@kline_1s"]) as socket:
                seen: set[str] = set()
                while len(seen) < 3:
                    frame = await socket.recv()
                    seen.add(frame["stream"])
                    data = frame["data"]
                    if frame["stream"].endswith("@trade"):
                        same_spot_fill(sim, data["t"], float(data["p"]), float(data["q"]), data["T"])
                    elif frame["stream"].endswith("@bookTicker"):
                        assert set(data) == {"u", "s", "b", "B", "a", "A"}, "a book ticker of spot has no time"
        finally:
            await client.close_connection()

    run(work)
