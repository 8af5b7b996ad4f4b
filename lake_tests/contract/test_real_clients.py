"""Real clients pointed at the simulator read the klines and aggregate trades that it serves.

What they get is compared with the simulator's own market, not with its HTTP answers.
"""

from __future__ import annotations

import asyncio
import importlib
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from lake_resources.simulator.market.bars import Bars
from lake_resources.simulator.market.trades import MINUTE_MS, Trades
from lake_resources.simulator.server import SimulatorServer

NOW = datetime(2026, 2, 15, 12, 34, 20, tzinfo=UTC)
SYMBOL = "BTCUSDT"
MINUTES = 120
START = int(NOW.timestamp()) // 60 - 200
START_MS = START * MINUTE_MS


def client_module(name: str) -> Any:
    """A real client's module, or a skip where it is not installed; its own import warnings are not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as missing:
            pytest.skip(f"{missing.name} is not installed")


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatorServer]:
    with SimulatorServer(seed=7, symbols=(SYMBOL, "ETHUSDT"), clock=lambda: NOW) as server:
        yield server


@pytest.fixture
def bars(sim: SimulatorServer) -> Bars:
    return sim.exchange.feeds[SYMBOL].closed_bars(START, START + MINUTES)


@pytest.fixture
def trades(sim: SimulatorServer) -> Trades:
    found = sim.exchange.feeds[SYMBOL].trades(START, START + MINUTES)
    return found.aggregates(found.agg_id < found.agg_id[0] + 300)


def same_klines(rows: list[list[Any]], bars: Bars) -> None:
    """Kline rows in Binance's own order against the market, digit by digit."""
    assert len(rows) == len(bars) == MINUTES
    for at, row in enumerate(rows):
        assert int(row[0]) == bars.open_ms[at]
        for position, values in ((1, bars.open), (2, bars.high), (3, bars.low), (4, bars.close)):
            assert round(float(row[position]) * 100) == values[at]
        assert round(float(row[5]) * 1000) == bars.volume[at]
        assert int(row[6]) == bars.open_ms[at] + 59_999
        assert round(float(row[7]) * 100_000) == bars.quote[at]
        assert int(row[8]) == bars.count[at]
        assert round(float(row[9]) * 1000) == bars.taker_volume[at]


def same_trades(rows: list[tuple[int, str, str, int, int, int, bool]], trades: Trades) -> None:
    """Rows (id, price, quantity, first, last, time, buyer is maker) against the market."""
    assert len(rows) == len(trades.agg_id) == 300
    for at, (agg_id, price, quantity, first, last, time_ms, maker) in enumerate(rows):
        assert agg_id == trades.agg_id[at]
        assert round(float(price) * 100) == trades.price[at]
        assert round(float(quantity) * 1000) == trades.quantity[at]
        assert (first, last) == (trades.first_id[at], trades.last_id[at])
        assert time_ms == trades.agg_time[at]
        assert maker == trades.buyer_maker[at]


def rows_of_dicts(answer: list[dict[str, Any]]) -> list[tuple[int, str, str, int, int, int, bool]]:
    return [(r["a"], r["p"], r["q"], r["f"], r["l"], r["T"], r["m"]) for r in answer]


def test_ccxt(sim: SimulatorServer, bars: Bars, trades: Trades) -> None:
    ccxt = client_module("ccxt")
    exchange = ccxt.binanceusdm({"options": {"fetchCurrencies": False, "fetchMarkets": {"types": ["linear"]}}})
    exchange.session.trust_env = False
    for name, url in exchange.urls["api"].items():
        if isinstance(url, str) and "://" in url:
            path = url.split("://", 1)[1].partition("/")[2]
            exchange.urls["api"][name] = f"{sim.base_url}/{path}"
    try:
        candles = exchange.fetch_ohlcv("BTC/USDT:USDT", "1m", since=START_MS, limit=MINUTES)
        fills = exchange.fetch_trades("BTC/USDT:USDT", since=START_MS, limit=300)
    finally:
        exchange.session.close()
    assert len(candles) == MINUTES
    for at, row in enumerate(candles):
        assert row[0] == bars.open_ms[at]
        assert [round(value * 100) for value in row[1:5]] == [
            values[at] for values in (bars.open, bars.high, bars.low, bars.close)
        ]
        assert round(row[5] * 1000) == bars.volume[at]
    same_trades(rows_of_dicts([fill["info"] | {"m": fill["side"] == "sell"} for fill in fills]), trades)
    assert {path for _, path, _ in sim.requests} >= {"/fapi/v1/exchangeInfo", "/fapi/v1/klines", "/fapi/v1/aggTrades"}


def test_python_binance(sim: SimulatorServer, bars: Bars, trades: Trades) -> None:
    client = client_module("binance.client").Client(ping=False)
    client.FUTURES_URL, client.FUTURES_DATA_URL = f"{sim.base_url}/fapi", f"{sim.base_url}/futures/data"
    client.API_URL = f"{sim.base_url}/api"
    client.session.trust_env = False
    try:
        assert client.ping() == {}
        same_klines(client.futures_klines(symbol=SYMBOL, interval="1m", startTime=START_MS, limit=MINUTES), bars)
        by_id = client.futures_aggregate_trades(symbol=SYMBOL, fromId=int(trades.agg_id[0]), limit=300)
        same_trades(rows_of_dicts(by_id), trades)
        interest = client.futures_open_interest_hist(symbol=SYMBOL, period="5m", limit=2)
        assert [row["timestamp"] for row in interest] == [1_771_158_300_000, 1_771_158_600_000]
        with pytest.raises(client_module("binance.exceptions").BinanceAPIException, match="Invalid symbol"):
            client.futures_klines(symbol="NOPE", interval="1m")
    finally:
        client.close_connection()
        # It opens an event loop for itself and never closes it.
        client.loop.close()
        asyncio.set_event_loop(None)


def test_the_derivatives_sdk(sim: SimulatorServer, bars: Bars, trades: Trades) -> None:
    sdk = client_module("binance_sdk_derivatives_trading_usds_futures.derivatives_trading_usds_futures")
    common = client_module("binance_common.configuration")
    configuration = common.ConfigurationRestAPI(base_path=sim.base_url, timeout=10_000)
    rest = sdk.DerivativesTradingUsdsFutures(config_rest_api=configuration).rest_api
    klines = rest.kline_candlestick_data(symbol=SYMBOL, interval="1m", start_time=START_MS, limit=MINUTES)
    same_klines([list(getattr(row, "root", row)) for row in klines.data()], bars)
    assert klines.rate_limits
    answer = rest.compressed_aggregate_trades_list(symbol=SYMBOL, from_id=int(trades.agg_id[0]), limit=300)
    rows = [(row.a, row.p, row.q, row.f, row.l, row.T, row.m) for row in answer.data()]
    same_trades(rows, trades)
    assert rest.open_interest_statistics(symbol=SYMBOL, period="5m", limit=3).data()[-1].timestamp is not None
    assert rest.mark_price(symbol=SYMBOL).data() is not None
    assert len(rest.get_funding_rate_history(symbol=SYMBOL, limit=5).data()) == 5
    assert rest.exchange_information().data().symbols[0].symbol == SYMBOL
