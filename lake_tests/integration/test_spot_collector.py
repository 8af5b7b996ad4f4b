"""Spot beside futures in one collector, over the simulator's sockets: whole, healed by orders, as the exchange says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from lake_assets.live.recorder import Parts
from lake_assets.live.spot_records import HEALED_SOURCE, SpotRecords, read_spot, spot_records
from lake_assets.transforms.quote_placing import quotes_at_ends
from lake_assets.transforms.trade_fold import folded
from lake_resources.binance.market import SPOT
from lake_resources.binance.rest.rest_client import BinanceRest
from lake_resources.binance.spot_streams import KLINES_1S
from lake_resources.clock import SECOND
from lake_resources.collector.collector import Collector, CollectorSettings
from lake_resources.collector.intake import Intake
from lake_resources.collector.journal import Journal
from lake_resources.collector.segments import SegmentWriter
from lake_resources.governor import WeightGovernor
from lake_resources.settings import LakeSettings
from lake_resources.simulator.server import SimulatorServer
from lake_resources.simulator.ws.recording import Replay, read_recording
from lake_tests.support.collecting import collect_until
from lake_tests.support.observers import SilentObserver
from lake_tests.support.spot_frames import official_minutes
from lake_tests.support.waiting import wait_until

SYMBOL = "SOLUSDT"
START = datetime(2026, 2, 15, 12, 0, tzinfo=UTC)


Collect = Callable[[Callable[[], object]], Parts]


@pytest.fixture
def sim() -> Iterator[SimulatorServer]:
    spot = (SYMBOL, "ADAUSDT")
    with SimulatorServer(
        symbols=("BTCUSDT",), spot_symbols=spot, clock=lambda: START, rate_per_min=120, limits=False
    ) as server:
        yield server


@pytest.fixture
def collect(sim: SimulatorServer, tmp_path: Path) -> Collect:
    """Runs until a script beside it has come to its end."""
    given: dict[str, Any] = {"_env_file": None}
    settings = LakeSettings(
        root=tmp_path, rest_url=sim.base_url, ws_url=sim.ws_url, symbols=("BTCUSDT",),
        spot_symbols=(SYMBOL, "ADAUSDT"), spot_rest_url=sim.base_url, spot_ws_url=f"{sim.ws_url}/spot", **given,
    )  # fmt: skip
    return lambda script: collect_until(settings, script, paced=sim)


def heard(root: Path, symbol: str = SYMBOL) -> SpotRecords:
    return spot_records(root, symbol, START - timedelta(minutes=1), START + timedelta(minutes=30))


def same_as_official(sim: SimulatorServer, root: Path, bars: pl.DataFrame, symbol: str = SYMBOL) -> None:
    """The folded seconds are those that the exchange publishes."""
    assert bars.height > 30
    rest = BinanceRest(
        sim.base_url, governor=WeightGovernor(root / "g.sqlite"), market=SPOT, clock=lambda: sim.clock.now()
    )
    first, last = bars["open_time"][0], bars["open_time"][-1]
    official = rest.fetch(KLINES_1S, symbol, first, last + SECOND).filter(pl.col("open_time").is_in(bars["open_time"]))
    rest.close()
    assert bars.equals(official)


@pytest.mark.slow
def test_both_markets_are_heard_whole_and_seconds_are_the_official_ones(
    sim: SimulatorServer, collect: Collect, tmp_path: Path
) -> None:
    parts = collect(lambda: wait_until(lambda: sim.clock.now() > START + timedelta(minutes=2), "two minutes"))
    assert parts.spot is not None
    assert parts.spot.journal.gaps() == parts.journal.gaps() == []
    assert (parts.spot.collector.intake.counts.malformed, parts.collector.intake.counts.malformed) == (0, 0)
    assert ("WS", "/spot/stream", "") in sim.requests
    for symbol in (SYMBOL, "ADAUSDT"):
        found = heard(tmp_path, symbol)
        bars = folded(found.fills, SECOND)
        same_as_official(sim, tmp_path, bars, symbol)
        assert (bars["open_time"].diff().drop_nulls() == SECOND).all(), "quiet seconds are bars"
        assert bars["count"].min() == 0
        quotes = quotes_at_ends(bars["open_time"], SECOND, found.quotes.drop("received_ns"), found.connected)
        assert quotes["bid"].is_not_null().mean() > 0.5
        assert (quotes["bid"] < quotes["ask"]).drop_nulls().all()


@pytest.mark.slow
def test_what_was_missed_is_healed_by_orders_and_bars_come_out_the_same(
    sim: SimulatorServer, collect: Collect, tmp_path: Path
) -> None:
    begun: list[datetime] = []

    def cut_and_wait() -> None:
        wait_until(lambda: sim.clock.now() > START + timedelta(seconds=30), "half a minute")
        sim.cut_sockets("spot")
        begun.append(sim.clock.now())
        wait_until(lambda: sim.clock.now() > begun[0] + timedelta(seconds=60), "a minute after it")
        journal = Journal(f"sqlite:///{tmp_path / 'ledger.sqlite'}", SPOT.name)
        wait_until(lambda: any(gap.status == "healed" for gap in journal.gaps()), "a gap that is healed")
        wait_until(lambda: journal.gaps("open") == [], "nothing missing")

    parts = collect(cut_and_wait)
    assert parts.spot is not None
    healed = [gap for gap in parts.spot.journal.gaps() if gap.status == "healed"]
    assert healed
    assert parts.journal.gaps() == [], "gaps of spot are no gaps of futures"
    found = heard(tmp_path)
    assert found.trades.filter(pl.col("source") == HEALED_SOURCE).height > 0
    same_as_official(sim, tmp_path, folded(found.fills, SECOND))
    assert len(found.connected) >= 2, "no quote stands over the time between two sockets"


@pytest.mark.slow
def test_the_recorded_files_over_a_socket_give_the_official_minutes(
    recorded: Callable[[str], Path], tmp_path: Path
) -> None:
    recording = read_recording([recorded(f"ws/spot__btcusdt_2024080{day}.gz") for day in (8, 9)])
    wanted = sum(not name.partition("@")[2].startswith("depth") for name in recording.name)
    segments = tmp_path / "records"
    with SimulatorServer(symbols=("BTCUSDT",), ws_replay=Replay(recording, speed=0), limits=False) as sim:
        how = CollectorSettings(("BTCUSDT",), f"{sim.ws_url}/spot", segments, market=SPOT)
        intake = Intake(how.symbols, SegmentWriter(segments), SilentObserver(), time.time_ns, 1, market=SPOT)
        journal = Journal(f"sqlite:///{tmp_path / 'ledger.sqlite'}", SPOT.name)
        rest = BinanceRest(sim.base_url, governor=WeightGovernor(tmp_path / "g.sqlite"), market=SPOT)
        asyncio.run(_until(lambda: intake.counts.frames > wanted, Collector(how, intake, rest, journal)))
        rest.close()
    assert journal.gaps() == []
    start = datetime(2024, 8, 8, 23, 54, tzinfo=UTC)
    found = read_spot(segments, "BTCUSDT", start, start + timedelta(minutes=12))
    first, end = start + timedelta(minutes=1), start + timedelta(minutes=11)
    bars = folded(found.fills, timedelta(minutes=1)).filter(pl.col("open_time").is_between(first, end, closed="left"))
    assert bars.height == 10
    assert bars.equals(official_minutes(recorded, first, end))


async def _until(done: Callable[[], bool], collector: Collector) -> None:
    """Run a collector until something holds; the limit is for a machine that hangs."""
    stop = asyncio.Event()
    running = asyncio.create_task(collector.run(stop))
    ends_s = time.monotonic() + 120.0
    while not done() and not running.done() and time.monotonic() < ends_s:
        await asyncio.sleep(0.05)
    stop.set()
    await running
