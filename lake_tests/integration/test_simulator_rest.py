"""REST of the simulator over a real socket: parameters, bounds, weights, errors, retention, limits."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest

from lake_resources.simulator.server import SimulatorServer

pytestmark = pytest.mark.slow

NOW = datetime(2026, 2, 15, 12, 34, 20, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
OPEN_MINUTE = NOW_MS // MINUTE * MINUTE
S = {"symbol": "BTCUSDT"}
K = {**S, "interval": "1m"}
WEIGHT = "X-MBX-USED-WEIGHT-1M"


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatorServer]:
    with SimulatorServer(seed=7, symbols=("BTCUSDT", "ETHUSDT"), clock=lambda: NOW, limit_clock=lambda: NOW) as server:
        yield server


@pytest.fixture
def http(sim: SimulatorServer) -> Iterator[httpx.Client]:
    sim.exchange.limits.reset()
    with httpx.Client(base_url=sim.base_url, timeout=30) as client:
        yield client


def get(http: httpx.Client, path: str, **params: Any) -> Any:
    answer = http.get(path, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_running_candle_is_the_last_row(http: httpx.Client) -> None:
    rows = get(http, "/fapi/v1/klines", **K, limit=3)
    assert [row[0] for row in rows] == [OPEN_MINUTE - 2 * MINUTE, OPEN_MINUTE - MINUTE, OPEN_MINUTE]
    assert rows[-1][6] == OPEN_MINUTE + MINUTE - 1 > NOW_MS
    kinds = [type(value) for value in rows[0]]
    assert kinds == [int, str, str, str, str, str, int, str, int, str, str, str]
    assert len(get(http, "/fapi/v1/klines", **K)) == 500


def test_bounds_are_inclusive_and_compared_with_the_open_time(http: httpx.Client) -> None:
    start = OPEN_MINUTE - 100 * MINUTE

    def opens(**params: Any) -> list[int]:
        return [row[0] for row in get(http, "/fapi/v1/klines", **K, **params)]

    five = [start + i * MINUTE for i in range(6)]
    assert opens(startTime=start, endTime=start + 5 * MINUTE) == five
    assert opens(startTime=start + 1, endTime=start + 5 * MINUTE - 1) == five[1:5]
    assert opens(startTime=start, limit=2) == five[:2]
    assert opens(endTime=start + 5 * MINUTE, limit=2) == five[4:]
    assert opens(startTime=start, endTime=start) == five[:1]
    assert opens(startTime=OPEN_MINUTE + MINUTE) == []
    assert opens(startTime=1, endTime=1_567_965_000_000) == []
    assert opens(startTime=1, limit=2)[0] == 1_567_965_300_000


@pytest.mark.parametrize("interval", ["3m", "1h", "4h", "1d", "3d", "1w", "1M"])
def test_long_candles_are_sums_of_short_ones(http: httpx.Client, interval: str) -> None:
    last, running = get(http, "/fapi/v1/klines", **S, interval=interval, limit=2)
    assert running[6] > NOW_MS
    assert last[6] + 1 == running[0]
    rows: list[list[Any]] = []
    start, end = last[0], last[6]
    step = "1m" if interval == "3m" else "1h"
    while start <= end:
        rows += get(http, "/fapi/v1/klines", **S, interval=step, startTime=start, endTime=end, limit=1500)
        start = rows[-1][6] + 1
    assert (rows[0][1], rows[-1][4]) == (last[1], last[4])
    for column in (5, 7, 9, 10):
        assert sum(Decimal(row[column]) for row in rows) == Decimal(last[column])
    assert sum(row[8] for row in rows) == last[8]


def test_reference_klines_carry_samples_and_no_volume(http: httpx.Client) -> None:
    start = OPEN_MINUTE - 10 * MINUTE
    window = {"interval": "1m", "startTime": start, "endTime": start + 4 * MINUTE}
    mark = get(http, "/fapi/v1/markPriceKlines", symbol="BTCUSDT", **window)
    index = get(http, "/fapi/v1/indexPriceKlines", pair="BTCUSDT", **window)
    premium = get(http, "/fapi/v1/premiumIndexKlines", symbol="BTCUSDT", **window)
    for rows, samples in ((mark, {59, 60}), (index, {59, 60}), (premium, {11, 12})):
        assert len(rows) == 5
        assert {row[8] for row in rows} <= samples
        assert {tuple(row[i] for i in (5, 7, 9, 10, 11)) for row in rows} == {("0",) * 5}
    for m, i in zip(mark, index, strict=True):
        assert abs(float(m[4]) / float(i[4]) - 1) < 2e-3
    assert http.get("/fapi/v1/indexPriceKlines", params=S | {"interval": "1m"}).json()["code"] == -1102
    running = get(http, "/fapi/v1/markPriceKlines", **K, limit=1)
    assert (running[0][0], running[0][8]) == (OPEN_MINUTE, 21)
    perpetual = {"pair": "BTCUSDT", "contractType": "PERPETUAL", **window}
    assert get(http, "/fapi/v1/continuousKlines", **perpetual) == get(
        http, "/fapi/v1/klines", symbol="BTCUSDT", **window
    )


def test_agg_trades_page_by_id_without_loss(http: httpx.Client) -> None:
    start = NOW_MS - 3 * HOUR
    by_time = get(http, "/fapi/v1/aggTrades", **S, startTime=start, limit=1000)
    assert all(row["T"] >= start for row in by_time)
    assert [row["a"] for row in by_time] == list(range(by_time[0]["a"], by_time[0]["a"] + 1000))
    paged: list[dict[str, Any]] = []
    next_id = by_time[0]["a"]
    while len(paged) < 1000:
        paged += get(http, "/fapi/v1/aggTrades", **S, fromId=next_id, limit=137)
        next_id = paged[-1]["a"] + 1
    assert paged[:1000] == by_time
    newest = get(http, "/fapi/v1/aggTrades", **S, limit=5)
    assert all(row["T"] <= NOW_MS for row in newest)
    assert get(http, "/fapi/v1/aggTrades", **S, fromId=newest[-1]["a"] + 1) == []
    window = get(http, "/fapi/v1/aggTrades", **S, startTime=by_time[3]["T"], endTime=by_time[9]["T"])
    assert window == [row for row in by_time if by_time[3]["T"] <= row["T"] <= by_time[9]["T"]]
    until = get(http, "/fapi/v1/aggTrades", **S, endTime=by_time[9]["T"], limit=3)
    assert until[-1]["T"] == by_time[9]["T"]
    assert set(newest[0]) == {"a", "p", "q", "nq", "f", "l", "T", "m"}


def test_agg_trades_of_an_hour_nearly_add_up_to_its_kline(http: httpx.Client) -> None:
    start = NOW_MS // HOUR * HOUR - HOUR
    kline = get(http, "/fapi/v1/klines", **S, interval="1h", startTime=start, limit=1)[0]
    rows = get(http, "/fapi/v1/aggTrades", **S, startTime=start, endTime=start + HOUR - 1, limit=1000)
    while rows[-1]["T"] < start + HOUR - MINUTE:
        rows += get(http, "/fapi/v1/aggTrades", **S, fromId=rows[-1]["a"] + 1, limit=1000)
    rows = [row for row in rows if row["T"] < start + HOUR]
    assert float(sum(Decimal(row["q"]) for row in rows)) == pytest.approx(float(kline[5]), rel=0.02)
    assert sum(row["l"] - row["f"] + 1 for row in rows) == pytest.approx(kline[8], rel=0.02)


def test_recent_trades_end_where_the_aggregates_end(http: httpx.Client) -> None:
    trades = get(http, "/fapi/v1/trades", **S, limit=50)
    newest = get(http, "/fapi/v1/aggTrades", **S, limit=1)[0]
    assert trades[-1]["id"] == newest["l"]
    assert trades[-1]["price"] == newest["p"]
    assert Decimal(trades[0]["quoteQty"]) == Decimal(trades[0]["price"]) * Decimal(trades[0]["qty"])


def test_retention(http: httpx.Client) -> None:
    old = http.get("/fapi/v1/aggTrades", params=S | {"startTime": NOW_MS - 2 * DAY - 1})
    assert (old.status_code, old.json()["code"]) == (400, -4166)
    assert "recent 2 days" in old.json()["msg"]
    assert http.get("/fapi/v1/aggTrades", params=S | {"fromId": 1}).json()["code"] == -4166
    assert get(http, "/fapi/v1/aggTrades", **S, startTime=NOW_MS - 2 * DAY + 1000, limit=1)
    data = {**S, "period": "5m", "limit": 1}
    assert get(http, "/futures/data/openInterestHist", **data, startTime=NOW_MS - 30 * DAY)
    refused = http.get("/futures/data/openInterestHist", params=data | {"startTime": NOW_MS - 35 * DAY})
    assert (refused.status_code, refused.json()) == (400, {"code": -1130, "msg": "parameter 'startTime' is invalid."})


@pytest.mark.parametrize(
    ("path", "params", "code"),
    [
        ("/fapi/v1/klines", {"interval": "1m"}, -1102),
        ("/fapi/v1/klines", {"symbol": "BTCUSDT"}, -1102),
        ("/fapi/v1/klines", {"symbol": "NOPE", "interval": "1m"}, -1121),
        ("/fapi/v1/klines", {"symbol": "BTCUSDT", "interval": "1s"}, -1120),
        ("/fapi/v1/klines", {**K, "limit": 1501}, -1130),
        ("/fapi/v1/klines", {**K, "limit": 0}, -1130),
        ("/fapi/v1/klines", {**K, "startTime": "x"}, -1102),
        ("/fapi/v1/klines", {**K, "startTime": 2, "endTime": 1}, -1023),
        ("/fapi/v1/aggTrades", {**S, "limit": 1001}, -1130),
        ("/fapi/v1/depth", {**S, "limit": 7}, -4021),
        ("/fapi/v1/continuousKlines", {"pair": "BTCUSDT", "contractType": "X", "interval": "1m"}, -1130),
        ("/futures/data/openInterestHist", {**S, "period": "1m"}, -1130),
        ("/futures/data/openInterestHist", {**S, "period": "8h"}, -1130),
        ("/futures/data/openInterestHist", {**S, "period": "5m", "limit": 501}, -1130),
        ("/futures/data/basis", {"pair": "BTCUSDT", "period": "5m"}, -1102),
    ],
)
def test_error_codes(http: httpx.Client, path: str, params: dict[str, Any], code: int) -> None:
    answer = http.get(path, params=params)
    assert answer.status_code == 400
    assert answer.json()["code"] == code
    assert answer.json()["msg"]


@pytest.mark.parametrize(
    ("path", "params", "weight"),
    [
        *(("klines", {**K, "limit": n}, w) for n, w in ((1, 1), (100, 1), (101, 2), (500, 2), (501, 5), (1000, 5))),
        ("klines", {**K, "limit": 1001}, 10),
        ("klines", K, 5),
        ("premiumIndexKlines", {**K, "limit": 499}, 2),
        ("aggTrades", {**S, "limit": 1}, 20),
        ("trades", S, 5),
        *(("depth", {**S, "limit": n}, w) for n, w in ((5, 2), (50, 2), (100, 5), (500, 10), (1000, 20))),
        ("depth", S, 1),
        ("premiumIndex", S, 1),
        ("premiumIndex", {}, 10),
        ("ticker/24hr", S, 1),
        ("ticker/24hr", {}, 40),
        ("openInterest", S, 1),
        ("exchangeInfo", {}, 1),
        ("klines", {"symbol": "NOPE", "interval": "1m", "limit": 1}, 1),
    ],
)
def test_weights_as_measured(http: httpx.Client, path: str, params: dict[str, Any], weight: int) -> None:
    assert http.get(f"/fapi/v1/{path}", params=params).headers[WEIGHT] == str(weight)
    assert http.get("/fapi/v1/time").headers[WEIGHT] == str(weight + 1)


def test_endpoints_with_their_own_bucket_send_no_weight_header(http: httpx.Client) -> None:
    for path, params in (("/fapi/v1/fundingRate", S), ("/futures/data/openInterestHist", {**S, "period": "5m"})):
        answer = http.get(path, params=params)
        assert answer.status_code == 200
        assert WEIGHT not in answer.headers
    assert http.get("/fapi/v1/time").headers[WEIGHT] == "1"
    assert http.get("/api/v3/klines", params=K).headers[WEIGHT] == "2"


def test_depth_and_tickers_agree(http: httpx.Client) -> None:
    book = get(http, "/fapi/v1/depth", **S)
    assert (len(book["bids"]), len(book["asks"])) == (500, 500)
    best = get(http, "/fapi/v1/ticker/bookTicker", **S)
    assert [best["bidPrice"], best["bidQty"]] == book["bids"][0]
    assert [best["askPrice"], best["askQty"]] == book["asks"][0]
    assert float(best["bidPrice"]) < float(best["askPrice"])
    last = get(http, "/fapi/v1/trades", **S, limit=1)[0]
    assert last["price"] in (best["bidPrice"], best["askPrice"])
    assert [row["symbol"] for row in get(http, "/fapi/v1/ticker/bookTicker")] == ["BTCUSDT", "ETHUSDT"]
    assert get(http, "/fapi/v1/ticker/24hr", **S)["lastPrice"] == last["price"]


def test_funding_and_premium(http: httpx.Client) -> None:
    rows = get(http, "/fapi/v1/fundingRate", **S)
    assert len(rows) == 200
    assert rows == sorted(rows, key=lambda row: row["fundingTime"])
    assert NOW_MS - 8 * HOUR < rows[-1]["fundingTime"] <= NOW_MS
    assert len(get(http, "/fapi/v1/fundingRate", **S, startTime=NOW_MS - 90 * DAY)) == 100
    at = rows[10]["fundingTime"]
    assert get(http, "/fapi/v1/fundingRate", **S, startTime=at, endTime=at) == [rows[10]]
    first = get(http, "/fapi/v1/fundingRate", **S, startTime=1, limit=1)[0]
    assert datetime.fromtimestamp(first["fundingTime"] / 1000, UTC) < datetime(2019, 9, 10, tzinfo=UTC)
    assert first["markPrice"] == ""
    premium = get(http, "/fapi/v1/premiumIndex", **S)
    assert "predictedFundingRate" not in premium
    assert premium["nextFundingTime"] == (NOW_MS // (8 * HOUR) + 1) * 8 * HOUR
    assert {row["fundingIntervalHours"] for row in get(http, "/fapi/v1/fundingInfo")} == {8}


def test_slow_series_stamps(http: httpx.Client) -> None:
    step = 5 * MINUTE
    data = {**S, "period": "5m"}
    interest = get(http, "/futures/data/openInterestHist", **data)
    assert len(interest) == 30
    assert interest[-1]["timestamp"] == NOW_MS // step * step, "a snapshot is stamped with its own time"
    taker = get(http, "/futures/data/takerlongshortRatio", **data, limit=2)
    assert taker[-1]["timestamp"] == NOW_MS // step * step - step, "the taker ratio with the start of its period"
    assert "symbol" not in taker[-1]
    start = taker[-1]["timestamp"]
    minutes = get(http, "/fapi/v1/klines", **K, startTime=start, endTime=start + step - 1)
    assert sum(Decimal(row[9]) for row in minutes) == Decimal(taker[-1]["buyVol"])
    for name in ("topLongShortAccountRatio", "topLongShortPositionRatio", "globalLongShortAccountRatio"):
        row = get(http, f"/futures/data/{name}", **data, limit=1)[0]
        assert Decimal(row["longAccount"]) + Decimal(row["shortAccount"]) == 1
        assert float(row["longShortRatio"]) == pytest.approx(
            float(row["longAccount"]) / float(row["shortAccount"]), abs=1e-4
        )
    window = get(
        http, "/futures/data/openInterestHist", **data, startTime=interest[3]["timestamp"],
        endTime=interest[6]["timestamp"], limit=500,
    )  # fmt: skip
    assert window == interest[3:7]
    basis = get(http, "/futures/data/basis", pair="BTCUSDT", contractType="PERPETUAL", period="5m", limit=1)[0]
    assert basis["annualizedBasisRate"] == ""


def test_exchange_info_names_the_symbols(http: httpx.Client) -> None:
    info = get(http, "/fapi/v1/exchangeInfo")
    assert [row["symbol"] for row in info["symbols"]] == ["BTCUSDT", "ETHUSDT"]
    assert info["rateLimits"][0] == {
        "rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 2400,
    }  # fmt: skip
    assert get(http, "/fapi/v1/time") == {"serverTime": NOW_MS}
    assert get(http, "/fapi/v1/ping") == get(http, "/api/v3/ping") == {}
    assert http.get("/fapi/v1/allForceOrders").status_code == 404


def test_over_the_limit_comes_429_then_a_ban_that_ends(sim: SimulatorServer) -> None:
    clock = [datetime(2026, 2, 15, 12, 0, 10, tzinfo=UTC)]
    with (
        SimulatorServer(symbols=("BTCUSDT",), clock=lambda: NOW, limit_clock=lambda: clock[0]) as own,
        httpx.Client(base_url=own.base_url) as http,
    ):

        def ask() -> httpx.Response:
            return http.get("/fapi/v1/aggTrades", params=S | {"limit": 1})

        served = [ask() for _ in range(120)]
        assert {answer.status_code for answer in served} == {200}
        assert served[-1].headers[WEIGHT] == "2400"
        refused = ask()
        assert refused.status_code == 429
        assert refused.json()["code"] == -1003
        assert refused.headers["Retry-After"] == "50"
        clock[0] += timedelta(seconds=50)
        assert ask().headers[WEIGHT] == "20", "a new clock minute starts from zero"
        answers = [ask() for _ in range(126)]
        assert [answer.status_code for answer in answers[119:125]] == [429] * 5 + [418]
        until = (int(clock[0].timestamp()) + 120) * 1000
        assert str(until) in answers[124].json()["msg"]
        assert answers[124].headers["Retry-After"] == "120"
        assert answers[125].headers["Retry-After"] == "121", "a call during the ban lengthens it"
        assert http.get("/futures/data/openInterestHist", params=S | {"period": "5m"}).status_code == 418
        clock[0] += timedelta(seconds=130)
        assert ask().status_code == 200


def test_the_other_buckets_refuse_by_themselves(sim: SimulatorServer) -> None:
    clock = datetime(2026, 2, 15, 12, 1, tzinfo=UTC)
    with (
        SimulatorServer(symbols=("BTCUSDT",), clock=lambda: NOW, limit_clock=lambda: clock) as own,
        httpx.Client(base_url=own.base_url) as http,
    ):
        statuses = [http.get("/fapi/v1/fundingRate", params=S | {"limit": 1}).status_code for _ in range(502)]
        assert statuses.count(200) == 500
        assert statuses[500] == 429
        assert http.get("/fapi/v1/time").status_code == 200
