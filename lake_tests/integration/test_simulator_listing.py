"""A symbol that is listed late and delisted: what REST and Vision of the simulator say before, then and after."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from lake_resources.simulator.market.specs import Listing
from lake_resources.simulator.server import SimulatorServer

ONBOARD = datetime(2026, 6, 10, 10, 30, tzinfo=UTC)
DELIVERY = datetime(2026, 6, 12, 9, tzinfo=UTC)
NOW = datetime(2026, 6, 20, tzinfo=UTC)
KLINES = "/data/futures/um/daily/klines/ETHUSDT/1m/ETHUSDT-1m-2026-06-{}.zip"


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatorServer]:
    listings = {"ETHUSDT": Listing(ONBOARD, DELIVERY)}
    with SimulatorServer(symbols=("BTCUSDT", "ETHUSDT"), clock=lambda: NOW, listings=listings) as server:
        yield server


@pytest.fixture
def http(sim: SimulatorServer) -> Iterator[httpx.Client]:
    sim.clock.freeze(NOW)
    sim.exchange.limits.reset()
    with httpx.Client(base_url=sim.base_url, timeout=60) as client:
        yield client


def ms(instant: datetime) -> int:
    return int(instant.timestamp() * 1000)


def listed(http: httpx.Client, symbol: str) -> dict[str, Any]:
    symbols = http.get("/fapi/v1/exchangeInfo").json()["symbols"]
    return next(row for row in symbols if row["symbol"] == symbol)


def klines(http: httpx.Client, start: datetime, end: datetime, path: str = "/fapi/v1/klines") -> list[Any]:
    window = {"startTime": ms(start), "endTime": ms(end) - 1, "limit": 1500}
    name = "pair" if "index" in path else "symbol"
    found: list[Any] = http.get(path, params={name: "ETHUSDT", "interval": "1m", **window}).json()
    return found


def test_the_exchange_says_when_it_trades(sim: SimulatorServer, http: httpx.Client) -> None:
    found = listed(http, "ETHUSDT")
    assert (found["onboardDate"], found["deliveryDate"]) == (ms(ONBOARD), ms(DELIVERY))
    assert listed(http, "BTCUSDT")["status"] == "TRADING"
    statuses = []
    for at in (ONBOARD - timedelta(seconds=1), ONBOARD, DELIVERY - timedelta(seconds=1), DELIVERY):
        sim.clock.freeze(at)
        statuses.append(listed(http, "ETHUSDT")["status"])
    assert statuses == ["PENDING_TRADING", "TRADING", "TRADING", "SETTLING"]


@pytest.mark.parametrize("path", ["klines", "markPriceKlines", "indexPriceKlines", "premiumIndexKlines"])
def test_rest_has_no_minute_before_or_after(http: httpx.Client, path: str) -> None:
    path = f"/fapi/v1/{path}"
    first = klines(http, ONBOARD - timedelta(hours=2), ONBOARD + timedelta(hours=3), path)
    last = klines(http, DELIVERY - timedelta(hours=2), DELIVERY + timedelta(hours=2), path)
    opened = first[0][0]
    # A minute without a fill is no kline as long as there was none before it.
    assert ms(ONBOARD) <= opened <= ms(ONBOARD) + 5 * 60_000
    assert [row[0] for row in last] == list(range(ms(DELIVERY) - 7_200_000, ms(DELIVERY), 60_000))
    assert klines(http, DELIVERY, DELIVERY + timedelta(hours=5), path) == []


def test_what_is_of_now_is_over(http: httpx.Client) -> None:
    refused = http.get("/fapi/v1/openInterest", params={"symbol": "ETHUSDT"})
    assert (refused.status_code, refused.json()["code"]) == (400, -4108)
    assert http.get("/fapi/v1/premiumIndex", params={"symbol": "ETHUSDT"}).json()["nextFundingTime"] == 0
    settled = http.get("/fapi/v1/fundingRate", params={"symbol": "ETHUSDT"}).json()
    assert settled[-1]["fundingTime"] <= ms(DELIVERY)
    assert http.get("/fapi/v1/aggTrades", params={"symbol": "ETHUSDT", "startTime": ms(NOW) - 3_600_000}).json() == []


@pytest.mark.parametrize(("day", "rows"), [("09", None), ("11", 1440), ("12", 540), ("13", None)])
def test_vision_has_the_days_of_trading(http: httpx.Client, day: str, rows: int | None) -> None:
    answer = http.get(KLINES.format(day))
    if rows is None:
        assert answer.status_code == 404
        return
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert len(archive.read(archive.namelist()[0]).splitlines()) == rows + 1


def test_trades_are_counted_from_the_listing(sim: SimulatorServer) -> None:
    market = sim.exchange.feeds["ETHUSDT"].market
    assert market.trades(market.first_minute - 60, market.first_minute + 60).agg_id[0] == 1


def test_a_listing_that_cannot_be_is_refused() -> None:
    for listing in (Listing(DELIVERY, ONBOARD), Listing(ONBOARD + timedelta(seconds=1))):
        with pytest.raises(ValueError, match=r"minutes|before it trades"):
            SimulatorServer(symbols=("ETHUSDT",), listings={"ETHUSDT": listing})
