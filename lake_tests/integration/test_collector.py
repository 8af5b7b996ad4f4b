"""The collector against the simulator's sockets: complete when undisturbed, healed or explained when not."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from lake_assets.live.folding import epoch_minute, rebuild
from lake_assets.live.proof import read_live
from lake_assets.live.recorder import Parts, run_collector
from lake_assets.live.row_files import LiveRows
from lake_assets.transforms.trades import TRADE_FEATURES, trade_features
from lake_resources.binance.rest.rest_client import BinanceRest
from lake_resources.binance.ws.frames import AGG_TRADE, BOOK_TICKER, DEPTH, HEALED, SNAPSHOT, Frame
from lake_resources.binance.ws.stream_session import SessionLimits
from lake_resources.collector import collector
from lake_resources.collector.journal import Journal
from lake_resources.collector.segments import newest_minute, read_records
from lake_resources.errors import PartitionBusy
from lake_resources.governor import WeightGovernor
from lake_resources.settings import LakeSettings
from lake_resources.simulator.faults import Fault
from lake_resources.simulator.server import SimulatorServer
from lake_resources.storage.locks import writer_lock
from lake_tests.support.stores import store_at

SYMBOLS = ("BTCUSDT", "ETHUSDT")
START = datetime(2026, 2, 15, 12, 0, tzinfo=UTC)
SPEED = 20.0
HOUR = timedelta(hours=1)
QUICK = SessionLimits(acknowledge_s=2.0, verify_s=3.0, stall_s=1.0, overlap_s=0.5, successor_s=3.0)


@pytest.fixture
def sim() -> Iterator[SimulatorServer]:
    with SimulatorServer(seed=7, symbols=SYMBOLS, speed=SPEED, start=START, rate_per_min=120, limits=False) as server:
        yield server


@pytest.fixture
def collect(sim: SimulatorServer, tmp_path: Path) -> Callable[..., Parts]:
    def run(for_s: float, limits: SessionLimits = QUICK) -> Parts:
        return run_collector(
            settings_of(sim, tmp_path),
            say=lambda _: None,
            limits=limits,
            for_s=for_s,
            clock_ns=lambda: sim.clock.now_ms() * 1_000_000,
        )

    return run


def settings_of(sim: SimulatorServer, root: Path) -> LakeSettings:
    given: dict[str, Any] = {"_env_file": None}
    return LakeSettings(root=root, rest_url=sim.base_url, ws_url=sim.ws_url, symbols=SYMBOLS, **given)


def records(root: Path, symbol: str) -> list[Frame]:
    newest = newest_minute(store_at(root).catalog.live_records_dir)
    assert newest is not None
    return list(read_records(store_at(root).catalog.live_records_dir, symbol, newest - 10, newest + 1))


def trade_ids(root: Path, symbol: str) -> list[int]:
    found = []
    for frame in records(root, symbol):
        if frame.kind == AGG_TRADE:
            found.append(frame.decoded()["a"])
        elif frame.kind == HEALED:
            found.extend(row["a"] for row in frame.decoded())
    return found


def depth_requests(sim: SimulatorServer) -> list[str]:
    return sorted(query.split("&")[0] for _, path, query in sim.requests if path == "/fapi/v1/depth")


def rows_of(root: Path, symbol: str) -> pl.DataFrame:
    return LiveRows(store_at(root).catalog).read(symbol, START - timedelta(minutes=2), START + timedelta(hours=1))


@pytest.mark.slow
def test_undisturbed_it_hears_everything_and_asks_for_one_book_each(
    sim: SimulatorServer, collect: Callable[..., Parts], tmp_path: Path
) -> None:
    parts = collect(10.0)

    assert depth_requests(sim) == ["symbol=BTCUSDT", "symbol=ETHUSDT"]
    assert parts.journal.gaps() == []
    counts = parts.collector.intake.counts
    assert (counts.malformed, counts.repeated_trades) == (0, 0)
    assert [row.reason for row in parts.journal.connections()] == ["the collector stops"] * 2
    rest = BinanceRest(sim.base_url, governor=WeightGovernor(tmp_path / "other.sqlite"), clock=lambda: sim.clock.now())
    for symbol in SYMBOLS:
        rows = rows_of(tmp_path, symbol)
        whole = rows.filter("market_alive")
        assert whole.height >= 2
        assert whole["has_liq"].all()
        assert whole["liq_long_count"].is_not_null().all()
        assert whole["impact_fillable"].all()
        assert whole["depth_frames"].min() == 600
        first, last = whole["timestamp"][0], whole["timestamp"][-1] + timedelta(minutes=1)
        from_rest = trade_features(rest.fetch("agg_trades", symbol, first, last))
        assert whole.filter(pl.col("agg_trades") > 0).select(list(TRADE_FEATURES)).equals(from_rest)
        hours = {START: last, START + HOUR: START + HOUR}
        klines = partial(rest.fetch, "klines_1m", symbol, first, last)
        live = read_live(LiveRows(store_at(tmp_path).catalog), symbol, hours, hours, klines, look_back=HOUR)
        assert live.heard == {}, "the hour began before the collector"
        assert list(live.refs) == [START]
        assert live.live is not None
        proven = live.live.filter("has_agg_trades")["timestamp"].to_list()
        assert set(whole["timestamp"].to_list()) <= set(proven)
    rest.close()


@pytest.mark.slow
def test_a_rebuild_from_the_records_gives_the_same_rows(collect: Callable[..., Parts], tmp_path: Path) -> None:
    collect(7.0)
    catalog = store_at(tmp_path).catalog
    elsewhere = LiveRows(store_at(tmp_path / "again").catalog)
    for symbol in SYMBOLS:
        rows = rows_of(tmp_path, symbol)
        again = rebuild(catalog.live_records_dir, elsewhere, symbol, epoch_minute(START) - 2, epoch_minute(START) + 60)

        assert rows.height >= 2
        assert again.equals(rows)
        path = LiveRows(catalog).path(symbol, START)
        assert elsewhere.path(symbol, START).read_bytes() == path.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault",
    [
        Fault("ws_gap", stream="aggTrade", every=7, count=2),
        Fault("ws_duplicate", every=3),
        Fault("ws_reorder", stream="aggTrade", every=4),
    ],
    ids=lambda fault: fault.kind,
)
def test_trades_are_all_there_once(
    sim: SimulatorServer, collect: Callable[..., Parts], tmp_path: Path, fault: Fault
) -> None:
    number = sim.faults.add(fault)
    parts = collect(6.0)

    assert sim.faults.hits(number) > 0
    for symbol in SYMBOLS:
        ids = sorted(trade_ids(tmp_path, symbol))
        assert len(ids) == len(set(ids)), "no id twice"
        missing = set(range(ids[0], ids[-1] + 1)) - set(ids)
        explained = {
            number
            for gap in parts.journal.gaps()
            for number in range(gap.first_id, gap.last_id + 1)
            if gap.symbol == symbol and gap.status == "open"
        }
        young = {
            number
            for gap in parts.collector.intake.trades[symbol].gaps
            for number in range(gap.first_id, gap.last_id + 1)
        }
        assert missing <= explained | young
    if fault.kind == "ws_gap":
        healed = [gap for gap in parts.journal.gaps() if gap.status == "healed"]
        assert len(healed) >= 3


@pytest.mark.slow
def test_a_lost_depth_update_costs_one_snapshot(
    sim: SimulatorServer, collect: Callable[..., Parts], tmp_path: Path
) -> None:
    sim.faults.add(Fault("ws_gap", stream="btcusdt@depth", every=450, count=1))
    collect(6.0)
    frames = records(tmp_path, "BTCUSDT")
    diffs = [frame.decoded() for frame in frames if frame.kind == DEPTH]
    breaks = sum(later["pu"] != earlier["u"] for earlier, later in pairwise(diffs))

    assert breaks >= 1
    assert depth_requests(sim).count("symbol=BTCUSDT") == 1 + breaks == sum(f.kind == SNAPSHOT for f in frames)
    assert depth_requests(sim).count("symbol=ETHUSDT") == 1
    rows = rows_of(tmp_path, "BTCUSDT").filter("public_alive")
    assert rows["depth_degraded"].any()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault("ws_drop", path="market", after_s=2.0, times=1), "closed by the exchange"),
        (Fault("ws_stall", path="market", after_s=2.0, times=1), "stalled"),
        (Fault("ws_stall", path="market", stream="markPrice", times=1), "no first message of markPrice"),
    ],
    ids=["drop", "stall", "wrong route"],
)
def test_a_bad_connection_is_replaced_and_its_trades_are_healed(
    sim: SimulatorServer, collect: Callable[..., Parts], tmp_path: Path, fault: Fault, reason: str
) -> None:
    sim.faults.add(fault)
    parts = collect(9.0)
    connections = [row for row in parts.journal.connections() if row.route == "market"]

    assert [row.closed_at is not None for row in connections] == [True, True]
    assert reason in str(connections[0].reason)
    assert len([row for row in parts.journal.connections() if row.route == "public"]) == 1
    for symbol in SYMBOLS:
        ids = sorted(trade_ids(tmp_path, symbol))
        assert ids == list(range(ids[0], ids[-1] + 1))
    assert {gap.status for gap in parts.journal.gaps()} <= {"healed"}
    rows = rows_of(tmp_path, "BTCUSDT")
    assert not rows["has_liq"].all()


@pytest.mark.slow
def test_a_stream_that_falls_silent_alone_is_subscribed_anew(
    sim: SimulatorServer, collect: Callable[..., Parts], tmp_path: Path
) -> None:
    sim.faults.add(Fault("ws_stall", path="public", stream="btcusdt@bookTicker", after_s=3.0, times=1))
    parts = collect(12.0, replace(QUICK, silence_s={BOOK_TICKER: 1.0}))
    reasons = [str(row.reason) for row in parts.journal.connections() if row.route == "public"]

    assert len(reasons) == 2
    assert reasons[0].startswith("rolled over: btcusdt@bookTicker silent")
    rows = rows_of(tmp_path, "BTCUSDT")
    assert rows["has_depth"].all(), "the streams that flowed are not interrupted"
    # 3 s of the machine are a minute of the exchange: it starts with the socket, the stall is over a minute later.
    assert not rows["book_ticker_alive"].all()
    assert rows["book_ticker_alive"].any()


@pytest.mark.slow
def test_rollover_loses_nothing(sim: SimulatorServer, collect: Callable[..., Parts], tmp_path: Path) -> None:
    parts = collect(8.0, SessionLimits(stall_s=2.0, rollover_s=2.0, overlap_s=0.5))
    reasons = [str(row.reason) for row in parts.journal.connections()]

    assert reasons.count("rolled over: old age") >= 4
    assert parts.journal.gaps() == []
    assert len(depth_requests(sim)) == 2, "the book goes on over the change of sockets"
    assert parts.collector.intake.counts.repeated_trades > 0
    for symbol in SYMBOLS:
        ids = trade_ids(tmp_path, symbol)
        assert ids == list(range(ids[0], ids[-1] + 1))
        rows = rows_of(tmp_path, symbol)
        assert rows.slice(1, rows.height - 2)["has_liq"].all()


def test_refused_and_silent_exchanges_end_in_time(collect: Callable[..., Parts], sim: SimulatorServer) -> None:
    sim.faults.add(Fault("ws_refuse"))
    sim.faults.add(Fault("5xx", path="depth"))
    began = time.monotonic()
    parts = collect(3.0)

    assert time.monotonic() - began < 60.0
    assert 2 < len(parts.journal.connections()) < 12, "with back-off, not in a loop"
    assert {row.frames for row in parts.journal.connections()} == {0}


@pytest.mark.slow
def test_after_a_restart_the_missing_trades_are_healed_and_old_gaps_go_on(
    sim: SimulatorServer, collect: Callable[..., Parts], tmp_path: Path
) -> None:
    collect(3.0)
    before = {symbol: max(trade_ids(tmp_path, symbol)) for symbol in SYMBOLS}
    time.sleep(1.0)
    parts = collect(6.0)

    for symbol in SYMBOLS:
        ids = sorted(trade_ids(tmp_path, symbol))
        assert ids == list(range(ids[0], ids[-1] + 1))
        assert ids[-1] > before[symbol]
    gaps = parts.journal.gaps()
    assert sorted({gap.symbol for gap in gaps if gap.status == "healed"}) == sorted(SYMBOLS)
    for symbol in SYMBOLS:
        rows = rows_of(tmp_path, symbol).filter(pl.col("agg_trades") > 0)
        assert (rows["first_agg_trade_id"] == rows["last_agg_trade_id"].shift(1) + 1).all()


def test_a_second_collector_of_a_lake_is_refused(collect: Callable[..., Parts], tmp_path: Path) -> None:
    with writer_lock(store_at(tmp_path).catalog.collector_lock_path), pytest.raises(PartitionBusy, match="collector"):
        collect(1.0)


@pytest.mark.slow
def test_a_kill_loses_at_most_the_last_second(tmp_path: Path) -> None:
    with SimulatorServer(seed=7, symbols=SYMBOLS, rate_per_min=1200, limits=False) as sim:
        given = {
            "LAKE_ROOT": str(tmp_path), "LAKE_SYMBOLS": ",".join(SYMBOLS), "LAKE_REST_URL": sim.base_url,
            "LAKE_WS_URL": sim.ws_url, "PATH": "/usr/bin:/bin", "HOME": str(tmp_path),
        }  # fmt: skip
        command = [str(Path(sys.executable).with_name("lake")), "collect"]
        process = subprocess.Popen(command, env=given, cwd=tmp_path)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and not list(tmp_path.rglob("*.open")):
            time.sleep(0.1)
        time.sleep(4.0)
        killed_ns = time.time_ns()
        process.kill()
        process.wait()
        left = [frame for symbol in SYMBOLS for frame in records(tmp_path, symbol)]
        before = {symbol: trade_ids(tmp_path, symbol) for symbol in SYMBOLS}
        subprocess.run([*command, "--for", "5"], env=given, cwd=tmp_path, check=True, timeout=60)

    assert killed_ns - max(frame.received_ns for frame in left) < 1_000_000_000
    for symbol in SYMBOLS:
        ids = trade_ids(tmp_path, symbol)
        assert ids[: len(before[symbol])] == before[symbol], "nothing that was on disk is gone"
        assert sorted(ids) == list(range(min(ids), max(ids) + 1)), "no id twice, none missing"
    assert not list(tmp_path.rglob("*.open"))
    rows = Journal(f"sqlite:///{tmp_path / 'ledger.sqlite'}", "um").connections()
    reasons = [row.reason for row in rows]
    assert reasons == ["the collector ended without closing it"] * 2 + ["the collector stops"] * 2
    for row in rows[:2]:
        assert row.closed_at == row.last_frame_at
        assert row.closed_at is not None
        assert abs(row.closed_at.timestamp() - killed_ns / 1e9) < 1.5, "it ended when it was killed, not at the restart"


@pytest.mark.slow
def test_an_open_connection_says_how_far_it_was_heard(
    sim: SimulatorServer, collect: Callable[..., Parts], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector, "HOUSEKEEPING_S", 1.0)
    running = threading.Thread(target=collect, args=(8.0,))
    running.start()
    time.sleep(7.0)
    rows = Journal(f"sqlite:///{tmp_path / 'ledger.sqlite'}", "um").left_open()
    running.join()

    assert sorted(row.route for row in rows) == ["market", "public"]
    assert all(row.frames > 0 and row.last_frame_at is not None for row in rows)
