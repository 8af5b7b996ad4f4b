"""Slices against the kline table of the same days: the same candles, each value exactly."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from lake_assets.build.hours import build_partitions
from lake_assets.slices.days import SliceDay, run_day
from lake_assets.slices.endpoints import ENDPOINTS
from lake_assets.slices.loop import lattice_of
from lake_assets.slices.server import open_slices
from lake_assets.slices.table_parity import compare, rows_from_slices, table_rows
from lake_assets.tables.spot_klines import SPOT_KLINES
from lake_resources.binance.spot_streams import SPOT_STREAMS
from lake_resources.settings import LakeSettings
from lake_resources.simulator.server import SimulatorServer
from lake_tests.support.simulated_lake import bench_on, exchange
from lake_tests.support.sliced import FIRST, OF, ms

DAY = timedelta(days=1)
NOW = FIRST + 2 * DAY + timedelta(hours=12)


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatorServer]:
    with exchange() as server:
        yield server


@pytest.fixture
def settings(sim: SimulatorServer, tmp_path: Path) -> Iterator[LakeSettings]:
    """A lake whose kline table has the first day."""
    with bench_on(sim, tmp_path, spot_rest_url=sim.base_url, start=FIRST.date()) as bench:
        bench.at(NOW)
        lake = bench.lake.of(SPOT_KLINES["1m"])
        days = build_partitions(lake, "BTCUSDT", [FIRST], now=NOW, report=bench.reports.append)
        assert [result.status for day in days for result in day.hours] == ["committed"]
        yield bench.settings


def days(sim: SimulatorServer, settings: LakeSettings) -> list[SliceDay]:
    with open_slices(settings, clock=sim.clock.now, sleep=lambda _: None) as slices:
        slices.rows.keep_origin(OF, ms(FIRST), FIRST)
        lattice = lattice_of(slices, ENDPOINTS["klines"], OF)
        table = table_rows(settings, "BTCUSDT", "1m")
        assert table is not None
        wanted = [(FIRST + number * DAY).date() for number in range(3)]
        return [run_day(slices, ENDPOINTS["klines"], OF, day, lattice, table=table) for day in wanted]


def parity_rows(found: list[SliceDay]) -> list[dict[str, object]]:
    return [
        dict(each.metadata) | {"passed": each.passed}
        for day in found
        for each in day.outcomes()
        if each.name == "parity_with_table"
    ]


def test_a_day_is_compared_as_far_as_the_table_reaches_and_others_have_no_row(
    sim: SimulatorServer, settings: LakeSettings
) -> None:
    assert parity_rows(days(sim, settings)) == [{"compared": 1440, "different": 0, "first": None, "passed": True}]


def test_one_value_that_differs_fails_the_day(sim: SimulatorServer, settings: LakeSettings) -> None:
    days(sim, settings)
    with open_slices(settings, clock=sim.clock.now, sleep=lambda _: None) as slices:
        found = rows_from_slices(slices, "BTCUSDT", "1m", FIRST)
        assert rows_from_slices(slices, "BTCUSDT", "1m", FIRST + 2 * DAY) is None, "the day is not over"
    assert found is not None
    candles, coverage = found
    assert (candles.height, coverage.clean, candles.schema) == (1440, True, SPOT_STREAMS["klines_1m"].columns)
    at = FIRST + timedelta(minutes=77)
    here = pl.col("open_time") == at
    wrong = candles.with_columns(close=pl.when(here).then(pl.col("close") + 0.01).otherwise("close"))
    first = f"{at:%Y-%m-%d %H:%M:%S}"
    for other in (wrong, candles.filter(~here)):
        for pair in ((candles, other), (other, candles)):
            told = compare(*pair)
            assert (told.different, told.first) == (1, first)
    assert compare(candles, candles).different == 0
    assert compare(candles, candles.head(0)).compared == 0
    assert compare(candles, candles.head(100)) == compare(candles.head(100), candles), "a shorter table is no fault"
