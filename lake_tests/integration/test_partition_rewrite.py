"""A-11: an hour that is written again loses nothing: good columns stay, live fields stay together with their flags."""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from lake_assets.live.row_files import LiveRows
from lake_assets.tables.um_minute import UM_MINUTE
from lake_assets.transforms.live.live_rows import LIVE_ROWS
from lake_resources.clock import HOUR
from lake_tests.support.simulated_lake import DAY, PUBLISHED, SYMBOL, Bench, hours, kinds

pytestmark = pytest.mark.slow

AT = DAY + 9 * HOUR
HEARD = range(10, 40)
FLAGS = ("has_ws_latency", "has_depth", "has_liq", "liq_unfilled_supported", "impact_fillable", "depth_degraded")


def collected(bench: Bench, hour: datetime) -> None:
    """A collector was there for half an hour."""
    minutes = [hour + timedelta(minutes=minute) for minute in HEARD]
    values: dict[str, object] = {
        "has_depth": True, "has_ws_latency": True, "has_liq": True, "liq_long_count": 3, "liq_long_vol_usdt": 1000.0,
        "liq_unfilled_supported": True, "impact_fillable": True, "price_impact_100k": 0.001, "depth_degraded": False,
        "predicted_funding": 0.0001, "latency_engine": 5, "public_alive": False, "market_alive": False,
    }  # fmt: skip
    rows = pl.DataFrame({"timestamp": minutes}).with_columns(
        pl.lit(values.get(name), dtype=dtype).alias(name) for name, dtype in LIVE_ROWS.items() if name != "timestamp"
    )
    LiveRows(bench.lake.catalog).merge(SYMBOL, rows.select(list(LIVE_ROWS)).cast(pl.Schema(LIVE_ROWS)))


def lost(bench: Bench, hour: datetime) -> None:
    LiveRows(bench.lake.catalog).path(SYMBOL, hour).unlink()


def live_fields(bench: Bench) -> pl.DataFrame:
    return bench.rows(AT).select("timestamp", *UM_MINUTE.collected)


@pytest.mark.parametrize("rows", ["there", "lost"])
def test_a11_live_fields_survive_a_rewrite_together_with_their_flags(bench: Bench, rows: str) -> None:
    collected(bench, AT)
    (first,) = bench.build([AT])
    before = live_fields(bench)
    assert (first.status, kinds(first)["klines_1m"]) == ("committed", "rest")
    assert before["liq_long_count"].to_list() == [3 if minute in HEARD else None for minute in range(60)]
    assert before["has_liq"].to_list() == [minute in HEARD for minute in range(60)]
    if rows == "lost":
        lost(bench, AT)
    (again,) = bench.at(PUBLISHED).build([AT])
    assert again.status == ("kept_better" if rows == "lost" else "committed")
    assert_frame_equal(live_fields(bench), before, check_exact=True)
    assert before.select(FLAGS).null_count().row(0) == (0, 0, 0, 30, 30, 30), "a flag is known where its fields are"


def test_a11_a_run_with_a_source_missing_nulls_no_good_column(bench: Bench) -> None:
    collected(bench, AT)
    bench.at(PUBLISHED).build(hours(9, 11))
    before = {hour: bench.rows(hour) for hour in hours(9, 11)}
    good = {name for name, nulls in before[AT].null_count().row(0, named=True).items() if not nulls}
    assert {"count_buy_trades", "oi_contracts", "funding_rate", "premium_index"} <= good
    for stream in ("agg_trades", "metrics", "funding_rate", "premium_index_klines_1m"):
        for path in (bench.lake.catalog.root / "vision").rglob(f"{stream}/**/*.parquet"):
            path.unlink()
    lost(bench, AT)
    bench.fault("missing", "(aggTrades|metrics|fundingRate|premiumIndexKlines)/")
    bench.fault("5xx", "^/(fapi/v1/(aggTrades|fundingRate|premiumIndexKlines)|futures/data)")
    results = bench.at(PUBLISHED + 3 * HOUR).build(hours(9, 11))
    assert [result.status for result in results] == ["kept_better"] * 2
    for hour, rows in before.items():
        assert_frame_equal(bench.rows(hour), rows, check_exact=True)


def test_a11_the_newest_value_of_a_minute_counts_and_its_neighbours_stay(bench: Bench) -> None:
    bench.build([AT])
    before = bench.rows(AT)
    bench.fault("republished", "daily/(klines|aggTrades)/.*2026-11-18")  # the correction is in the first row of the day
    bench.build([DAY])
    first = bench.rows(DAY)
    bench.at(PUBLISHED).build([DAY, AT])
    after = bench.rows(DAY)
    assert after["volume_btc"][0] != first["volume_btc"][0]
    assert_frame_equal(after.slice(1), first.slice(1), check_exact=True)
    assert_frame_equal(bench.rows(AT), before, check_exact=True)
