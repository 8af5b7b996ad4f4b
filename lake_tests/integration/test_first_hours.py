"""A lake that begins today, earlier, later or not yet, and a damaged symbol: ticks ask for what can run."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pytest

from lake_assets.dagster_names import HEAL_SENSOR, HOT_SENSOR, PROMOTE_SENSOR
from lake_assets.sensors.one_by_one import look_at_each
from lake_resources.clock import HOUR, MINUTE
from lake_resources.errors import LedgerError
from lake_resources.simulator.server import SimulatorServer
from lake_tests.support.automated_lake import Automated, automated, ranges
from lake_tests.support.simulated_lake import DAY, SYMBOL, bench_on

SENSORS = (HOT_SENSOR, HEAL_SENSOR, PROMOTE_SENSOR)


@contextmanager
def lake_from(start: date, sim: SimulatorServer, path: Path, **given: object) -> Iterator[Automated]:
    instance = dg.DagsterInstance.ephemeral()
    with bench_on(sim, path, start=start, **given) as bench, automated(bench, instance) as found:
        yield found
    instance.dispose()


def hours_held(lake: Automated, symbol: str = SYMBOL) -> list[int]:
    rows = lake.bench.lake.ledger.partitions(symbol, DAY - 48 * HOUR, DAY + 48 * HOUR)
    return [(row.start - DAY) // HOUR for row in rows]


@pytest.mark.slow
def test_a_lake_that_begins_today_builds_its_first_hour_and_no_run_fails(sim, tmp_path: Path) -> None:
    with lake_from(DAY.date(), sim, tmp_path) as lake:
        lake.tick_and_run(HOT_SENSOR, DAY + 30 * MINUTE)
        assert hours_held(lake) == [0]
        for sensor in SENSORS:
            lake.tick_and_run(sensor, DAY + 2 * HOUR + 10 * MINUTE)
        lake.tick_and_run(HOT_SENSOR, DAY + 2 * HOUR + 10 * MINUTE + timedelta(seconds=30))
        assert hours_held(lake) == [0, 1, 2]
        first = lake.bench.lake.ledger.partition(SYMBOL, DAY)
        assert first is not None
        assert (first.row_count, first.complete) == (60, True)
        assert {run.status for run in lake.instance.get_runs()} == {dg.DagsterRunStatus.SUCCESS}


@pytest.mark.slow
def test_a_start_that_was_moved_later_leaves_older_holes_and_days_alone(sim, tmp_path: Path) -> None:
    with lake_from(DAY.date(), sim, tmp_path) as lake:
        lake.bench.build([DAY - 40 * HOUR])
        now = DAY + 33 * HOUR
        found = {sensor: lake.tick(sensor, now) for sensor in SENSORS}
        asked = [key for each in found.values() for key in ranges(
            [one for one in each.run_requests or () if not one.partition_key])]  # fmt: skip
        assert asked
        assert min(first for first, _ in asked) >= f"{DAY:%Y-%m-%d-%H:%M}"
        days = {one.partition_key for one in found[PROMOTE_SENSOR].run_requests or () if one.partition_key}
        assert days == {DAY.date().isoformat()}


def test_a_start_that_was_moved_earlier_does_not_ask_for_years(sim, tmp_path: Path) -> None:
    with lake_from(date(2020, 1, 1), sim, tmp_path) as lake:
        lake.bench.build([DAY + 2 * HOUR])
        found = lake.tick(HEAL_SENSOR, DAY + 15 * HOUR)
        assert ranges(found.run_requests) == [("2026-11-18-03:00", "2026-11-18-08:00")]


def test_a_start_that_lies_ahead_is_told_and_nothing_is_asked_for(sim, tmp_path: Path) -> None:
    with lake_from(DAY.date() + timedelta(days=3), sim, tmp_path) as lake:
        lake.bench.build([DAY])
        for sensor in SENSORS:
            assert not lake.tick(sensor, DAY + 33 * HOUR).run_requests
        assert "lies ahead" in str(lake.tick(HOT_SENSOR).skip_message)


def test_a_symbol_whose_rows_are_damaged_keeps_no_tick_from_the_others(sim, tmp_path: Path) -> None:
    with lake_from(date(2026, 11, 1), sim, tmp_path, symbols=("ETHUSDT", SYMBOL)) as lake:
        lake.bench.build([DAY + 11 * HOUR])
        with sqlite3.connect(lake.bench.settings.lake_root / "ledger.sqlite") as file:
            names = [name for _, name, *_ in file.execute("PRAGMA table_info(partitions)")]
            damaged = {"symbol": "'ETHUSDT'", "sources": "'{torn'"}
            values = ", ".join(damaged.get(name, name) for name in names)
            file.execute(f"INSERT INTO partitions ({', '.join(names)}) SELECT {values} FROM partitions")
        file.close()
        (request,) = lake.tick(HOT_SENSOR, DAY + 15 * HOUR + 10 * MINUTE).run_requests or ()
        assert [key.path[1] for key in request.asset_selection or ()] == [SYMBOL]
        for sensor in (HEAL_SENSOR, PROMOTE_SENSOR):
            lake.tick(sensor, DAY + 40 * HOUR)


def test_a_tick_that_could_look_at_nothing_fails() -> None:
    told: list[str] = []

    def look(symbol: str) -> int:
        raise LedgerError(f"{symbol} is torn", remedy="Mend it")

    with pytest.raises(LedgerError):
        look_at_each(["A", "B"], look, told.append)
    assert len(told) == 2
    assert look_at_each([], look, told.append) == {}
