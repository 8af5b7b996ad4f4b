"""Vision of the simulator over a real socket: paths, headers by era, publication, bytes, agreement with REST."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest

from lake_resources.simulator.server import SimulatorServer

pytestmark = pytest.mark.slow

NOW = datetime(2026, 7, 4, 8, 34, 59, tzinfo=UTC)
DAILY = "/data/futures/um/daily"
MONTHLY = "/data/futures/um/monthly"
KLINE_HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatorServer]:
    with SimulatorServer(seed=7, symbols=("BTCUSDT", "LINKUSDT"), clock=lambda: NOW) as server:
        yield server


@pytest.fixture
def http(sim: SimulatorServer) -> Iterator[httpx.Client]:
    sim.exchange.limits.reset()
    sim.clock.offset(timedelta(0))
    with httpx.Client(base_url=sim.base_url, timeout=60) as client:
        yield client


def lines(http: httpx.Client, path: str) -> list[str]:
    """Lines of the one CSV of a zip whose CHECKSUM was compared."""
    answer = http.get(path)
    assert answer.status_code == 200, answer.text
    shown = http.get(f"{path}.CHECKSUM").text
    name = path.rpartition("/")[2]
    assert shown == f"{hashlib.sha256(answer.content).hexdigest()}  {name}\n"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [name.replace(".zip", ".csv")]
        return archive.read(archive.namelist()[0]).decode().splitlines()


def daily(stream: str, day: str, symbol: str = "BTCUSDT", interval: str = "") -> str:
    folder = f"{interval}/" if interval else ""
    return f"{DAILY}/{stream}/{symbol}/{folder}{symbol}-{interval or stream}-{day}.zip"


def rest(http: httpx.Client, path: str, **params: Any) -> list[Any]:
    answer = http.get(path, params=params)
    assert answer.status_code == 200, answer.text
    rows: list[Any] = answer.json()
    return rows


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("stream", "interval", "day", "header", "rows"),
    [
        ("klines", "1m", "2026-06-30", KLINE_HEADER, 1440),
        ("klines", "1m", "2022-05-06", None, 1440),
        ("klines", "1m", "2019-12-31", None, 1440),
        ("klines", "1h", "2026-06-30", KLINE_HEADER, 24),
        ("klines", "1d", "2026-06-30", KLINE_HEADER, 1),
        ("markPriceKlines", "1m", "2026-06-30", KLINE_HEADER, 1440),
        ("indexPriceKlines", "1m", "2020-01-01", None, 1440),
        ("premiumIndexKlines", "1m", "2026-06-30", KLINE_HEADER, 1440),
        ("aggTrades", "", "2022-08-10", None, None),
        (
            "aggTrades", "", "2022-08-11",
            "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker", None,
        ),
        ("trades", "", "2026-06-30", "id,price,qty,quote_qty,time,is_buyer_maker", None),
        (
            "bookTicker", "", "2023-05-16",
            "update_id,best_bid_price,best_bid_qty,best_ask_price,best_ask_qty,transaction_time,event_time", None,
        ),
        ("bookDepth", "", "2023-10-16", "timestamp,percentage,depth,notional", 28800),
        ("bookDepth", "", "2026-06-30", "timestamp,percentage,depth,notional", 34560),
    ],
)  # fmt: skip
def test_layout_by_era(
    http: httpx.Client, stream: str, interval: str, day: str, header: str | None, rows: int | None
) -> None:
    found = lines(http, daily(stream, day, interval=interval))
    if header is None:
        assert found[0][0].isdigit()
    else:
        assert found.pop(0) == header
    assert found[0][0].isdigit()
    if rows is not None:
        assert len(found) == rows
    else:
        assert len(found) > 10_000
    with_stamp = {"aggTrades": 5, "trades": 4, "bookTicker": 5, "bookDepth": 0}.get(stream, 0)
    stamps = [line.split(",")[with_stamp] for line in found]
    times = [ms(stamp) if "-" in stamp else int(stamp) for stamp in stamps]
    assert ms(day) <= times[0] <= times[-1] < ms(day) + 86_400_000
    assert times == sorted(times)


@pytest.mark.parametrize(
    "path",
    [
        daily("bookTicker", "2023-05-15"),
        daily("bookTicker", "2024-03-31"),
        daily("klines", "2019-12-30", interval="1m"),
        daily("klines", "2026-06-30", interval="7m"),
        daily("klines", "2026-06-30"),
        daily("klines", "2026-06-30", symbol="NOPE", interval="1m"),
        daily("fundingRate", "2026-05-01"),
        daily("klines", "2026-02-30", interval="1m"),
        f"{DAILY}/markPriceKlines/BTCUSDT/1m/BTCUSDT-markPriceKlines-1m-2026-06-30.zip",
        f"{MONTHLY}/metrics/BTCUSDT/BTCUSDT-metrics-2026-05.zip",
    ],
)
def test_what_binance_does_not_have_is_a_404_in_xml(http: httpx.Client, path: str) -> None:
    for each in (path, f"{path}.CHECKSUM"):
        answer = http.get(each)
        assert answer.status_code == 404
        assert "<Code>NoSuchKey</Code>" in answer.text


def test_a_day_appears_in_the_morning_after_and_a_month_on_its_first_monday(
    sim: SimulatorServer, http: httpx.Client
) -> None:
    path = daily("klines", "2026-07-03", interval="1m")
    assert http.get(path).status_code == http.get(f"{path}.CHECKSUM").status_code == 404
    sim.clock.offset(timedelta(seconds=1))
    assert http.get(path).status_code == 200
    month = f"{MONTHLY}/fundingRate/BTCUSDT/BTCUSDT-fundingRate-2026-06.zip"
    for day, status in ((5, 404), (6, 200)):
        sim.clock.freeze(datetime(2026, 7, day, 9, 0, tzinfo=UTC))
        assert http.get(month).status_code == status
    later = http.get(path).content
    sim.clock.freeze(datetime(2027, 1, 1, tzinfo=UTC))
    assert http.get(path).content == later, "the bytes of a file depend on when it is asked for"


def test_klines_equal_rest_as_decimals(http: httpx.Client) -> None:
    start = ms("2026-07-01")
    for stream, name in (("klines", "symbol"), ("markPriceKlines", "symbol"), ("indexPriceKlines", "pair")):
        archive = [line.split(",") for line in lines(http, daily(stream, "2026-07-01", interval="1m"))[1:]]
        window = {"interval": "1m", "startTime": start, "endTime": start + 86_399_999, "limit": 1500}
        answer = rest(http, f"/fapi/v1/{stream}", **{name: "BTCUSDT"}, **window)
        assert len(answer) == 1440
        for left, right in zip(archive, answer, strict=True):
            assert [Decimal(value) for value in left] == [Decimal(str(value)) for value in right]


def test_agg_trades_equal_rest(http: httpx.Client) -> None:
    # 2026-07-03 is published at 08:35; the frozen market below is a minute later, well inside the 48 hours.
    archive = [line.split(",") for line in lines(http, daily("aggTrades", "2026-07-02"))[1:]]
    start = NOW - timedelta(hours=47)
    late = [row for row in archive if int(row[5]) >= start.timestamp() * 1000][:1500]
    paged: list[dict[str, Any]] = []
    while len(paged) < 1500:
        first = int(late[0][0]) + len(paged)
        paged += rest(http, "/fapi/v1/aggTrades", symbol="BTCUSDT", fromId=first, limit=1000)
    for row, trade in zip(late, paged, strict=False):
        assert [int(row[0]), int(row[3]), int(row[4]), int(row[5])] == [trade[key] for key in "aflT"]
        assert (Decimal(row[1]), Decimal(row[2])) == (Decimal(trade["p"]), Decimal(trade["q"]))
        assert row[6] == str(trade["m"]).lower()


def test_trades_rebuild_the_klines_exactly(http: httpx.Client) -> None:
    minutes: dict[int, list[list[str]]] = {}
    for line in lines(http, daily("trades", "2026-06-30"))[1:]:
        row = line.split(",")
        minutes.setdefault(int(row[4]) // 60_000 * 60_000, []).append(row)
    klines = [line.split(",") for line in lines(http, daily("klines", "2026-06-30", interval="1m"))[1:]]
    quiet = 0
    for kline in klines:
        rows = minutes.get(int(kline[0]), [])
        assert len(rows) == int(kline[8])
        assert sum(Decimal(row[2]) for row in rows) == Decimal(kline[5])
        assert sum(Decimal(row[3]) for row in rows) == Decimal(kline[7])
        assert sum(Decimal(row[2]) for row in rows if row[5] == "false") == Decimal(kline[9])
        quiet += not rows
        if rows:
            prices = [Decimal(row[1]) for row in rows]
            shown = [Decimal(value) for value in kline[1:5]]
            assert [prices[0], max(prices), min(prices), prices[-1]] == shown
    assert quiet > 0


@pytest.mark.parametrize(
    ("day", "first", "last"),
    [
        ("2026-06-23", "2026-06-23 00:05:00", "2026-06-24 00:00:00"),
        ("2026-06-24", "2026-06-24 00:05:00", "2026-06-25 00:00:00"),
        ("2026-06-25", "2026-06-25 00:00:00", "2026-06-25 23:55:00"),
        ("2026-06-26", "2026-06-26 00:00:00", "2026-06-26 23:55:00"),
    ],
)
def test_metrics_labels_by_era_and_values_by_rest(http: httpx.Client, day: str, first: str, last: str) -> None:
    found = [line.split(",") for line in lines(http, daily("metrics", day))[1:]]
    assert (len(found), found[0][0], found[-1][0]) == (288, first, last)
    # A label of the old era is the end of its 5 minutes, one of the new era the start.
    to_end = 0 if day < "2026-06-25" else 300_000
    start = ms(day) + 300_000
    query = {"symbol": "BTCUSDT", "period": "5m", "startTime": start, "limit": 288}
    interest = rest(http, "/futures/data/openInterestHist", **query)
    top = rest(http, "/futures/data/topLongShortAccountRatio", **query)
    positions = rest(http, "/futures/data/topLongShortPositionRatio", **query)
    every = rest(http, "/futures/data/globalLongShortAccountRatio", **query)
    taker = rest(http, "/futures/data/takerlongshortRatio", **query | {"startTime": start - 300_000})
    for row, oi, account, position, all_accounts, volume in zip(
        found, interest, top, positions, every, taker, strict=True
    ):
        assert ms(row[0]) + to_end == oi["timestamp"] == account["timestamp"]
        assert ms(row[0]) + to_end - 300_000 == volume["timestamp"]
        assert [Decimal(value) for value in row[2:]] == [
            Decimal(value)
            for value in (
                oi["sumOpenInterest"],
                oi["sumOpenInterestValue"],
                account["longShortRatio"],
                position["longShortRatio"],
                all_accounts["longShortRatio"],
                volume["buySellRatio"],
            )
        ]


def test_funding_equals_rest(http: httpx.Client) -> None:
    found = [line.split(",") for line in lines(http, f"{MONTHLY}/fundingRate/BTCUSDT/BTCUSDT-fundingRate-2026-04.zip")]
    assert found.pop(0) == ["calc_time", "funding_interval_hours", "last_funding_rate"]
    assert len(found) == 90
    assert {row[1] for row in found} == {"8"}
    answer = rest(http, "/fapi/v1/fundingRate", symbol="BTCUSDT", startTime=ms("2026-04-01"), limit=90)
    assert [(int(row[0]), Decimal(row[2])) for row in found] == [
        (row["fundingTime"], Decimal(row["fundingRate"])) for row in answer
    ]


def test_monthly_klines_are_the_days_one_after_another(http: httpx.Client) -> None:
    month = lines(http, f"{MONTHLY}/klines/LINKUSDT/1m/LINKUSDT-1m-2026-02.zip")
    assert len(month) == 1 + 28 * 1440
    day = lines(http, daily("klines", "2026-02-03", symbol="LINKUSDT", interval="1m"))
    assert month[1 + 2 * 1440 : 1 + 3 * 1440] == day[1:]


def test_digits_are_those_of_binance(http: httpx.Client) -> None:
    row = lines(http, daily("bookTicker", "2023-10-02"))[1].split(",")
    assert [len(value.partition(".")[2]) for value in row[1:5]] == [8] * 4
    row = lines(http, daily("markPriceKlines", "2026-06-30", interval="1m"))[1].split(",")
    assert [row[5], row[7], row[9], row[10], row[11]] == ["0", "0.00000000", "0", "0.00000000", "0"]
    depth = [line.split(",")[1] for line in lines(http, daily("bookDepth", "2023-10-16"))[1:11]]
    assert depth == ["-5", "-4", "-3", "-2", "-1", "1", "2", "3", "4", "5"]
    depth = [line.split(",")[1] for line in lines(http, daily("bookDepth", "2026-06-30"))[1:13]]
    assert depth[4:8] == ["-1.00", "-0.20", "0.20", "1.00"]
    mixed = [line.split(",")[1] for line in lines(http, daily("bookDepth", "2026-01-15"))[1:]]
    assert "-5" in mixed
    assert "-5.00" in mixed


def test_two_servers_of_one_seed_publish_the_same_bytes(http: httpx.Client) -> None:
    paths = [daily("aggTrades", "2026-06-29"), daily("klines", "2026-06-29", interval="1m")]
    with SimulatorServer(seed=7, symbols=("BTCUSDT",), clock=lambda: NOW) as other:
        for path in paths:
            assert httpx.get(other.base_url + path, timeout=30).content == http.get(path).content
    head = http.head(paths[0])
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["Content-Length"]) > 100_000
