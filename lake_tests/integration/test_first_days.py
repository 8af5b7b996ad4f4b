"""LAKE_START today, earlier, later or ahead, for hours and days of spot and days of macro minutes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from lake_assets.dagster_names import HEAL_SENSOR, HOT_SENSOR, PROMOTE_SENSOR, sensor_name
from lake_assets.jobs.macro_runs import request_macro_days
from lake_assets.schema.table import Table
from lake_assets.tables.spot_bars_1s import SPOT_BARS_1S
from lake_assets.tables.spot_klines import SPOT_KLINES
from lake_resources.clock import DAY as ONE_DAY
from lake_resources.clock import HOUR, MINUTE
from lake_resources.settings import LakeSettings
from lake_resources.simulator.server import SimulatorServer
from lake_tests.support.automated_lake import Automated, automated, ranges
from lake_tests.support.simulated_lake import DAY, SYMBOL, Bench, bench_on

CANDLES = SPOT_KLINES["1m"]
TABLES = (SPOT_BARS_1S, CANDLES)
SENSORS = (HOT_SENSOR, HEAL_SENSOR, PROMOTE_SENSOR)


@contextmanager
def lake_from(start: date, sim: SimulatorServer, path: Path) -> Iterator[Automated]:
    with (
        bench_on(sim, path, start=start, spot_symbols=(SYMBOL,), spot_rest_url=sim.base_url, hot_hours=1) as bench,
        dg.DagsterInstance.ephemeral() as instance,
        automated(bench, instance) as found,
    ):
        yield found


def on(lake: Automated, table: Table) -> Bench:
    return Bench(lake.bench.sim, lake.bench.lake.of(table), lake.bench.settings, lake.bench.reports)


def ticks(lake: Automated, table: Table, now: datetime) -> dict[str, dg.SensorResult]:
    return {kind: lake.tick(sensor_name(kind, table.layout), now) for kind in SENSORS}


def test_a_start_that_lies_ahead_is_told_and_nothing_is_asked_for(sim: SimulatorServer, tmp_path: Path) -> None:
    with lake_from(DAY.date() + 3 * ONE_DAY, sim, tmp_path) as lake:
        for table in TABLES:
            on(lake, table).at(DAY + 26 * HOUR).build([DAY])
            found = ticks(lake, table, DAY + 33 * HOUR)
            assert not [each for each in found.values() if each.run_requests]
            assert "lies ahead" in str(getattr(found[HOT_SENSOR], "skip_message", ""))


def test_a_start_that_was_moved_later_leaves_what_is_older_alone(sim: SimulatorServer, tmp_path: Path) -> None:
    with lake_from(DAY.date(), sim, tmp_path) as lake:
        for table in TABLES:
            on(lake, table).at(DAY).build([DAY - 2 * ONE_DAY])
            found = ticks(lake, table, DAY + 33 * HOUR)
            asked = [each for one in found.values() for each in one.run_requests or ()]
            keys = [each.partition_key or ranges([each])[0][0] for each in asked]
            assert keys
            assert min(keys) >= f"{DAY:%Y-%m-%d}"


def test_a_start_that_was_moved_earlier_does_not_ask_for_years(sim: SimulatorServer, tmp_path: Path) -> None:
    with lake_from(date(2020, 1, 1), sim, tmp_path) as lake:
        for table, first, wanted in (
            (SPOT_BARS_1S, DAY + 2 * HOUR, ("2026-11-18-03:00", "2026-11-18-13:00")),
            (CANDLES, DAY - 2 * ONE_DAY, ("2026-11-17", "2026-11-17")),
        ):
            on(lake, table).at(DAY + 15 * HOUR).build([first])
            found = lake.tick(sensor_name(HEAL_SENSOR, table.layout), DAY + 15 * HOUR)
            assert ranges(found.run_requests)[0] == wanted


@pytest.mark.slow
def test_a_lake_that_begins_today_builds_its_first_partition(sim: SimulatorServer, tmp_path: Path) -> None:
    with lake_from(DAY.date(), sim, tmp_path) as lake:
        for table in TABLES:
            hot = sensor_name(HOT_SENSOR, table.layout)
            lake.tick_and_run(hot, DAY + 30 * MINUTE)
            lake.tick_and_run(hot, DAY + 2 * HOUR + 10 * MINUTE)
            for kind in (HEAL_SENSOR, PROMOTE_SENSOR):
                lake.tick_and_run(sensor_name(kind, table.layout))
            held = lake.bench.lake.of(table).ledger.partitions(SYMBOL, DAY - ONE_DAY, DAY + ONE_DAY)
            assert [row.start for row in held] == [DAY + n * table.layout.step for n in range(len(held))]
            assert held
        seconds = lake.bench.lake.of(SPOT_BARS_1S).ledger.partition(SYMBOL, DAY)
        assert seconds is not None
        assert (seconds.row_count, seconds.complete) == (3600, True)
        assert {run.status for run in lake.instance.get_runs()} == {dg.DagsterRunStatus.SUCCESS}


def settings_from(path: Path, start: datetime) -> LakeSettings:
    return LakeSettings(root=path / "lake", start=start.date(), macro_tickers=("SPY",))


def test_macro_days_are_asked_for_from_the_start_on(tmp_path: Path) -> None:
    tick = DAY + 15 * HOUR
    # As far as the first run of a ticker asks, or every later one.
    for ahead, wanted in ((-400, DAY - 6 * ONE_DAY), (-2, DAY - 2 * ONE_DAY), (0, DAY)):
        settings = LakeSettings(
            root=tmp_path / "lake", start=(DAY + timedelta(days=ahead)).date(), macro_tickers=("SPY",)
        )
        request = request_macro_days(settings, tick)
        assert isinstance(request, dg.RunRequest)
        assert ranges([request]) == [(f"{wanted:%Y-%m-%d}", f"{DAY:%Y-%m-%d}")]
    skipped = request_macro_days(
        LakeSettings(root=tmp_path / "lake", start=(DAY + ONE_DAY).date(), macro_tickers=("SPY",)), tick
    )
    assert "in the future" in str(skipped)
