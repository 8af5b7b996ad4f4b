"""The simulated spot market: REST, sockets and archives show one market, beside that of futures and not the same."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest
from websockets.exceptions import InvalidStatus

from lake_resources.binance.market import SPOT
from lake_resources.binance.rest.rest_client import BinanceRest
from lake_resources.binance.spot_streams import SPOT_STREAMS
from lake_resources.governor import WeightGovernor
from lake_resources.simulator.server import SimulatorServer
from lake_resources.simulator.ws.session import Session, WsLimits
from lake_tests.support.archive_rows import archive_rows
from lake_tests.support.ws_client import Socket

pytestmark = pytest.mark.slow

NOW = datetime(2026, 9, 15, 12, 34, 20, 500_000, UTC)
DAY = datetime(2026, 9, 13, tzinfo=UTC)
SYMBOL = "SOLUSDT"


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatorServer]:
    with SimulatorServer(symbols=(SYMBOL, "ETHUSDT_261225"), clock=lambda: NOW, limits=False) as server:
        yield server


def ask(sim: SimulatorServer, path: str, status: int = 200, **query: Any) -> Any:
    answer = httpx.get(f"{sim.base_url}/api/v3/{path}", params=query, trust_env=False, timeout=60)
    assert answer.status_code == status, answer.text
    return answer.json()


def archive(sim: SimulatorServer, tmp_path: Path, name: str, day: str) -> pl.DataFrame:
    stream = SPOT_STREAMS[name]
    answer = httpx.get(sim.base_url + stream.url_path(SYMBOL, day), trust_env=False, timeout=60)
    path = tmp_path / stream.file_name(SYMBOL, day)
    path.write_bytes(answer.raise_for_status().content)
    return archive_rows(path, stream)


def test_archives_of_a_day_agree_with_each_other_and_with_rest(sim: SimulatorServer, tmp_path: Path) -> None:
    day = f"{DAY:%Y-%m-%d}"
    seconds, minutes = archive(sim, tmp_path, "klines_1s", day), archive(sim, tmp_path, "klines_1m", day)
    fills, orders = archive(sim, tmp_path, "trades", day), archive(sim, tmp_path, "agg_trades", day)
    assert (seconds.height, minutes.height) == (86_400, 1440)
    for rows, step in ((seconds, "1s"), (minutes, "1m")):
        bars = fills.group_by(pl.col("time").dt.truncate(step)).agg(
            count=pl.len().cast(pl.Int64), open=pl.col("price").first(), close=pl.col("price").last()
        )
        traded = rows.filter(pl.col("count") > 0)
        assert traded.height == bars.height > 400
        assert traded.select("count", "open", "close").equals(bars.sort("time").select("count", "open", "close"))
        quiet = rows.with_columns(before=pl.col("close").shift(1)).filter(pl.col("count") == 0).drop_nulls("before")
        assert quiet.height > 0
        for name in ("open", "high", "low", "close"):
            assert (quiet[name] == quiet["before"]).all(), "a quiet bar carries the close before it"
        assert quiet["volume"].sum() == 0
    assert fills["id"].diff().drop_nulls().unique().to_list() == [1]
    assert (orders["last_trade_id"] - orders["first_trade_id"] + 1).sum() == fills.height
    rest = BinanceRest(sim.base_url, governor=WeightGovernor(tmp_path / "g.sqlite"), market=SPOT, clock=lambda: NOW)
    start = DAY.replace(hour=7)
    for name, held in (("klines_1s", seconds), ("klines_1m", minutes), ("agg_trades", orders)):
        stream = SPOT_STREAMS[name]
        told = rest.fetch(stream, SYMBOL, start, start.replace(hour=8))
        mine = held.filter(pl.col(stream.time_column).is_between(start, start.replace(hour=8), closed="left"))
        assert told.height > 0
        # A microsecond file ends a bar a microsecond before the next one, REST a millisecond.
        assert told.drop("close_time", strict=False).equals(mine.drop("close_time", strict=False))
    rest.close()


def test_files_have_no_header_and_microseconds_since_2025(sim: SimulatorServer) -> None:
    firsts = {}
    for day in ("2024-12-31", "2025-01-01"):
        for name in ("klines_1m", "agg_trades", "trades"):
            url = sim.base_url + SPOT_STREAMS[name].url_path(SYMBOL, day)
            content = httpx.get(url, trust_env=False, timeout=60).raise_for_status().content
            with zipfile.ZipFile(io.BytesIO(content)) as held:
                firsts[name, day] = held.read(held.namelist()[0]).decode().split("\n", 1)[0].split(",")
    assert firsts["klines_1m", "2024-12-31"][0] == "1735603200000"
    assert firsts["klines_1m", "2025-01-01"][0] == "1735689600000000"
    assert firsts["klines_1m", "2025-01-01"][6] == "1735689659999999"
    assert [len(firsts[name, "2025-01-01"][at]) for name, at in (("agg_trades", 5), ("trades", 4))] == [16, 16]
    assert firsts["agg_trades", "2025-01-01"][-1] == firsts["trades", "2025-01-01"][-1] == "True"


def test_spot_and_futures_are_related_and_not_equal(sim: SimulatorServer) -> None:
    spot, futures = sim.exchange.spot_feeds[SYMBOL], sim.exchange.feeds[SYMBOL]
    minute = int(DAY.timestamp()) // 60
    here, there = spot.closed_bars(minute, minute + 600), futures.closed_bars(minute, minute + 600)
    assert (abs(here.close / there.close - 1) < 5e-3).all()
    assert (here.close != there.close).mean() > 0.5
    assert (here.volume != there.volume).all()
    assert set(sim.exchange.spot_feeds) == {SYMBOL}, "a delivery contract is no spot symbol"


def test_the_last_seconds_and_what_is_refused(sim: SimulatorServer) -> None:
    rows = ask(sim, "klines", symbol=SYMBOL, interval="1s", limit=1000)
    assert [row[0] for row in rows] == list(range(rows[0][0], rows[0][0] + 1_000_000, 1000))
    assert rows[-1][6] >= NOW.timestamp() * 1000, "the open one comes last"
    assert ask(sim, "klines", 400, symbol=SYMBOL, interval="1s", limit=1001)["code"] == -1130
    assert ask(sim, "klines", 400, symbol=SYMBOL, interval="2s")["code"] == -1120
    assert ask(sim, "klines", 400, symbol="ETHUSDT_261225", interval="1s")["code"] == -1121
    futures = httpx.get(f"{sim.base_url}/fapi/v1/klines?symbol={SYMBOL}&interval=1s", trust_env=False, timeout=60)
    assert (futures.status_code, futures.json()["code"]) == (400, -1120), "futures have no seconds"


def test_trades_by_id_and_tickers(sim: SimulatorServer) -> None:
    last = ask(sim, "trades", symbol=SYMBOL, limit=1000)
    assert [row["id"] for row in last] == list(range(last[0]["id"], last[0]["id"] + 1000))
    assert ask(sim, "historicalTrades", symbol=SYMBOL, fromId=last[0]["id"], limit=1000) == last
    assert ask(sim, "ticker/price", symbol=SYMBOL)["price"] == last[-1]["price"]
    top = ask(sim, "ticker/bookTicker", symbols=f'["{SYMBOL}"]')[0]
    assert set(top) == {"symbol", "bidPrice", "bidQty", "askPrice", "askQty"}
    assert ask(sim, "ticker/24hr", symbol=SYMBOL)["bidPrice"] == top["bidPrice"]
    assert [row["symbol"] for row in ask(sim, "exchangeInfo")["symbols"]] == [SYMBOL]


def test_weights_are_those_of_spot() -> None:
    with SimulatorServer(symbols=(SYMBOL,), clock=lambda: NOW, limit_clock=lambda: NOW) as sim:
        used = []
        for path, query in (
            ("klines", {"interval": "1s", "limit": 1000}), ("aggTrades", {}), ("trades", {}), ("historicalTrades", {}),
            ("ticker/24hr", {}), ("exchangeInfo", {}), ("time", {}),
        ):  # fmt: skip
            answer = httpx.get(
                f"{sim.base_url}/api/v3/{path}", params={"symbol": SYMBOL, **query}, trust_env=False, timeout=60
            )
            used.append(int(answer.headers["X-MBX-USED-WEIGHT-1M"]))
        assert used == [2, 6, 31, 56, 58, 78, 79]
        sim.exchange.limits.charge("spot_weight_1m", 6000)
        refused = httpx.get(f"{sim.base_url}/api/v3/time", trust_env=False, timeout=60)
        assert refused.status_code == 429
        assert "6000" in refused.json()["msg"]
        assert httpx.get(f"{sim.base_url}/fapi/v1/time", trust_env=False, timeout=60).status_code == 200


def test_a_spot_socket_takes_five_messages_a_second_and_an_address_300_connections() -> None:
    session = Session("spot", combined=True, limits=WsLimits(), now_s=0.0)
    assert [session.count_message(0.0) for _ in range(6)] == [True] * 5 + [False]
    assert session.count_message(0.25)
    with SimulatorServer(symbols=(SYMBOL,), ws_limits=WsLimits(spot_attempts=2)) as sim:
        url = f"{sim.ws_url}/spot/stream?streams=solusdt@bookTicker"
        for _ in range(2):
            with Socket(url) as socket:
                assert socket.take(1)[0]["stream"] == "solusdt@bookTicker"
        with pytest.raises(InvalidStatus) as refused, Socket(url):
            pass
        assert refused.value.response.status_code == 429


def test_sockets_tell_the_fills_of_rest() -> None:
    start = datetime(2026, 9, 15, 12, 34, 20, tzinfo=UTC)
    with (
        SimulatorServer(symbols=(SYMBOL,), rate_per_min=600, speed=10.0, start=start, limits=False) as sim,
        Socket(f"{sim.ws_url}/spot/stream?streams=solusdt@trade/solusdt@aggTrade/solusdt@kline_1s") as socket,
    ):
        frames = socket.take(300)
        by_name: dict[str, list[Any]] = {}
        for frame in frames:
            by_name.setdefault(frame["stream"].partition("@")[2], []).append(frame["data"])
        trades = by_name["trade"]
        told = ask(sim, "historicalTrades", symbol=SYMBOL, fromId=trades[0]["t"], limit=len(trades))
        assert len(trades) > 50
        assert [(row["id"], row["price"], row["qty"], row["time"], row["isBuyerMaker"]) for row in told] == [
            (row["t"], row["p"], row["q"], row["T"], row["m"]) for row in trades
        ]
        closed = [bar["k"] for bar in by_name["kline_1s"] if bar["k"]["x"]]
        assert len(closed) > 2
        bars = ask(sim, "klines", symbol=SYMBOL, interval="1s", startTime=closed[0]["t"], limit=len(closed))
        assert [tuple(bar[name] for name in "tohlcv") for bar in closed] == [tuple(bar[:6]) for bar in bars]
