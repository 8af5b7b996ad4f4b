"""The collector against the simulator's sockets: complete when undisturbed, healed or explained when not."""

from __future__ import annotations

import subprocess
import sys
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
from lake_assets.live.recorder import Parts
from lake_assets.live.row_files import LiveRows, read_live
from lake_assets.transforms.trade_columns import TRADE_FEATURES
from lake_assets.transforms.trades import trade_features
from lake_resources.binance.rest.rest_client import BinanceRest
from lake_resources.binance.ws.frames import AGG_TRADE, BOOK_TICKER, DEPTH, HEALED, SNAPSHOT
from lake_resources.binance.ws.stream_session import SessionLimits
from lake_resources.clock import HOUR
from lake_resources.collector import collector
from lake_resources.collector.journal import ConnectionRow, Journal
from lake_resources.errors import PartitionBusy
from lake_resources.governor import WeightGovernor
from lake_resources.settings import LakeSettings
from lake_resources.simulator.faults import Fault
from lake_resources.simulator.server import SimulatorServer
from lake_resources.storage.locks import writer_lock
from lake_tests.support.collecting import collect_until, records_of
from lake_tests.support.stores import store_at
from lake_tests.support.waiting import wait_until
from lake_tests.support.ws_client import Socket

SYMBOLS = ("BTCUSDT", "ETHUSDT")
START = datetime(2026, 2, 15, 12, 0, tzinfo=UTC)
QUICK = SessionLimits(verify_s=5.0, stall_s=4.0, overlap_s=0.5, successor_s=30.0)

Collect = Callable[..., Parts]


@pytest.fixture
def sim() -> Iterator[SimulatorServer]:
    with SimulatorServer(seed=7, symbols=SYMBOLS, clock=lambda: START, rate_per_min=120, limits=False) as server:
        yield server


@pytest.fixture
def collect(sim: SimulatorServer, tmp_path: Path) -> Collect:
    """Runs until a script beside it has come to its end."""

    def run(script: Callable[[], object], limits: SessionLimits | None = None) -> Parts:
        return collect_until(settings_of(sim, tmp_path), script, limits=limits, paced=sim)

    return run


def settings_of(sim: SimulatorServer, root: Path) -> LakeSettings:
    given: dict[str, Any] = {"_env_file": None}
    return LakeSettings(root=root, rest_url=sim.base_url, ws_url=sim.ws_url, symbols=SYMBOLS, **given)


def trade_ids(root: Path, symbol: str) -> list[int]:
    found = []
    for frame in records_of(root, symbol):
        if frame.kind == AGG_TRADE:
            found.append(frame.decoded()["a"])
        elif frame.kind == HEALED:
            found.extend(row["a"] for row in frame.decoded())
    return found


def depth_requests(sim: SimulatorServer) -> list[str]:
    return sorted(query.split("&")[0] for _, path, query in sim.requests if path == "/fapi/v1/depth")


def rows_of(root: Path, symbol: str) -> pl.DataFrame:
    return LiveRows(store_at(root).catalog).read(symbol, START - timedelta(minutes=2), START + timedelta(hours=1))


def whole_minutes(root: Path, symbol: str) -> pl.DataFrame:
    """Rows of the minutes in which both sockets were heard from beginning to end."""
    return rows_of(root, symbol).filter("market_alive", "public_alive")


def journal_of(root: Path) -> Journal:
    return Journal(f"sqlite:///{root / 'ledger.sqlite'}", "um")


def contiguous(root: Path, symbol: str) -> bool:
    """Whether no aggTrade is missing between the first and the newest on disk."""
    ids = sorted(trade_ids(root, symbol))
    return bool(ids) and ids == list(range(ids[0], ids[-1] + 1))


@pytest.mark.slow
def test_undisturbed_it_hears_everything_and_asks_for_one_book_each(
    sim: SimulatorServer, collect: Collect, tmp_path: Path
) -> None:
    def two_minutes() -> None:
        for symbol in SYMBOLS:
            wait_until(lambda symbol=symbol: whole_minutes(tmp_path, symbol).height >= 2, "two minutes", every_s=0.2)

    parts = collect(two_minutes)

    assert depth_requests(sim) == ["symbol=BTCUSDT", "symbol=ETHUSDT"]
    assert parts.journal.gaps() == []
    counts = parts.collector.intake.counts
    assert (counts.malformed, counts.repeated_trades) == (0, 0)
    assert [row.reason for row in parts.journal.connections()] == ["the collector stops"] * 2
    rest = BinanceRest(sim.base_url, governor=WeightGovernor(tmp_path / "other.sqlite"), clock=lambda: sim.clock.now())
    for symbol in SYMBOLS:
        whole = whole_minutes(tmp_path, symbol)
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
def test_a_rebuild_from_the_records_gives_the_same_rows(collect: Collect, tmp_path: Path) -> None:
    def two_rows() -> None:
        for symbol in SYMBOLS:
            wait_until(lambda symbol=symbol: rows_of(tmp_path, symbol).height >= 2, "two rows", every_s=0.2)

    collect(two_rows)
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
def test_trades_are_all_there_once(sim: SimulatorServer, collect: Collect, tmp_path: Path, fault: Fault) -> None:
    number = sim.faults.add(fault)

    def three_gaps() -> bool:
        return len(journal_of(tmp_path).gaps("healed")) >= 3

    def disturbed() -> None:
        wait_until(lambda: sim.faults.hits(number) >= 40, "forty disturbed frames")
        if fault.kind == "ws_gap":
            wait_until(three_gaps, "three healed gaps", every_s=0.2)

    parts = collect(disturbed)

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


@pytest.mark.slow
def test_a_lost_depth_update_costs_one_snapshot(sim: SimulatorServer, collect: Collect, tmp_path: Path) -> None:
    def snapshots() -> int:
        return sum(frame.kind == SNAPSHOT for frame in records_of(tmp_path, "BTCUSDT"))

    def lost_once() -> None:
        # The first minute is not whole: what is lost in it is not told.
        wait_until(lambda: whole_minutes(tmp_path, "BTCUSDT").height >= 1, "a whole minute", every_s=0.2)
        sim.faults.add(Fault("ws_gap", stream="btcusdt@depth", every=50, times=1))
        wait_until(lambda: snapshots() == 2, "the second book", every_s=0.2)
        degraded = pl.col("depth_degraded") & pl.col("public_alive")
        wait_until(lambda: rows_of(tmp_path, "BTCUSDT").select(degraded.any()).item(), "its minute", every_s=0.2)

    collect(lost_once)
    frames = records_of(tmp_path, "BTCUSDT")
    diffs = [frame.decoded() for frame in frames if frame.kind == DEPTH]
    breaks = sum(later["pu"] != earlier["u"] for earlier, later in pairwise(diffs))

    assert breaks == 1
    assert depth_requests(sim).count("symbol=BTCUSDT") == 2 == sum(f.kind == SNAPSHOT for f in frames)
    assert depth_requests(sim).count("symbol=ETHUSDT") == 1


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
    sim: SimulatorServer, collect: Collect, tmp_path: Path, fault: Fault, reason: str
) -> None:
    sim.faults.add(fault)

    def replaced() -> None:
        wait_until(lambda: len(market_sockets()) == 2, "a second socket", every_s=0.1)
        for symbol in SYMBOLS:
            newest = max(trade_ids(tmp_path, symbol), default=0)
            wait_until(lambda symbol=symbol, newest=newest: later(symbol, newest), "what it heard", every_s=0.5)

    def market_sockets() -> list[ConnectionRow]:
        return [row for row in journal_of(tmp_path).connections() if row.route == "market"]

    def later(symbol: str, newest: int) -> bool:
        return contiguous(tmp_path, symbol) and max(trade_ids(tmp_path, symbol)) > newest + 5

    parts = collect(replaced, QUICK)
    connections = [row for row in parts.journal.connections() if row.route == "market"]

    assert [row.closed_at is not None for row in connections] == [True, True]
    assert reason in str(connections[0].reason)
    assert len([row for row in parts.journal.connections() if row.route == "public"]) == 1
    assert all(contiguous(tmp_path, symbol) for symbol in SYMBOLS)
    assert {gap.status for gap in parts.journal.gaps()} <= {"healed"}
    rows = rows_of(tmp_path, "BTCUSDT")
    assert not rows["has_liq"].all()


@pytest.mark.slow
def test_a_stream_that_falls_silent_alone_is_subscribed_anew(
    sim: SimulatorServer, collect: Collect, tmp_path: Path
) -> None:
    sim.faults.add(Fault("ws_stall", path="public", stream="btcusdt@bookTicker", after_s=3.0, times=1))

    def renewed() -> None:
        journal = journal_of(tmp_path)
        wait_until(lambda: any(row.closed_at and row.route == "public" for row in journal.connections()), "its end")
        heard = pl.col("book_ticker_alive")
        both = heard.any() & ~heard.all()
        wait_until(lambda: rows_of(tmp_path, "BTCUSDT").select(both).item(), "a minute that was heard", every_s=0.2)

    parts = collect(renewed, replace(QUICK, silence_s={BOOK_TICKER: 3.0}))
    reasons = [str(row.reason) for row in parts.journal.connections() if row.route == "public"]

    assert len(reasons) == 2
    assert reasons[0].startswith("rolled over: btcusdt@bookTicker silent")
    rows = rows_of(tmp_path, "BTCUSDT")
    assert rows["has_depth"].all(), "the streams that flowed are not interrupted"


@pytest.mark.slow
def test_rollover_loses_nothing(sim: SimulatorServer, collect: Collect, tmp_path: Path) -> None:
    def two_each() -> None:
        for route in ("market", "public"):
            wait_until(lambda route=route: rolled_over(route) >= 2, f"two rollovers of {route}", every_s=0.2)
        for symbol in SYMBOLS:
            wait_until(lambda symbol=symbol: rows_of(tmp_path, symbol).height >= 3, "three rows", every_s=0.2)

    def rolled_over(route: str) -> int:
        found = [str(row.reason) for row in journal_of(tmp_path).connections() if row.route == route]
        return found.count("rolled over: old age")

    parts = collect(two_each, SessionLimits(rollover_s=2.0, overlap_s=0.5))

    assert parts.journal.gaps() == []
    assert len(depth_requests(sim)) == 2, "the book goes on over the change of sockets"
    assert parts.collector.intake.counts.repeated_trades > 0
    for symbol in SYMBOLS:
        ids = trade_ids(tmp_path, symbol)
        assert ids == list(range(ids[0], ids[-1] + 1))
        rows = rows_of(tmp_path, symbol)
        assert rows.slice(1, rows.height - 2)["has_liq"].all()


def test_a_refused_exchange_is_asked_with_back_off(collect: Collect, sim: SimulatorServer, tmp_path: Path) -> None:
    sim.faults.add(Fault("ws_refuse"))
    sim.faults.add(Fault("5xx", path="depth"))
    six = lambda: len(journal_of(tmp_path).connections()) >= 6  # noqa: E731 - short
    parts = collect_until(settings_of(sim, tmp_path), lambda: wait_until(six, "six attempts"))
    connections = parts.journal.connections()
    assert {row.frames for row in connections} == {0}
    for route in ("market", "public"):
        opened = [row.opened_at for row in connections if row.route == route]
        assert all(later - earlier > timedelta(seconds=0.3) for earlier, later in pairwise(opened)), "back-off"


@pytest.mark.slow
def test_after_a_restart_the_missing_trades_are_healed_and_old_gaps_go_on(
    sim: SimulatorServer, collect: Collect, tmp_path: Path
) -> None:
    def some_of_both() -> None:
        for symbol in SYMBOLS:
            wait_until(lambda symbol=symbol: trade_ids(tmp_path, symbol), "trades", every_s=0.1)

    collect(some_of_both)
    before = {symbol: max(trade_ids(tmp_path, symbol)) for symbol in SYMBOLS}
    sim.clock.advance(timedelta(seconds=20))

    def healed() -> None:
        wait_until(lambda: {gap.symbol for gap in journal_of(tmp_path).gaps("healed")} == set(SYMBOLS), "both healed")
        newest = {symbol: max(trade_ids(tmp_path, symbol)) for symbol in SYMBOLS}
        for symbol in SYMBOLS:
            wait_until(lambda symbol=symbol: max(trade_ids(tmp_path, symbol)) > newest[symbol], "more", every_s=0.1)

    parts = collect(healed)

    for symbol in SYMBOLS:
        assert contiguous(tmp_path, symbol)
        assert max(trade_ids(tmp_path, symbol)) > before[symbol]
    gaps = parts.journal.gaps()
    assert sorted({gap.symbol for gap in gaps if gap.status == "healed"}) == sorted(SYMBOLS)
    for symbol in SYMBOLS:
        rows = rows_of(tmp_path, symbol).filter(pl.col("agg_trades") > 0)
        assert (rows["first_agg_trade_id"] == rows["last_agg_trade_id"].shift(1) + 1).all()


def test_a_second_collector_of_a_lake_is_refused(collect: Collect, tmp_path: Path) -> None:
    with (
        writer_lock(store_at(tmp_path).catalog.of_market.collector_lock_path),
        pytest.raises(PartitionBusy, match="collector"),
    ):
        collect(lambda: None)


@pytest.mark.slow
def test_a_kill_loses_only_what_came_since_the_last_flush(tmp_path: Path) -> None:
    with SimulatorServer(seed=7, symbols=SYMBOLS, rate_per_min=1200, limits=False) as sim:
        given = {
            "LAKE_ROOT": str(tmp_path), "LAKE_SYMBOLS": ",".join(SYMBOLS), "LAKE_SPOT_SYMBOLS": "",
            "LAKE_REST_URL": sim.base_url,
            "LAKE_WS_URL": sim.ws_url, "PATH": "/usr/bin:/bin", "HOME": str(tmp_path),
        }  # fmt: skip
        command = [str(Path(sys.executable).with_name("lake")), "collect"]

        def later_and_whole(symbol: str, before: list[int]) -> bool:
            return contiguous(tmp_path, symbol) and max(trade_ids(tmp_path, symbol)) > max(before)

        process = subprocess.Popen(command, env=given, cwd=tmp_path)
        try:
            wait_until(lambda: all(len(trade_ids(tmp_path, symbol)) > 20 for symbol in SYMBOLS), "trades", every_s=0.1)
            # From here on nothing is sent: what was heard gets to the disk without a frame that comes after it.
            with Socket(f"{sim.ws_url}/market/stream?streams=btcusdt@aggTrade/ethusdt@aggTrade") as witness:
                both = {frame["data"]["s"]: frame["data"]["a"] for frame in witness.take(100)}
                sim.clock.freeze(sim.clock.now())
                wait_until(lambda: sim.hub.reached_ms == sim.clock.now_ms(), "the last frame")
                sent = both | {frame["data"]["s"]: frame["data"]["a"] for frame in witness.frames(0.5)}
            assert set(sent) == set(SYMBOLS)
            wait_until(lambda: {each: max(trade_ids(tmp_path, each)) for each in SYMBOLS} == sent, "all of them")
        finally:
            process.kill()
            process.wait()
        killed_ns = time.time_ns()
        before = {symbol: trade_ids(tmp_path, symbol) for symbol in SYMBOLS}
        sim.clock.run_from(sim.clock.now())
        again = subprocess.Popen(command, env=given, cwd=tmp_path)
        try:
            wait_until(
                lambda: all(later_and_whole(symbol, before[symbol]) for symbol in SYMBOLS), "healing", every_s=0.3
            )
            again.terminate()
            assert again.wait(120) == 0
        finally:
            again.kill()
            again.wait()

    for symbol in SYMBOLS:
        ids = trade_ids(tmp_path, symbol)
        assert ids[: len(before[symbol])] == before[symbol], "nothing that was on disk is gone"
        assert contiguous(tmp_path, symbol)
        assert len(set(ids)) == len(ids), "no id twice"
    assert not list(tmp_path.rglob("*.open"))
    rows = journal_of(tmp_path).connections()
    reasons = [row.reason for row in rows]
    assert reasons == ["the collector ended without closing it"] * 2 + ["the collector stops"] * 2
    for row in rows[:2]:
        assert row.closed_at == row.last_frame_at
        assert row.closed_at is not None
        assert row.closed_at.timestamp() < killed_ns / 1e9, "it ended when it was killed, not at the restart"


@pytest.mark.slow
def test_an_open_connection_says_how_far_it_was_heard(
    collect: Collect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector, "HOUSEKEEPING_S", 1.0)
    rows: list[ConnectionRow] = []

    def noted() -> bool:
        rows[:] = journal_of(tmp_path).left_open()
        return len(rows) == 2 and all(row.frames > 0 and row.last_frame_at is not None for row in rows)

    collect(lambda: wait_until(noted, "a note of both", every_s=0.1))
    assert sorted(row.route for row in rows) == ["market", "public"]
