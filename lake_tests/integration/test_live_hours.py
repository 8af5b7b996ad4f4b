"""The open hour from the collector: its minutes in the table, its trades without a REST call."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from lake_assets.build.hours import build_partitions
from lake_assets.lake import open_lake
from lake_assets.live.row_files import LiveRows
from lake_assets.reading import scan_minutes
from lake_assets.tables.um_minute import UM_MINUTE
from lake_resources.binance.ws.frames import AGG_TRADE, BOOK_TICKER
from lake_resources.binance.ws.stream_session import SessionLimits
from lake_resources.settings import LakeSettings
from lake_resources.simulator.faults import Fault
from lake_resources.simulator.server import SimulatorServer
from lake_tests.support.collecting import collect_until
from lake_tests.support.stores import store_at
from lake_tests.support.waiting import wait_until

SYMBOL = "BTCUSDT"
HOUR = datetime(2026, 2, 15, 12, tzinfo=UTC)
BOOK = (
    "micro_price_close", "avg_spread_usdt", "bid_ask_imbalance", "avg_bid_depth", "avg_ask_depth", "spread_pct",
)  # fmt: skip
ONLY_REST = (
    "oi_contracts", "oi_value_usdt", "top_trader_ls_ratio_acct", "global_ls_ratio_acct", "ls_ratio_divergence",
    "top_trader_long_pct", "top_trader_short_pct", "mark_price_open", "index_price_open", "premium_index",
    "funding_rate",
)  # fmt: skip
FROM_THE_COLLECTOR = (*UM_MINUTE.collected, *BOOK)


def settings_of(sim: SimulatorServer, root: Path) -> LakeSettings:
    given: dict[str, Any] = {"_env_file": None}
    return LakeSettings(
        root=root, rest_url=sim.base_url, vision_url=sim.base_url, ws_url=sim.ws_url, symbols=(SYMBOL,), **given
    )


def collect_minutes(
    sim: SimulatorServer,
    root: Path,
    minutes: int,
    *,
    limits: SessionLimits | None = None,
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    """Collect until there are rows of so many minutes of the hour."""
    rows = LiveRows(store_at(root).catalog)

    def script() -> None:
        meanwhile()
        end = HOUR + timedelta(hours=1)
        wait_until(lambda: rows.read(SYMBOL, HOUR, end).height >= minutes, "the minutes", every_s=0.2)

    collect_until(settings_of(sim, root), script, limits=limits, paced=sim)


@pytest.mark.slow
def test_a_row_is_written_when_it_stands_and_not_when_records_are_due(tmp_path: Path) -> None:
    start = HOUR - timedelta(minutes=1)
    with SimulatorServer(seed=7, symbols=(SYMBOL,), clock=lambda: start, limits=False, rate_per_min=60) as sim:
        settings = settings_of(sim, tmp_path).model_copy(update={"collector_flush_s": 3600.0})
        rows = LiveRows(store_at(tmp_path).catalog)

        def heard() -> bool:
            return not rows.read(SYMBOL, HOUR, HOUR + timedelta(hours=1)).is_empty()

        parts = collect_until(settings, lambda: wait_until(heard, "a row"), paced=sim)
    # Once as it starts, once for each row, and once as it ends.
    assert 0 < len(parts.collector.stats.waits) < 20


@pytest.mark.slow
def test_the_open_hour_needs_no_rest_trades_and_equals_the_one_from_rest(tmp_path: Path) -> None:
    start = HOUR - timedelta(minutes=2)
    with SimulatorServer(seed=7, symbols=(SYMBOL,), clock=lambda: start, limits=False, rate_per_min=60) as sim:
        settings = settings_of(sim, tmp_path / "live")

        def heard() -> pl.DataFrame:
            """What a reader sees while the collector is at work and no hour was ever committed."""
            end = HOUR + timedelta(hours=1)
            return scan_minutes(SYMBOL, HOUR, end, live=True, settings=settings, clock=sim.clock.now).collect()

        def reading() -> None:
            wait_until(settings.lake_root.is_dir, "the lake")
            wait_until(lambda: heard().height >= 2, "live minutes", every_s=0.2)
            assert heard()["provisional"].all()

        collect_minutes(sim, tmp_path / "live", 6, meanwhile=reading)
        now = sim.clock.now()
        at_once = heard()
        sim.clear_requests()

        def built(root: str, at: datetime) -> pl.DataFrame:
            lake = open_lake(settings_of(sim, tmp_path / root), clock=lambda: at, sleep=lambda _: None)
            day = next(build_partitions(lake, SYMBOL, [HOUR], now=at, report=lambda _: None))
            assert [hour.status for hour in day.hours] == ["committed"]
            sources = day.hours[0].sources
            assert sources["agg_trades"].kind == ("ws" if root == "live" else "rest")
            assert ("live" in sources) is (root == "live")
            checks = {outcome.name: outcome.passed for outcome in day.hours[0].outcomes}
            assert checks["trades_vs_klines"]
            frame = day.hours[0].frame
            assert frame is not None
            again = next(build_partitions(lake, SYMBOL, [HOUR], now=at, report=lambda _: None))
            assert again.hours[0].status == "unchanged"
            return frame

        # The last minutes before the collector ended are not proven: REST would have to be asked for them.
        at = now - timedelta(minutes=1)
        live = built("live", at)
        asked = [path for _, path, _ in sim.requests if path == "/fapi/v1/aggTrades"]
        rest = built("rest", at)
        published = HOUR.replace(hour=9) + timedelta(days=1)
        sim.clock.freeze(published)
        lake = open_lake(settings, clock=lambda: published, sleep=lambda _: None)
        promoted = next(build_partitions(lake, SYMBOL, [HOUR], now=published, report=lambda _: None)).hours[0]
        revisions = lake.ledger.revisions(SYMBOL, HOUR, HOUR + timedelta(hours=1))
        lake.close()

    # The sockets say at once what the build says later; what only REST tells is not invented.
    for name in UM_MINUTE.names:
        if name in ONLY_REST:
            assert at_once[name].null_count() == at_once.height, name
        elif name != "has_ls_ratio":
            assert at_once[name].head(live.height).equals(live[name]), name
    assert at_once.height >= live.height + 1, "and sooner"
    assert asked == []
    # The archive takes over, says what the collector said, and cannot know what only the collector could.
    assert (promoted.status, promoted.sources["agg_trades"].kind) == ("committed", "archive")
    parity = next(outcome for outcome in promoted.outcomes if outcome.name == "archive_parity")
    assert parity.passed
    assert "agg_trades" in str(parity.metadata["streams"])
    assert [row for row in revisions if row.old_source == "ws"] == []
    assert promoted.frame is not None
    assert (
        promoted.frame.head(live.height)
        .select(list(UM_MINUTE.collected))
        .equals(live.select(list(UM_MINUTE.collected)))
    )
    assert live.height == rest.height >= 2
    others = [name for name in UM_MINUTE.names if name not in FROM_THE_COLLECTOR]
    assert_frame_equal(live.select(others), rest.select(others), check_exact=True)
    assert live["has_liq"].all()
    assert live["has_depth"].all()
    assert live["impact_fillable"].all()
    assert not live["depth_degraded"].any()
    for name in ("price_impact_100k", "avg_spread_usdt", "predicted_funding", "next_funding_time", "liq_long_count"):
        assert live[name].is_not_null().all(), name
        assert rest[name].is_null().all(), name


@pytest.mark.slow
def test_a_silent_stream_gives_no_zeros_and_no_stale_book(tmp_path: Path) -> None:
    start = HOUR - timedelta(minutes=2)
    with SimulatorServer(seed=7, symbols=(SYMBOL,), clock=lambda: start, limits=False, rate_per_min=60) as sim:
        silent_from: list[datetime] = []

        def fall_silent() -> None:
            """Acknowledged, other streams of the sockets flow, and these two bring nothing after four minutes."""
            wait_until(lambda: sim.clock.now() >= start + timedelta(minutes=4), "four minutes")
            for route, stream in (("market", "aggTrade"), ("public", "bookTicker")):
                sim.faults.add(Fault("ws_stall", path=route, stream=stream))
            silent_from.append(sim.clock.now())

        # No other silence ends a socket meanwhile: its successor would flow for some time.
        patient = SessionLimits(silence_s={AGG_TRADE: 600.0, BOOK_TICKER: 600.0})
        collect_minutes(sim, tmp_path / "live", 8, limits=patient, meanwhile=fall_silent)
        now = sim.clock.now()
        frames = {}
        for root in ("live", "rest"):
            lake = open_lake(settings_of(sim, tmp_path / root), clock=lambda: now, sleep=lambda _: None)
            hour = next(build_partitions(lake, SYMBOL, [HOUR], now=now, report=lambda _: None)).hours[0]
            assert hour.status == "committed"
            assert hour.sources["agg_trades"].kind == "rest", "what no socket brought is asked for"
            assert {outcome.name: outcome.passed for outcome in hour.outcomes}["trades_vs_klines"]
            assert hour.frame is not None
            frames[root] = hour.frame
            lake.close()

    live, rest = frames["live"], frames["rest"]
    assert live.height >= 4
    trades = ["count_buy_trades", "count_sell_trades", "max_trade_size_btc", "realized_vol_1m", "vwap_1m"]
    assert_frame_equal(live.select(trades), rest.select(trades), check_exact=True)
    assert (live["count_buy_trades"] + live["count_sell_trades"] > 0).all()
    assert live["has_depth"].all()
    assert live["avg_spread_usdt"][0] is not None
    stalled = live.filter(pl.col("timestamp") >= silent_from[0] + timedelta(minutes=1))
    assert stalled.height >= 1
    assert stalled.select(pl.col(BOOK).is_null().all()).row(0) == (True,) * len(BOOK)
