"""The first day of a new symbol of spot, whose list names no dates: what can exist is there, and nothing else lacks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from lake_assets.audit.api_parity import compare_partitions
from lake_assets.audit.listing import traded_window
from lake_assets.audit.scan import audit_partitions
from lake_assets.audit.weight_budget import parity_budget
from lake_assets.build.open_hours import open_hours
from lake_assets.cli.commands_klines import days_to_build
from lake_assets.inputs.archives import ingest_archives
from lake_assets.quality.certificate import certify
from lake_assets.schema.table import Table
from lake_assets.tables.spot_bars_1s import SPOT_BARS_1S
from lake_assets.tables.spot_klines import SPOT_KLINES
from lake_resources.binance.spot_streams import SPOT_STREAMS
from lake_resources.clock import DAY as ONE_DAY
from lake_resources.clock import HOUR, MINUTE
from lake_resources.simulator.market.specs import Listing
from lake_resources.simulator.server import SimulatorServer
from lake_tests.support.simulated_lake import DAY, PUBLISHED, SYMBOL, Bench, bench_on, exchange, hours, statuses

NEW = "SOLUSDT"
LISTED = DAY + 9 * HOUR + 20 * MINUTE
DAY_OVER = DAY + 24 * HOUR + 40 * MINUTE
"""The day is over, and its archives are not published yet."""
MINUTES, QUARTERS = SPOT_KLINES["1m"], SPOT_KLINES["15m"]


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatorServer]:
    with exchange(symbols=(SYMBOL, NEW), listings={NEW: Listing(LISTED)}) as server:
        yield server


@pytest.fixture
def bench(sim: SimulatorServer, tmp_path: Path) -> Iterator[Bench]:
    with bench_on(sim, tmp_path, spot_symbols=(NEW,), spot_rest_url=sim.base_url) as one:
        yield one


def on(bench: Bench, table: Table, now: datetime) -> Bench:
    return Bench(bench.sim, bench.lake.of(table), bench.settings, bench.reports).at(now)


def verdict(bench: Bench, start: datetime) -> tuple[int, str | None]:
    row = bench.lake.ledger.partition(NEW, start)
    assert row is not None
    return row.row_count, row.verdict


def nothing_lacks(bench: Bench, start: datetime, end: datetime) -> None:
    """Nobody calls anything of the window missing."""
    store, lag, now = bench.lake.store, bench.lake.safety_lag_minutes, bench.now
    assert bench.lake.ledger.missing_sources(NEW) == []
    assert open_hours(bench.lake.ledger, NEW, start, end).absent == ()
    certificate = certify(store, NEW, start, end, now=now, lag_minutes=lag)
    assert (certificate.unexplained_rows, certificate.doubts) == (0, {})
    assert all("traded from 2026-11-18 09:20" in hole.cause for hole in certificate.holes)
    assert audit_partitions(store, NEW, start, end, now=now, lag_minutes=lag).wrong == []


@pytest.mark.parametrize("now", [DAY_OVER, PUBLISHED])
def test_the_day_of_its_listing_is_explained_and_the_one_before_is_not_expected(bench: Bench, now: datetime) -> None:
    found = on(bench, MINUTES, now)
    assert statuses(found.build([DAY - ONE_DAY, DAY], NEW)) == ["not_yet", "committed"]
    assert verdict(found, DAY) == (880, "explained")
    assert found.rows(DAY, NEW)["open_time"].min() == LISTED
    nothing_lacks(found, DAY - ONE_DAY, DAY + ONE_DAY)
    assert days_to_build(found.lake, NEW, DAY - ONE_DAY, DAY + 24 * HOUR) == []
    assert traded_window(found.lake, NEW, DAY - 30 * ONE_DAY, DAY + ONE_DAY) == (DAY, DAY + ONE_DAY)


def test_its_seconds_begin_with_the_first_that_was_traded(bench: Bench) -> None:
    found = on(bench, SPOT_BARS_1S, DAY_OVER)
    assert statuses(found.build(hours(8, 11), NEW)) == ["not_yet", "committed", "committed"]
    assert [verdict(found, hour) for hour in hours(9, 11)] == [(2393, "explained"), (3600, "clean")]
    nothing_lacks(found, DAY + 8 * HOUR, DAY + 11 * HOUR)


def test_the_bar_that_the_listing_falls_into_is_due(bench: Bench) -> None:
    found = on(bench, QUARTERS, DAY_OVER)
    found.build([DAY], NEW)
    # 09:15 to 24:00
    assert verdict(found, DAY) == (59, "explained")


def test_a_bar_of_its_first_minutes_that_lacks_is_no_part_of_the_listing(bench: Bench) -> None:
    bench.fault("missing_minutes", "/api/v3/klines", query="15m", end=LISTED)
    found = on(bench, QUARTERS, DAY_OVER)
    assert statuses(found.build([DAY], NEW)) == ["quarantined"]


def test_rows_from_before_it_are_contradicted_and_fewer_sound_ones_replace_them(bench: Bench) -> None:
    bench.fault("other_symbol", "spot/daily/klines/SOLUSDT", body=SYMBOL, end=LISTED)
    found = on(bench, MINUTES, PUBLISHED)
    found.build([DAY], NEW)
    budget = parity_budget(bench.settings, clock=bench.sim.clock.now, sleep=lambda _: None)
    compare_partitions(found.lake, NEW, [DAY], PUBLISHED, budget)
    assert verdict(found, DAY) == (1440, "contradicted")
    bench.sim.faults.clear()
    list(ingest_archives(found.lake, NEW, [(SPOT_STREAMS["klines_1m"], f"{DAY:%Y-%m-%d}")]))
    assert statuses(found.at(PUBLISHED + HOUR).build([DAY], NEW)) == ["committed"]
    assert verdict(found, DAY) == (880, "explained")


def test_nobody_who_says_since_when_leaves_the_day_open_and_a_wrong_answer_is_asked_for_again(bench: Bench) -> None:
    silent = bench.fault("5xx", "/api/v3/klines", query="startTime=0&")
    found = on(bench, MINUTES, DAY_OVER)
    assert statuses(found.build([DAY], NEW)) == ["quarantined"]
    assert "2026-11-18T00" in [row.period for row in found.lake.ledger.missing_sources(NEW)]
    assert days_to_build(found.lake, NEW, DAY, DAY + 24 * HOUR) == [DAY]
    bench.sim.faults.remove(silent)
    bench.fault("other_symbol", "/api/v3/klines", query="startTime=0&", body=SYMBOL)
    assert statuses(found.at(DAY_OVER + HOUR).build([DAY], NEW)) == ["quarantined"], "it is said to trade since 2019"
    bench.sim.faults.clear()
    assert traded_window(found.lake, NEW, DAY - ONE_DAY, DAY + ONE_DAY)[0] == DAY
    assert statuses(found.at(DAY_OVER + 3 * HOUR).build([DAY], NEW)) == ["committed"]
    assert verdict(found, DAY) == (880, "explained")
    nothing_lacks(found, DAY, DAY + ONE_DAY)
