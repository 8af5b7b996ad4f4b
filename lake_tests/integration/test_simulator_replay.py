"""Real klines replayed: what REST and Vision serve equals the file, trades add up to it."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from lake_resources.simulator.market.bars import minute_bars, roll_up
from lake_resources.simulator.market.replay import ReplayMarket, load
from lake_resources.simulator.market.trades import MINUTE_MS
from lake_resources.simulator.server import SimulatorServer
from lake_resources.simulator.vision.archive_rows import KLINE_COLUMNS

Recorded = Callable[[str], Path]


def synthetic_minutes(path: Path, *, header: bool = True, factor: int = 1) -> Path:
    """An hour and a half of 1m klines with every odd case: quiet, one fill, few fills, one side only, a gap."""
    start = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp() * 1000)
    cases = [
        # open, high, low, close, volume, quote, count, taker volume, taker quote
        "100.0,100.0,100.0,100.0,0.000,0.0000,0,0.000,0.0000",
        "100.0,100.0,100.0,100.0,0.005,0.5000,1,0.005,0.5000",
        "100.0,100.5,100.0,100.5,0.003,0.3010,2,0.001,0.1005",
        "100.5,101.0,100.1,100.2,0.010,1.0050,5,0.004,0.4020",
        "100.2,103.0,99.0,101.7,5.000,505.0000,40,2.000,201.9000",
        "101.7,102.0,101.0,101.9,1.000,101.6000,30,1.000,101.6000",
        "101.9,102.0,101.0,101.1,1.000,101.6000,30,0.000,0.0000",
        "101.1,101.3,101.0,101.2,7.777,786.5658,400,3.333,337.1330",
    ]
    rows = []
    for minute in range(90):
        if minute in (50, 51):
            continue
        o, h, low, c, v, q, n, tv, tq = cases[minute % len(cases)].split(",")
        at = (start + minute * 60_000) * factor
        end = at + 60_000 * factor - 1
        rows.append(f"{at},{o},{h},{low},{c},{v},{end},{q},{n},{tv},{tq},0")
    path.write_text("\n".join([",".join(KLINE_COLUMNS), *rows] if header else rows))
    return path


def assert_trades_rebuild(market: ReplayMarket, start: int, end: int, *, exact_quotes: float) -> None:
    """The fills of [start, end) add up to the bars of the file."""
    bars = market.bars(start, end)
    trades = market.trades(start - 1, end)
    rebuilt = minute_bars(trades, start, end, int(bars.open[0]))
    rows = np.searchsorted(rebuilt.open_ms, bars.open_ms)
    busy = bars.volume > 0
    for name in ("open", "high", "low", "close"):
        assert (getattr(rebuilt, name)[rows] == getattr(bars, name))[busy].all(), name
    for name in ("volume", "count", "taker_volume"):
        assert (getattr(rebuilt, name)[rows] == getattr(bars, name)).all(), name
    assert (rebuilt.quote[rows] == bars.quote).mean() >= exact_quotes
    assert (np.diff(trades.agg_id) == 1).all()
    assert (np.diff(trades.fill_id) == 1).all()
    assert (np.diff(trades.fill_time) >= 0).all()
    assert (trades.first_id[1:] == trades.last_id[:-1] + 1).all()
    spread = trades.fill_time - trades.agg_time[trades.fill_agg]
    assert (spread.min() >= 0, spread.max() < 100) == (True, True)


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("factor", [1, 1000])
def test_odd_minutes_are_rebuilt_whatever_the_layout(tmp_path: Path, header: bool, factor: int) -> None:
    market = load([synthetic_minutes(tmp_path / "k.csv", header=header, factor=factor)], "BTCUSDT")
    assert market.end_minute is not None
    assert_trades_rebuild(market, market.first_minute, market.end_minute, exact_quotes=0.7)
    alone = market.trades(market.first_minute + 20, market.first_minute + 30)
    whole = market.trades(market.first_minute, market.end_minute)
    at = int(np.searchsorted(whole.agg_id, alone.agg_id[0]))
    for name in ("agg_id", "agg_time", "price", "quantity", "first_id", "last_id", "buyer_maker"):
        assert (getattr(whole, name)[at : at + len(alone.agg_id)] == getattr(alone, name)).all(), name
    assert alone.agg_id[0] == market.agg_count(market.first_minute + 20) + 1
    for agg_id, at_ms in zip(whole.agg_id.tolist(), whole.agg_time.tolist(), strict=True):
        assert market.minute_of_agg(agg_id) == at_ms // MINUTE_MS


def archive(http: httpx.Client, path: str) -> list[list[str]]:
    answer = http.get(path)
    assert answer.status_code == 200, answer.text
    with zipfile.ZipFile(io.BytesIO(answer.content)) as file:
        return [line.split(",") for line in file.read(file.namelist()[0]).decode().splitlines()]


def decimals(row: list[Any]) -> list[Decimal]:
    return [Decimal(str(value)) for value in row]


def test_rest_and_vision_serve_the_file(tmp_path: Path) -> None:
    path = synthetic_minutes(tmp_path / "k.csv")
    wanted = [decimals(line.split(",")) for line in path.read_text().splitlines()[1:]]
    start = int(wanted[0][0])
    now = [datetime(2026, 3, 2, 9, 0, tzinfo=UTC)]
    replays = {"BTCUSDT": load([path], "BTCUSDT")}
    with (
        SimulatorServer(symbols=("ETHUSDT",), clock=lambda: now[0], replays=replays) as sim,
        httpx.Client(base_url=sim.base_url) as http,
    ):
        ask = {"symbol": "BTCUSDT", "interval": "1m", "startTime": start, "limit": 1500}
        assert [decimals(row) for row in http.get("/fapi/v1/klines", params=ask).json()] == wanted
        folder = "/data/futures/um/daily"
        rows = archive(http, f"{folder}/klines/BTCUSDT/1m/BTCUSDT-1m-2026-03-01.zip")
        assert [decimals(row) for row in rows[1:]] == wanted
        hours = http.get("/fapi/v1/klines", params=ask | {"interval": "1h"}).json()
        first = wanted[:58]
        assert decimals(hours[0][1:6]) == [
            first[0][1], max(row[2] for row in first), min(row[3] for row in first), first[-1][4],
            sum(row[5] for row in first),
        ]  # fmt: skip
        aggs = archive(http, f"{folder}/aggTrades/BTCUSDT/BTCUSDT-aggTrades-2026-03-01.zip")[1:]
        assert sum(Decimal(row[2]) for row in aggs) == sum(row[5] for row in wanted)
        assert sum(int(row[4]) - int(row[3]) + 1 for row in aggs) == sum(row[8] for row in wanted)
        recent = http.get("/fapi/v1/aggTrades", params={"symbol": "BTCUSDT", "startTime": start, "limit": 1000}).json()
        assert [row["a"] for row in recent] == [int(row[0]) for row in aggs[:1000]]
        # Outside its range a replayed symbol does not trade; a seeded one goes on.
        beyond = {"interval": "1m", "startTime": start + 5_400_000, "limit": 3}
        assert http.get("/fapi/v1/klines", params=beyond | {"symbol": "BTCUSDT"}).json() == []
        assert len(http.get("/fapi/v1/klines", params=beyond | {"symbol": "ETHUSDT"}).json()) == 3
        missing = f"{folder}/klines/BTCUSDT/1m/BTCUSDT-1m-2026-02-28.zip"
        assert http.get(missing).status_code == 404
        now[0] = datetime(2026, 3, 1, 0, 7, 30, tzinfo=UTC)
        running = http.get("/fapi/v1/klines", params=ask).json()
        assert len(running) == 8
        assert decimals(running[6]) == wanted[6]
        assert 0 < running[7][8] < wanted[7][8]


def test_two_layouts_that_are_no_klines_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="2 columns"):
        load([path], "BTCUSDT")
    with pytest.raises(ValueError, match="not 1h bars"):
        load([synthetic_minutes(tmp_path / "k.csv")], "BTCUSDT", interval="1h")


def test_hours_stay_exact_and_minutes_add_up_to_them(tmp_path: Path) -> None:
    path = tmp_path / "hours.csv"
    lines = ["Date,Open,High,Low,Close,Volume"]
    for hour in range(48):
        close = 42000 + 10 * (hour % 7)
        lines.append(f"{1 + hour // 24:02d}-01-2024 {hour % 24:02d}:00,42010,42100.5,41900.1,{close},{1000 + hour}.25")
    lines[5] = "01-01-2024 04:00,42010,42010,42010,42010,0"
    lines[6] = "01-01-2024 05:00,42010,42020,42000,42010,0.05"
    path.write_text("\n".join(lines))
    check_hours(path, lines)


def check_hours(path: Path, lines: list[str]) -> None:
    market = load([path], "BTCUSDT")
    assert market.hours is not None
    minutes = market.bars(market.first_minute, market.first_minute + 2 * 1440)
    rolled, hours = roll_up(minutes, "1h"), market.hours.take(slice(0, 48))
    for name in ("open_ms", "open", "high", "low", "close", "volume", "count", "taker_volume"):
        assert (getattr(rolled, name) == getattr(hours, name)).all(), name
    assert_trades_rebuild(market, market.first_minute, market.first_minute + 1440, exact_quotes=1.0)
    # The end of the second day, published: the file's decimals come out of REST and Vision.
    end = datetime.fromtimestamp((market.first_minute + 2 * 1440) * 60, UTC) + timedelta(hours=9)
    with (
        SimulatorServer(symbols=(), clock=lambda: end, replays={"BTCUSDT": market}) as sim,
        httpx.Client(base_url=sim.base_url) as http,
    ):
        ask = {"symbol": "BTCUSDT", "interval": "1h", "startTime": market.first_minute * MINUTE_MS, "limit": 48}
        answer = http.get("/fapi/v1/klines", params=ask).json()
        assert [decimals(row[1:6]) for row in answer] == [decimals(line.split(",")[1:]) for line in lines[1:49]]
        day = f"{(end - timedelta(days=2)).date()}"
        rows = archive(http, f"/data/futures/um/daily/klines/BTCUSDT/1h/BTCUSDT-1h-{day}.zip")[1:]
        assert [decimals(row[:6]) for row in rows] == [decimals(row[:6]) for row in answer[:24]]


def test_a_recorded_hourly_file(recorded: Recorded) -> None:
    path = recorded("hourly/BTCUSDT_perp_1h_2024-01_to_2024-08.csv")
    check_hours(path, path.read_text().splitlines())


def test_a_recorded_headerless_day_of_four_million_fills(recorded: Recorded) -> None:
    market = load([recorded("vision/um/klines_1m_daily_headerless/BTCUSDT-1m-2022-05-06.csv")], "BTCUSDT")
    assert market.end_minute == market.first_minute + 1440
    bars = market.bars(market.first_minute, market.end_minute)
    assert int(bars.count.sum()) == 3_998_315
    assert Decimal(int(bars.volume.sum())).scaleb(-market.spec.quantity_digits) == Decimal("431979.240")
    assert market.exact_quotes == 1.0
    assert_trades_rebuild(market, market.first_minute, market.first_minute + 60, exact_quotes=1.0)


@pytest.mark.parametrize(
    ("path", "symbol", "interval"),
    [
        ("vision/um/klines_1m_monthly/LINKUSDT-1m-2026-02.csv", "LINKUSDT", "1m"),
        ("vision/um/klines_1m_monthly/AVAXUSDT-1m-2026-06.csv", "AVAXUSDT", "1m"),
        ("vision/um/klines_1m_monthly/FILUSDT-1m-2024-09.csv", "FILUSDT", "1m"),
        ("vision/spot/klines_1m/BTCUSDT-1m-2025-01-01.csv", "BTCUSDT", "1m"),
    ],
)
def test_recorded_minutes(recorded: Recorded, path: str, symbol: str, interval: str) -> None:
    market = load([recorded(path)], symbol, interval=interval)
    assert_trades_rebuild(market, market.first_minute + 60, market.first_minute + 720, exact_quotes=0.97)


ROUNDED = "1.65180E+12,36533.70,36540.00,36501.00,36505.20,264.779,1.65180E+12,9670700.3,3057,71.0,25937.0,0\n"
TORN = "1651795200000,36533.70,36540.00\n1651795200000,36533.70,36540.00,36501.00,36505.20,264.779\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (ROUNDED * 3, r"the times are rounded \('1\.65180E\+12'\), as a spreadsheet does it"),
        (TORN, "cannot be read as klines|3 columns"),
        (ROUNDED.replace("1.65180E+12", "1651795200000").replace("36533.70", "x"), "cannot be read as klines"),
        ("", "cannot be read as klines"),
    ],
)
def test_a_file_that_cannot_be_replayed_is_one_sentence_and_exit_code_2(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "saved.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"saved.csv.*{reason}"):
        load([path], "BTCUSDT")
    command = [sys.executable, "-m", "lake_resources.simulator", "--replay", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 2
    assert "saved.csv" in done.stderr
    assert "Traceback" not in done.stderr
