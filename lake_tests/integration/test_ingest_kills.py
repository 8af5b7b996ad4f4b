"""Builds killed at any point, and two at once: nothing half-visible, nothing lost, the next run repairs."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from datetime import datetime
from itertools import count
from pathlib import Path

import polars as pl
import pytest

from lake_resources.clock import HOUR
from lake_resources.simulator.server import SimulatorServer
from lake_resources.storage.hashing import file_hash
from lake_tests.support.ingest_worker import start_builder
from lake_tests.support.killed_at_step import Step
from lake_tests.support.simulated_lake import DAY, ON_THE_DAY, PUBLISHED, SYMBOL, Bench, bench_on, hours, statuses

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


def killed(bench: Bench, day: list[datetime], step: Step, before: set[tuple[str, ...]]) -> set[tuple[str, ...]]:
    """The rows of the ledger after a build that died before this step; none of those of before is lost."""
    process = start_builder(bench.settings, day, bench.now, step)
    process.join()
    assert process.exitcode == -signal.SIGKILL, f"the build never came to {step}"
    after = whole_ledger(bench)
    assert before <= after, "a row of the ledger was lost"
    return after


def repaired(bench: Bench, day: list[datetime], before: set[tuple[str, ...]]) -> dict[datetime, str]:
    """What is committed after the next build, which leaves nothing to repair."""
    assert set(statuses(bench.build(day))) <= {"committed", "unchanged"}
    assert bench.lake.ledger.intents() == []
    assert whole_ledger(bench) >= before
    return bench.committed()


FROM_ARCHIVES = (
    (Step("CREATE TABLE", 9), False, 0),
    (Step(".part"), False, 0),
    (Step("INSERT INTO archives", 3), True, 0),
    (Step("/funding_rate/", 9), True, 0),
    (Step("INSERT INTO intents"), True, 0),
    (Step("/part.parquet"), True, 0),
    # The next one dies in the repair of the one before.
    (Step("/part.parquet", 4), True, 3),
    (Step("/done-"), True, 6),
)
"""Steps that builds die before, one after the other: is raw data in the ledger then, and how many hours are read."""
FROM_REST = (
    (Step("INSERT INTO identity"), False, 0),
    (Step("INSERT INTO captures", 4), True, 0),
    (Step("/agg_trades/", 3), True, 0),
    (Step("/.locks/"), True, 0),
    (Step("/part.parquet", 6), True, 5),
    (Step("/done-"), True, 6),
)


ARCHIVED, OPEN = (PUBLISHED, hours(0, 6)), (ON_THE_DAY, hours(9, 15))
"""When hours are built from archives, and from REST."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("now", "day", "kills"), [(*ARCHIVED, FROM_ARCHIVES), (*OPEN, FROM_REST)], ids=["archive", "rest"]
)
def test_builds_killed_before_and_after_each_kind_of_commit_are_repaired_by_the_next(
    bench: Bench, calm: Bench, now: datetime, day: list[datetime], kills: tuple[tuple[Step, bool, int], ...]
) -> None:
    calm.at(now).build(day)
    wanted = calm.committed()
    rows: set[tuple[str, ...]] = set()
    bench.at(now)
    for step, has_raw, in_hours in kills:
        rows = killed(bench, day, step, rows)
        kinds = [kind for kind, _ in rows]
        assert (any(kind != "minute" for kind in kinds), kinds.count("minute")) == (has_raw, in_hours), step
    assert repaired(bench, day, rows) == wanted, "as if nobody had been killed"


@pytest.mark.long
@pytest.mark.parametrize(("now", "day"), [ARCHIVED, OPEN], ids=["archive", "rest"])
def test_a_build_killed_at_every_fifth_step_is_repaired_by_the_next(
    sim: SimulatorServer, tmp_path: Path, calm: Bench, now: datetime, day: list[datetime]
) -> None:
    calm.at(now).build(day)
    wanted = calm.committed()
    for number in count(1, 5):
        with bench_on(sim, tmp_path / f"lake-{number}") as bench:
            process = start_builder(bench.at(now).settings, day, now, Step(number=number))
            process.join()
            if process.exitcode == 0:
                break
            assert process.exitcode == -signal.SIGKILL
            assert repaired(bench, day, whole_ledger(bench)) == wanted
    assert number > 100


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
