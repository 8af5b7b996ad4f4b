"""A process that may write no large file, open few files or take little memory (`ulimit`) loses nothing, says why."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lake_resources.clock import HOUR
from lake_resources.simulator.server import SimulatorServer
from lake_tests.support.simulated_lake import DAY, PUBLISHED, Bench, bench_on, hours

pytestmark = pytest.mark.slow

FIRST, ALL = hours(0, 2), hours(0, 5)
BUILD = """
import json, resource, sys
from datetime import datetime
from lake_assets.build.hours import build_partitions
from lake_assets.lake import open_lake
from lake_resources.errors import LakeError
from lake_resources.settings import LakeSettings
from lake_resources.storage.disk import disk_errors
given, kind, limit, now, *wanted = json.loads(sys.argv[1])
now, wanted = datetime.fromisoformat(now), [datetime.fromisoformat(each) for each in wanted]
lake = open_lake(LakeSettings(**given), clock=lambda: now, sleep=lambda _: None)
resource.setrlimit(getattr(resource, kind), (limit, limit))
try:
    with disk_errors("the build"):  # as at the boundary of a command
        days = list(build_partitions(lake, "BTCUSDT", wanted, now=now, report=lambda _: None))
except LakeError as error:
    print(f"{type(error).__name__}: {error}")
    sys.exit(4)
failed = [hour for day in days for hour in day.hours if hour.failed]
print(*(f"{hour.message}" for hour in failed))
sys.exit(3 if failed else 0)
"""


@pytest.fixture(scope="module")
def calm(sim: SimulatorServer, tmp_path_factory: pytest.TempPathFactory) -> dict[object, str]:
    """What is committed where nothing is limited."""
    with bench_on(sim, tmp_path_factory.mktemp("calm")) as bench:
        bench.at(PUBLISHED).build(ALL)
        return dict(bench.committed())


def build_limited(bench: Bench, kind: str, limit: int) -> subprocess.CompletedProcess[str]:
    settings = bench.settings.model_dump(mode="json", exclude_defaults=True)
    told = json.dumps([settings, kind, limit, PUBLISHED.isoformat(), *(each.isoformat() for each in ALL)])
    return subprocess.run(
        [sys.executable, "-c", BUILD, told], capture_output=True, text=True, check=False, timeout=480,
        cwd=Path(__file__).parents[2], env=os.environ | {"POLARS_MAX_THREADS": "2"},
    )  # fmt: skip


LIMITS = {
    "files of 16 KiB": ("RLIMIT_FSIZE", 16_384, "ulimit -"),
    "files of 64 KiB": ("RLIMIT_FSIZE", 65_536, "ulimit -"),
    "12 open files": ("RLIMIT_NOFILE", 12, "ulimit -"),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.long) if name == "files of 64 KiB" else name for name in LIMITS]
)
def test_nothing_is_lost_under_a_limit_and_the_next_run_makes_it_whole(
    sim: SimulatorServer, calm: dict[object, str], tmp_path: Path, name: str
) -> None:
    kind, limit, said = LIMITS[name]
    with bench_on(sim, tmp_path) as bench:
        bench.at(PUBLISHED).build(FIRST)
        before = bench.committed()
        done = build_limited(bench, kind, limit)
        assert done.returncode in {3, 4}, (done.stdout, done.stderr)
        assert said in done.stdout, (done.stdout, done.stderr)
        assert "Traceback" not in done.stderr, done.stderr
        assert {hour: bench.committed()[hour] for hour in before} == before
        for hour in FIRST:
            assert bench.rows(hour).height == 60
        bench.at(PUBLISHED).build(ALL)
        assert bench.committed() == calm
    assert DAY + 4 * HOUR in calm


def test_a_process_that_runs_out_of_memory_leaves_what_was_committed(
    sim: SimulatorServer, calm: dict[object, str], tmp_path: Path
) -> None:
    with bench_on(sim, tmp_path) as bench:
        bench.at(PUBLISHED).build(FIRST)
        before = bench.committed()
        # Below what it has already: the first large piece of memory is refused, wherever that is.
        done = build_limited(bench, "RLIMIT_AS", 1 << 20)
        assert done.returncode != 0, (done.stdout, done.stderr)
        assert bench.committed() == before
        bench.at(PUBLISHED).build(ALL)
        assert bench.committed() == calm
