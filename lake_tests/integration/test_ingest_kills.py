"""Builds killed at any point, and two at once: nothing half-visible, nothing lost, the next run repairs."""

from __future__ import annotations

import logging
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from lake_resources.clock import HOUR
from lake_resources.simulator.server import SimulatorServer
from lake_resources.storage.hashing import file_hash
from lake_tests.support.ingest_worker import start_builder
from lake_tests.support.simulated_lake import DAY, ON_THE_DAY, PUBLISHED, SYMBOL, Bench, bench_on, hours, statuses

LOG = logging.getLogger(__name__)
STREAMS = ("klines_1m", "agg_trades", "metrics", "mark_price_klines_1m", "index_price_klines_1m", "funding_rate")


@pytest.fixture
def calm(sim: SimulatorServer, tmp_path: Path) -> Iterator[Bench]:
    """What an undisturbed build gives."""
    with bench_on(sim, tmp_path / "calm") as found:
        yield found


def whole_ledger(bench: Bench) -> set[tuple[str, ...]]:
    """Every row of raw inputs and hours in the ledger; the file of each is there, whole."""
    ledger, catalog = bench.lake.ledger, bench.lake.catalog
    window = (DAY - 48 * HOUR, DAY + 48 * HOUR)
    seen: set[tuple[str, ...]] = set()
    for stream in STREAMS:
        for row in (
            *ledger.archives_between(SYMBOL, stream, *window),
            *ledger.captures_between(SYMBOL, stream, *window),
        ):
            assert file_hash(catalog.absolute(row.path)) == row.content_hash, row
            seen.add((stream, row.path))
    for part in ledger.partitions(SYMBOL, *window):
        assert file_hash(catalog.absolute(part.path)) == part.content_hash, part
        assert pl.read_parquet(catalog.absolute(part.path)).height == part.row_count == 60
        seen.add(("minute", part.path))
    return seen


@pytest.mark.disk
@pytest.mark.slow
@pytest.mark.parametrize("least", [8, pytest.param(28, marks=pytest.mark.long)])
def test_a_build_killed_anywhere_is_repaired_by_the_next(sim: SimulatorServer, tmp_path: Path, least: int) -> None:
    jobs = {"archive": (PUBLISHED, hours(0, 24)), "rest": (ON_THE_DAY, hours(0, 15))}
    wanted, took_s = {}, {}
    for name, (now, day) in jobs.items():
        with bench_on(sim, tmp_path / f"calm-{name}") as undisturbed:
            started = time.monotonic()
            undisturbed.at(now).build(day)
            took_s[name] = time.monotonic() - started
            wanted[name] = undisturbed.committed()
    chance = random.Random(20261118)
    kills = with_hours = with_raw_only = lakes = 0
    while kills < least or not (with_raw_only and with_hours):
        assert kills < 20 * least, f"all kills fell before ({with_raw_only}) or after ({with_hours}) a commit"
        name = ("archive", "rest")[lakes % 2]
        now, day = jobs[name]
        lakes += 1
        with bench_on(sim, tmp_path / f"lake-{lakes}") as bench:
            bench.at(now)
            before: set[tuple[str, ...]] = set()
            for _ in range(4):
                process = start_builder(bench.settings, day, now)
                time.sleep(chance.uniform(0.02, 0.8 * took_s[name]))
                process.kill()
                process.join()
                kills += process.exitcode == -signal.SIGKILL
                after = whole_ledger(bench)
                assert before <= after, "a row of the ledger was lost"
                before = after
                in_hours = any(kind == "minute" for kind, _ in after)
                with_hours += in_hours
                with_raw_only += bool(after) and not in_hours
            results = bench.build(day)
            assert {result.status for result in results} <= {"committed", "unchanged"}
            assert bench.committed() == wanted[name], "as if nobody had been killed"
            assert bench.lake.ledger.intents() == []
            assert whole_ledger(bench) >= before
    LOG.info("%d kills in %d lakes: %d with raw inputs only, %d with hours", kills, lakes, with_raw_only, with_hours)


def test_what_a_killed_run_left_is_cleared_away(bench: Bench) -> None:
    root = bench.lake.catalog.root
    old = [root / ".tmp" / "1234.parquet", root / ".downloads" / "tmp1" / "klines_1m" / "x.zip"]
    for path in old:
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x")
    for path in (*old, root / ".downloads" / "tmp1"):
        os.utime(path, (0, 0))
    young = root / ".downloads" / "tmp2"
    young.mkdir()
    bench.at(PUBLISHED).build(hours(0, 1))
    assert not any(path.exists() for path in old)
    assert young.exists(), "its run may be alive"


@pytest.mark.disk
@pytest.mark.slow
@pytest.mark.parametrize("source", ["archive", "rest"])
def test_two_builds_of_the_same_hours_at_once_agree(bench: Bench, calm: Bench, source: str) -> None:
    now, day = (PUBLISHED, hours(0, 12)) if source == "archive" else (ON_THE_DAY, hours(3, 15))
    calm.at(now).build(day)
    builders = [start_builder(bench.settings, day, now) for _ in range(2)]
    for builder in builders:
        builder.join(600)
    assert [builder.exitcode for builder in builders] == [0, 0]
    assert bench.committed() == calm.committed()
    whole_ledger(bench)
    assert set(statuses(bench.at(now).build(day))) == {"unchanged"}
