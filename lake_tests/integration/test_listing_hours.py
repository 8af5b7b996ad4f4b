"""The hours that a listing and the end of trading fall into hold the minutes that can exist, and no others lack."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lake_assets.audit.scan import audit_partitions
from lake_assets.inputs.archives import ingest_archives
from lake_assets.quality.certificate import certify
from lake_resources.binance.um_streams import UM_STREAMS
from lake_resources.clock import HOUR, MINUTE
from lake_resources.simulator.market.specs import Listing
from lake_resources.simulator.server import SimulatorServer
from lake_tests.support.simulated_lake import DAY, ON_THE_DAY, PUBLISHED, Bench, bench_on, exchange, hours, statuses

pytestmark = pytest.mark.slow

NEW, GONE, OTHER = "SOLUSDT", "XRPUSDT", "ETHUSDT"
LISTED, DELIVERED = DAY + 9 * HOUR + 20 * MINUTE, DAY + 10 * HOUR + 40 * MINUTE
NEXT_MONTH = datetime(2026, 12, 8, 12, tzinfo=UTC)
"""The month's file of settlements has come."""
LISTINGS = {NEW: Listing(LISTED), GONE: Listing(delivery=DELIVERED)}


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatorServer]:
    with exchange(symbols=(NEW, GONE, OTHER), listings=LISTINGS) as server:
        yield server


@pytest.fixture
def bench(sim: SimulatorServer, tmp_path: Path) -> Iterator[Bench]:
    with bench_on(sim, tmp_path, symbols=(NEW, GONE)) as one:
        yield one


def verdict(bench: Bench, symbol: str, hour: datetime) -> tuple[int, str | None]:
    row = bench.lake.ledger.partition(symbol, hour)
    assert row is not None
    return row.row_count, row.verdict


@pytest.mark.parametrize("now", [ON_THE_DAY, PUBLISHED])
def test_they_hold_the_minutes_of_trading_and_nothing_lacks_anywhere(bench: Bench, now: datetime) -> None:
    bench.at(now)
    # Nobody has asked for the exchange's list yet.
    assert statuses(bench.build(hours(8, 11), NEW)) == ["not_yet", "committed", "committed"]
    assert statuses(bench.build(hours(9, 12), GONE)) == ["committed", "committed", "not_yet"]
    assert [verdict(bench, NEW, hour) for hour in hours(9, 11)] == [(40, "explained"), (60, "explained")]
    assert [verdict(bench, GONE, hour) for hour in hours(9, 11)] == [(60, "clean"), (40, "explained")]
    first = bench.rows(DAY + 9 * HOUR, NEW)["timestamp"]
    assert (first.min(), bench.rows(DAY + 10 * HOUR, GONE)["timestamp"].max()) == (LISTED, DELIVERED - MINUTE)
    store, lag = bench.lake.store, bench.lake.safety_lag_minutes
    for symbol, cause in ((NEW, "traded from 2026-11-18 09:20"), (GONE, "traded until 2026-11-18 10:40")):
        assert bench.lake.ledger.missing_sources(symbol) == []
        assert bench.lake.ledger.quarantined(symbol, DAY, DAY + 24 * HOUR) == []
        window = (store, symbol, DAY + 9 * HOUR, DAY + 11 * HOUR)
        certificate = certify(*window, now=now, lag_minutes=lag)
        assert (certificate.present_rows, certificate.unexplained_rows, certificate.doubts) == (100, 0, {})
        assert [cause in hole.cause and hole.explained for hole in certificate.holes] == [True]
        assert audit_partitions(*window, now=now, lag_minutes=lag).wrong == []
    asked = [path for path in bench.paths_asked() if path.endswith("exchangeInfo")]
    assert len(asked) == 2, "once for each symbol"


def test_an_archive_that_is_cut_at_the_listing_is_not_whole(bench: Bench) -> None:
    bench.fault("missing_minutes", "/klines/SOLUSDT", start=LISTED, end=LISTED + 10 * MINUTE)
    bench.at(PUBLISHED).build(hours(9, 10), NEW)
    assert verdict(bench, NEW, DAY + 9 * HOUR) == (40, "explained")
    row = bench.lake.ledger.partition(NEW, DAY + 9 * HOUR)
    assert row is not None
    assert row.sources["klines_1m"].kind == "archive+rest", "REST has what the archive lacks"


def test_rows_of_another_symbol_after_the_end_are_no_minutes_of_it(bench: Bench) -> None:
    bench.fault("other_symbol", "/klines/XRPUSDT", body=OTHER, start=DELIVERED)
    bench.fault("other_symbol", "/fapi/v1/klines", body=OTHER, start=DELIVERED)
    (refused,) = bench.at(PUBLISHED).build(hours(10, 11), GONE)
    assert (refused.status, refused.row_count) == ("quarantined", 60), "no other stream has these minutes"
    bench.sim.faults.clear()
    list(ingest_archives(bench.lake, GONE, [(UM_STREAMS["klines_1m"], f"{DAY:%Y-%m-%d}")]))
    bench.at(PUBLISHED + HOUR).build(hours(10, 11), GONE)
    assert verdict(bench, GONE, DAY + 10 * HOUR) == (40, "explained")


def test_a_settlement_from_before_the_listing_is_contradicted(bench: Bench) -> None:
    bench.fault("other_symbol", "monthly/fundingRate/SOLUSDT", body=OTHER, end=LISTED)
    bench.at(NEXT_MONTH).build(hours(9, 11), NEW)
    found = bench.lake.ledger.partition(NEW, DAY + 10 * HOUR)
    assert found is not None
    assert found.verdict == "contradicted"
    assert "a settlement at 2026-11-18 08:00, and trading began at 2026-11-18 09:20" in str(found.verdict_detail)


def test_a_first_settlement_that_no_source_has_is_no_explained_hole(bench: Bench) -> None:
    bench.fault("5xx", "/fapi/v1/fundingRate")
    (built,) = bench.at(PUBLISHED).build(hours(10, 11), NEW)
    assert verdict(bench, NEW, DAY + 10 * HOUR) == (60, "partial")
    assert built.sources["funding_rate"].kind == "none"
