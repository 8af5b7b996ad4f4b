"""A contract that is delivered: it has a pair that is not its symbol, a last minute, and no funding."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs

import httpx
import polars as pl
import pytest

from lake_resources.binance.um_streams import UM_STREAMS
from lake_resources.clock import HOUR
from lake_resources.simulator.server import SimulatorServer
from lake_tests.support.simulated_lake import DAY, ON_THE_DAY, PUBLISHED, Bench, bench_on, failed_checks, kinds

CONTRACT, PAIR = "BTCUSDT_261225", "BTCUSDT"
KLINES = [name for name, stream in UM_STREAMS.items() if stream.is_klines]


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatorServer]:
    server = SimulatorServer(symbols=(CONTRACT, "ETHUSDT"), clock=lambda: ON_THE_DAY, rate_per_min=4.0, limits=False)
    with server:
        yield server


@pytest.fixture
def bench(sim: SimulatorServer, tmp_path: Path) -> Iterator[Bench]:
    with bench_on(sim, tmp_path, symbols=(CONTRACT,)) as one:
        yield one


@pytest.fixture
def http(sim: SimulatorServer) -> Iterator[httpx.Client]:
    sim.clock.freeze(ON_THE_DAY)
    with httpx.Client(base_url=sim.base_url, timeout=60) as client:
        yield client


@pytest.mark.parametrize("stream", KLINES)
def test_each_family_of_klines_is_asked_for_by_what_the_exchange_takes(bench: Bench, stream: str) -> None:
    frame = bench.lake.rest.fetch(UM_STREAMS[stream], CONTRACT, DAY, DAY + 2 * HOUR)
    assert frame.height == 120
    asked = [parse_qs(query) for _, path, query in bench.sim.requests if path.endswith("lines")]
    wanted = {"pair": [PAIR]} if stream == "index_price_klines_1m" else {"symbol": [CONTRACT]}
    assert asked
    assert [{name: query[name] for name in ("pair", "symbol") if name in query} for query in asked] == [wanted]


@pytest.mark.parametrize("now", [ON_THE_DAY, PUBLISHED])
def test_its_hours_are_built_from_answers_and_from_archives(bench: Bench, now: datetime) -> None:
    bench.at(now)
    (built,) = bench.build([DAY + 5 * HOUR], CONTRACT)
    rows = pl.read_parquet(bench.lake.catalog.partition_path(CONTRACT, DAY + 5 * HOUR))
    assert (built.status, rows.height, failed_checks(built)) == ("committed", 60, set())
    assert rows["index_price_close"].null_count() == 0
    # What is never settled has no rate, and none is missed.
    assert rows["funding_rate"].null_count() == 60
    assert kinds(built)["index_price_klines_1m"] == ("rest" if now == ON_THE_DAY else "archive")


@pytest.mark.parametrize("path", ["indexPriceKlines", "continuousKlines"])
@pytest.mark.parametrize("pair", [CONTRACT, "NOPEUSDT", "btcusdt"])
def test_the_exchange_refuses_what_is_no_pair(http: httpx.Client, path: str, pair: str) -> None:
    query = {"pair": pair, "interval": "1m", "contractType": "PERPETUAL"}
    answer = http.get(f"/fapi/v1/{path}", params=query)
    assert (answer.status_code, answer.json()["code"]) == (400, -4144)
    assert http.get(f"/fapi/v1/{path}", params={**query, "pair": "ETHUSDT"}).json()


@pytest.mark.parametrize("path", ["klines", "markPriceKlines", "premiumIndexKlines", "aggTrades", "depth"])
def test_the_exchange_refuses_a_pair_for_a_symbol(http: httpx.Client, path: str) -> None:
    answer = http.get(f"/fapi/v1/{path}", params={"symbol": PAIR, "interval": "1m"})
    assert (answer.status_code, answer.json()["code"]) == (400, -1121)
    assert http.get(f"/fapi/v1/{path}", params={"symbol": CONTRACT, "interval": "1m"}).status_code == 200


def test_a_window_of_trades_is_an_hour_at_most(http: httpx.Client) -> None:
    start_ms = int((ON_THE_DAY - 2 * HOUR).timestamp() * 1000)
    within, beyond = (
        http.get("/fapi/v1/aggTrades", params={"symbol": CONTRACT, "startTime": start_ms, "endTime": start_ms + span})
        for span in (3_600_000, 3_600_001)
    )
    assert within.json()
    assert (beyond.status_code, beyond.json()["code"]) == (400, -1127)


def test_the_exchange_lists_it_with_its_pair_and_its_end(sim: SimulatorServer, http: httpx.Client) -> None:
    listed = {row["symbol"]: row for row in http.get("/fapi/v1/exchangeInfo").json()["symbols"]}
    found = listed[CONTRACT]
    delivery = datetime(2026, 12, 25, 8, tzinfo=UTC)
    assert (found["pair"], found["baseAsset"], found["contractType"]) == (PAIR, "BTC", "CURRENT_QUARTER")
    assert found["deliveryDate"] == int(delivery.timestamp() * 1000)
    assert listed["ETHUSDT"]["contractType"] == "PERPETUAL"
    sim.clock.freeze(delivery + timedelta(minutes=1))
    listed = {row["symbol"]: row for row in http.get("/fapi/v1/exchangeInfo").json()["symbols"]}
    assert (listed[CONTRACT]["status"], listed["ETHUSDT"]["status"]) == ("SETTLING", "TRADING")


def test_it_has_no_funding(http: httpx.Client) -> None:
    assert http.get("/fapi/v1/fundingRate", params={"symbol": CONTRACT}).json() == []
    assert http.get("/fapi/v1/fundingRate", params={"symbol": "ETHUSDT"}).json()
    now = http.get("/fapi/v1/premiumIndex", params={"symbol": CONTRACT}).json()
    assert (now["lastFundingRate"], now["nextFundingTime"]) == ("", 0)
    month = "/data/futures/um/monthly/fundingRate/{0}/{0}-fundingRate-2026-09.zip"
    assert [http.get(month.format(symbol)).status_code for symbol in (CONTRACT, "ETHUSDT")] == [404, 200]
