"""A clock that jumps two days ahead or an hour back while the exchange's goes on: nothing is lost or invented."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from lake_assets.build.hours import build_partitions
from lake_resources.simulator.server import SimulatorServer
from lake_tests.support.simulated_lake import ON_THE_DAY, SYMBOL, Bench, bench_on, hours

pytestmark = pytest.mark.slow

HOURS = hours(13, 18)
"""At half past three, two of them are over, one is open, and two have not begun."""
LATER = ON_THE_DAY + timedelta(hours=4)


def built_at(bench: Bench, now: datetime) -> None:
    """Build with the clock of this machine at `now`, whatever time it is at the exchange."""
    lake = replace(bench.lake, clock=lambda: now)
    list(build_partitions(lake, SYMBOL, HOURS, now=now, report=bench.reports.append))


@pytest.fixture(scope="module")
def truth(sim: SimulatorServer, tmp_path_factory: pytest.TempPathFactory) -> dict[datetime, str]:
    with bench_on(sim, tmp_path_factory.mktemp("truth")) as bench:
        built_at(bench.at(LATER), LATER)
        found = bench.committed()
    assert sorted(found) == HOURS
    return found


@pytest.mark.parametrize("jump", [timedelta(days=2), timedelta(hours=-1)], ids=["two days ahead", "an hour back"])
def test_a_clock_that_jumps_loses_nothing_and_the_lake_ends_as_if_it_had_not(
    sim: SimulatorServer, tmp_path: Path, truth: dict[datetime, str], jump: timedelta
) -> None:
    with bench_on(sim, tmp_path) as bench:
        built_at(bench.at(ON_THE_DAY), ON_THE_DAY)
        before = bench.committed()
        assert {hour: before.get(hour) for hour in HOURS[:2]} == {hour: truth[hour] for hour in HOURS[:2]}
        built_at(bench, ON_THE_DAY + jump)
        meanwhile = bench.committed()
        assert {hour: meanwhile.get(hour) for hour in HOURS[:2]} == {hour: truth[hour] for hour in HOURS[:2]}
        assert not set(meanwhile) & set(HOURS[3:]), "hours that have not begun at the exchange are in no lake"
        built_at(bench.at(LATER), LATER)
        assert bench.committed() == truth
