"""The REST client of the spot market: the same code as of futures, by the market's endpoints, pages and budget."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from lake_resources.binance.market import SPOT
from lake_resources.binance.rest.rest_client import BinanceRest
from lake_resources.binance.spot_streams import SPOT_STREAMS
from lake_resources.binance.um_streams import UM_STREAMS
from lake_resources.governor import WeightGovernor
from lake_resources.simulator.server import SimulatorServer

NOW = datetime(2026, 9, 15, 12, 34, 20, 500_000, UTC)
START = datetime(2026, 9, 13, tzinfo=UTC)
SYMBOL = "SOLUSDT"


@pytest.fixture(scope="module")
def exchange() -> Iterator[SimulatorServer]:
    with SimulatorServer(symbols=(SYMBOL,), clock=lambda: NOW, limit_clock=lambda: NOW) as server:
        yield server


@pytest.fixture
def governor(tmp_path: Path) -> WeightGovernor:
    return WeightGovernor(tmp_path / "governor.sqlite", lambda: NOW, share=1.0)


@pytest.fixture
def rest(exchange: SimulatorServer, governor: WeightGovernor) -> Iterator[BinanceRest]:
    exchange.clear_requests()
    client = BinanceRest(exchange.base_url, governor=governor, market=SPOT, clock=lambda: NOW, sleep=lambda _: None)
    yield client
    client.close()


@pytest.mark.parametrize(("interval", "rows", "pages"), [("1m", 1440, 2), ("5m", 288, 1), ("1h", 24, 1), ("1d", 1, 1)])
def test_a_day_of_bars_comes_in_pages_of_a_thousand(
    exchange: SimulatorServer, rest: BinanceRest, interval: str, rows: int, pages: int
) -> None:
    stream = SPOT_STREAMS[f"klines_{interval}"]
    frame = rest.fetch(stream, SYMBOL, START, START + timedelta(days=1))
    asked = [(path, parse_qs(query)) for _, path, query in exchange.requests]
    assert frame.height == rows
    assert frame["open_time"].is_sorted()
    assert [path for path, _ in asked] == ["/api/v3/klines"] * pages
    assert {(query["interval"][0], query["symbol"][0]) for _, query in asked} == {(interval, SYMBOL)}
    assert max(int(query["limit"][0]) for _, query in asked) <= 1000


def test_its_weight_is_counted_apart_from_that_of_futures_on_one_host(
    exchange: SimulatorServer, rest: BinanceRest, governor: WeightGovernor
) -> None:
    host = exchange.base_url.removeprefix("http://")
    before = exchange.exchange.limits.used("spot_weight_1m")
    rest.fetch(SPOT_STREAMS["klines_1m"], SYMBOL, START, START + timedelta(hours=1))
    used = governor.used(host, "spot_weight_1m")
    assert used == before + 2 == exchange.exchange.limits.used("spot_weight_1m")
    assert governor.used(host, "weight_1m") == 0


def test_trades_reach_back_as_far_as_the_market_does(rest: BinanceRest) -> None:
    start = START - timedelta(days=20)
    frame = rest.fetch(SPOT_STREAMS["agg_trades"], SYMBOL, start, start + timedelta(hours=2))
    assert frame.height > 500
    assert frame["agg_trade_id"].diff().drop_nulls().unique().to_list() == [1]
    assert start <= frame["transact_time"][0] <= frame["transact_time"][-1] < start + timedelta(hours=2)
    bars = rest.fetch(SPOT_STREAMS["klines_1m"], SYMBOL, start, start + timedelta(hours=2))
    fills = (frame["last_trade_id"] - frame["first_trade_id"] + 1).sum()
    # Fills at both edges may belong to the bar beside.
    assert abs(fills - bars["count"].sum()) <= 10


def test_a_stream_of_another_market_is_refused(rest: BinanceRest) -> None:
    with pytest.raises(ValueError, match="USD-M futures, not of spot"):
        rest.fetch(UM_STREAMS["klines_1m"], SYMBOL, START, START + timedelta(hours=1))
    with pytest.raises(KeyError):
        rest.fetch(SPOT_STREAMS["trades"], SYMBOL, START, START + timedelta(hours=1))
