"""Spot over midnight: a socket that drops, REST that is down and a kill leave no second unexplained.

Sockets, REST and the clock are scripted, so the same happens on any machine; intake, segments, journal, healer, what a
restart reads, the fold, the gate and the certificate are the real ones. A soak on the simulator's sockets does the same
in real time.
"""

from __future__ import annotations

import random
import subprocess
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from lake_assets.build.hours import build_partitions
from lake_assets.lake import open_lake
from lake_assets.live.records_only import RecordsOnly
from lake_assets.live.spot_records import spot_records
from lake_assets.reading import load
from lake_assets.tables.spot_bars_1s import SPOT_BARS_1S
from lake_assets.transforms.trade_fold import FILLS, folded
from lake_resources.binance.market import SPOT
from lake_resources.binance.spot_streams import KLINES_1S
from lake_resources.binance.ws.stream_session import SessionLimits, StreamSession
from lake_resources.clock import HOUR, MINUTE, SECOND
from lake_resources.collector import healing
from lake_resources.collector.journal import Journal
from lake_resources.errors import ServerError
from lake_resources.settings import LakeSettings
from lake_resources.simulator.server import SimulatorServer
from lake_resources.storage.catalog import MarketPaths
from lake_tests.support.forgotten_writer import forget
from lake_tests.support.hand_driven import HandDriven
from lake_tests.support.spot_frames import SYMBOL, quote, trade, wrapped
from lake_tests.support.waiting import wait_until

MIDNIGHT = datetime(2026, 9, 21, tzinfo=UTC)
FIRST, LAST = MIDNIGHT - 5 * MINUTE, MIDNIGHT + 5 * MINUTE
"""The window that is judged; trades come before and after it, which prove its ends."""
NOW = MIDNIGHT + 2 * HOUR


@dataclass(frozen=True)
class Order:
    """A taker's order: so many trades of one millisecond and price, 1.5 each."""

    first_id: int
    fills: int
    at: datetime
    price: float

    @property
    def ms(self) -> int:
        return int(self.at.timestamp() * 1000)


def orders(seed: int = 5) -> list[Order]:
    """What is traded from a second before the window to a minute after it; many seconds are quiet."""
    draw, made, number, at = random.Random(seed), list[Order](), 1, FIRST - SECOND
    while at < LAST + MINUTE:
        fills = draw.randint(1, 3)
        made.append(Order(number, fills, at, 100 + draw.randint(-50, 50) / 100))
        number += fills
        at += timedelta(milliseconds=draw.choice([0, 7, 300, 900, 2_500]))
    return made


class Exchange:
    """Sockets that deliver while they stand, and REST that tells orders by trade id while it is up."""

    def __init__(self) -> None:
        self.orders, self.up = orders(), True

    def agg_trades_covering(self, symbol: str, first_id: int, last_id: int) -> list[dict[str, Any]]:
        del symbol
        if not self.up:
            raise ServerError("GET x", "503", status=503)
        found = [each for each in self.orders if each.first_id + each.fills > first_id and each.first_id <= last_id]
        return [
            {"a": each.first_id, "p": f"{each.price:.8f}", "q": f"{1.5 * each.fills:.8f}", "f": each.first_id,
             "l": each.first_id + each.fills - 1, "T": each.ms, "m": each.first_id % 2 == 0}
            for each in found
        ][:50]  # fmt: skip


class Collecting(HandDriven):
    """A collector of one spot symbol in a lake, on a clock that is moved by hand."""

    def __init__(self, root: Path, exchange: Exchange) -> None:
        self.exchange, self.now, self.conn = exchange, FIRST - SECOND, 0
        self.segments = MarketPaths(root, SPOT.name).live_records_dir
        self.journal = Journal(f"sqlite:///{root / 'ledger.sqlite'}", SPOT.name)
        self.start()

    def start(self) -> None:
        clock = lambda: int(self.now.timestamp() * 1000) * 1_000_000  # noqa: E731
        self.begin(SYMBOL, SPOT, self.exchange, clock, RecordsOnly(self.segments, clock).next_seq())
        self.connect()

    def connect(self) -> None:
        self.conn += 1
        self.session = StreamSession("", (SYMBOL,), SessionLimits(), SPOT)

    def now_s(self) -> float:
        return (self.now - FIRST) / SECOND

    def hear(self, order: Order) -> None:
        self.now = order.at
        for number in range(order.fills):
            frame = trade(order.first_id + number, order.ms, order.price, 1.5, sell=order.first_id % 2 == 0)
            self.intake.frame(self.conn, self.session, wrapped(frame), self.now_s())
        book = quote(order.first_id, order.price - 0.05, order.price + 0.05)
        self.intake.frame(self.conn, self.session, wrapped(book), self.now_s())

    def kill(self) -> None:
        forget(self.writer)
        self.start()


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(healing, "PAGE_PAUSE_S", 0.0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "lake"


def collect(root: Path) -> Exchange:
    """Ten minutes over midnight: the socket drops before it, REST is down around it, a kill comes after it."""
    root.mkdir()
    exchange = Exchange()
    collecting = Collecting(root, exchange)
    dropped = (MIDNIGHT - 20 * SECOND, MIDNIGHT + 20 * SECOND)
    unwritten, gone = MIDNIGHT + 125 * SECOND, MIDNIGHT + 130 * SECOND
    back, killed, again = MIDNIGHT + 140 * SECOND, False, False
    for order in exchange.orders:
        exchange.up = not MIDNIGHT - 30 * SECOND <= order.at < MIDNIGHT + 60 * SECOND
        if dropped[0] <= order.at < dropped[1] or gone <= order.at < back:
            continue
        if order.at >= dropped[1] and not again:
            collecting.connect()
            again = True
        if order.at >= back and not killed:
            collecting.now = order.at
            collecting.kill()
            killed = True
        collecting.hear(order)
        if not unwritten <= order.at < gone:
            collecting.flush()
        if order.first_id % 5 == 0:
            collecting.heal()
    for _ in range(60):  # pauses between attempts grow to minutes
        collecting.now += 30 * SECOND
        collecting.heal()
        collecting.flush()
    collecting.flush()
    collecting.writer.close_before(None)
    assert killed
    assert collecting.journal.gaps(), "something was lost on the way"
    assert {gap.status for gap in collecting.journal.gaps()} == {"healed"}
    collecting.journal.close()
    return exchange


def official(exchange: Exchange) -> pl.DataFrame:
    """The seconds that all trades make."""
    rows = [
        (each.first_id + number, each.first_id + number, each.at, each.price, 1.5, each.first_id % 2 == 0)
        for each in exchange.orders
        for number in range(each.fills)
    ]
    bars = folded(pl.DataFrame(rows, schema=FILLS, orient="row"), SECOND)
    return bars.filter(pl.col("open_time").is_between(FIRST, LAST, closed="left"))


def test_drops_and_kills_over_midnight_leave_no_second_unexplained(root: Path) -> None:
    exchange = collect(root)
    nobody = "http://127.0.0.1:9"
    settings = LakeSettings(
        _env_file=None, root=root, exchange="simulator", rest_url=nobody, spot_rest_url=nobody, vision_url=nobody,
        start=MIDNIGHT.date() - timedelta(days=1),
    )  # fmt: skip
    lake = replace(open_lake(settings, clock=lambda: NOW), ask_rest=False).of(SPOT_BARS_1S)
    hours = [MIDNIGHT - HOUR, MIDNIGHT]
    built = [
        hour for day in build_partitions(lake, SYMBOL, hours, now=NOW, report=lambda _: None) for hour in day.hours
    ]
    lake.close()
    assert [each.status for each in built] == ["committed", "committed"], "the last hour of a day as any other"
    frame, certificate = load(SYMBOL, FIRST, LAST, table="bars_1s", settings=settings, clock=lambda: NOW)
    assert certificate.as_json()["unexplained_seconds"] == 0
    assert certificate.holes == ()
    rows, wanted = frame.collect(), official(exchange)
    assert rows.height == wanted.height == 600
    assert (rows["trade_count"] == 0).sum() > 50
    pairs = {
        "window_start": "open_time", "open": "open", "high": "high", "low": "low", "close": "close",
        "volume_base": "volume", "volume_quote": "quote_volume", "trade_count": "count",
        "taker_buy_base": "taker_buy_volume", "taker_buy_quote": "taker_buy_quote_volume",
    }  # fmt: skip
    assert [ours for ours, theirs in pairs.items() if rows[ours].to_list() != wanted[theirs].to_list()] == []
    silent = rows.filter(pl.col("window_start").is_between(MIDNIGHT - 10 * SECOND, MIDNIGHT + 18 * SECOND))
    assert silent.height == 29
    assert not silent["has_quotes"].any(), "trades are fetched, quotes are gone, and none is carried over the drop"
    assert rows["has_quotes"].mean() > 0.7


_COLLECT = """
import sys, time
from lake_assets.live.recorder import run_collector
from lake_resources.settings import LakeSettings
from lake_resources.simulator.server import SimulatorServer
shifted_ns = int(sys.argv[1])
run_collector(LakeSettings(), say=print, clock_ns=lambda: time.time_ns() + shifted_ns)
"""


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_soak_over_midnight_on_real_sockets_ends_with_every_second(tmp_path: Path) -> None:
    spot = "SOLUSDT"
    began = MIDNIGHT - 100 * SECOND
    with SimulatorServer(symbols=("BTCUSDT",), spot_symbols=(spot,), rate_per_min=240, limits=False) as sim:
        sim.clock.run_from(began)
        shifted = began - datetime.now(UTC)
        given = {
            "LAKE_ROOT": str(tmp_path / "lake"), "LAKE_SYMBOLS": "BTCUSDT", "LAKE_SPOT_SYMBOLS": spot,
            "LAKE_MACRO_TICKERS": "", "LAKE_REST_URL": sim.base_url, "LAKE_WS_URL": sim.ws_url,
            "LAKE_SPOT_REST_URL": sim.base_url, "LAKE_SPOT_WS_URL": f"{sim.ws_url}/spot", "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        }  # fmt: skip
        command = [sys.executable, "-c", _COLLECT, str(int(shifted / timedelta(microseconds=1)) * 1000)]

        def until(instant: datetime) -> None:
            wait_until(lambda: sim.clock.now() >= instant, f"{instant:%T}", seconds=600, every_s=0.1)

        running = [subprocess.Popen(command, env=given, cwd=tmp_path)]
        try:
            until(MIDNIGHT - 50 * SECOND)
            sim.cut_sockets("spot")
            until(MIDNIGHT - 15 * SECOND)
            running[-1].kill()
            until(MIDNIGHT - 5 * SECOND)
            running.append(subprocess.Popen(command, env=given, cwd=tmp_path))
            until(MIDNIGHT + 30 * SECOND)
            sim.cut_sockets("spot")
            until(MIDNIGHT + 60 * SECOND)
            running[-1].terminate()
            running[-1].wait(60)
            running.append(subprocess.Popen(command, env=given, cwd=tmp_path))
            until(MIDNIGHT + 120 * SECOND)
            journal = Journal(f"sqlite:///{tmp_path / 'lake' / 'ledger.sqlite'}", SPOT.name)
            wait_until(lambda: journal.gaps("open") == [], "nothing missing", seconds=400, every_s=0.5)
            assert {gap.status for gap in journal.gaps()} == {"healed"}
            running[-1].terminate()
            assert running[-1].wait(60) == 0
        finally:
            for each in running:
                each.kill()
                each.wait()
        found = spot_records(tmp_path / "lake", spot, began, MIDNIGHT + HOUR)
        bars = folded(found.fills, SECOND)
        first, last = bars["open_time"][0], bars["open_time"][-1]
        assert last - first > 150 * SECOND
        settings = LakeSettings(
            _env_file=None, root=tmp_path / "lake", exchange="simulator", rest_url=sim.base_url,
            spot_rest_url=sim.base_url, vision_url="http://127.0.0.1:9", start=MIDNIGHT.date() - timedelta(days=1),
        )  # fmt: skip
        lake = open_lake(settings, clock=lambda: NOW, sleep=lambda _: None).of(SPOT_BARS_1S)
        official_seconds = lake.rest.fetch(KLINES_1S, spot, first, last + SECOND)
        lake = replace(lake, ask_rest=False)
        list(build_partitions(lake, spot, [MIDNIGHT - HOUR, MIDNIGHT], now=NOW, report=lambda _: None))
        lake.close()
    assert bars.equals(official_seconds), "every second from the first trade to the last, as the exchange has it"
    window = load(spot, first, last + SECOND, table="bars_1s", settings=settings, clock=lambda: NOW)
    assert window.certificate.as_json()["unexplained_seconds"] == 0
    assert window.frame.collect().height == bars.height
