"""An outage of the local stack: SIGKILL of collector, builder, daemon and a run at work, and the lake around it.

Belongs here: a place for a stack, catching a run at its work, killing, reading back hours and records. No assertion.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from lake_assets.dagster_names import AUTOMATION_TAG
from lake_assets.lake import Lake
from lake_assets.local_stack.places import dagster_home
from lake_assets.local_stack.stack import BUILDER, COLLECTOR
from lake_assets.local_stack.supervision import Stack
from lake_resources.binance.ws.frames import AGG_TRADE, HEALED
from lake_resources.collector.segments import newest_minute, read_records
from lake_resources.dagster_instance import open_instance
from lake_resources.settings import LakeSettings
from lake_resources.storage.hashing import file_hash
from lake_tests.support.stores import store_at

_PID = re.compile(r"Started process for run \(pid: (\d+)\)")


@dataclass(frozen=True)
class Strike:
    """When everything was killed, and the run that was at work then."""

    at: datetime
    run_id: str


@dataclass(frozen=True)
class HourOnDisk:
    """A committed hour: what the ledger promises of its file, and the times of its rows."""

    promised_hash: str
    found_hash: str
    times: frozenset[datetime]


@contextmanager
def instance_of(settings: LakeSettings) -> Iterator[dg.DagsterInstance]:
    """Dagster's storage of a stack, beside its processes."""
    home = str(dagster_home(settings))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", home)  # the event log's configuration reads it
        with open_instance(Path(home)) as instance:
            yield instance


def strike(stack: Stack, instance: dg.DagsterInstance, *, timeout_s: float, tagged: str = "") -> Strike:
    """Wait for a run of the hot band at work, then kill it, the daemon's side, collector and builder at once.

    Args:
        stack: what is killed.
        instance: of Dagster.
        timeout_s: a run must be at work by then.
        tagged: only a run that has this tag; tables that no builder keeps have runs of their own.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        stack.check()
        caught = _caught(instance, tagged)
        if caught is not None:
            daemon, collector = stack.processes["daemon"], stack.processes[COLLECTOR]
            run_id, pid = caught
            # The daemon with its code server, which would otherwise report the dead run.
            os.killpg(daemon.pid, signal.SIGKILL)
            os.kill(collector.pid, signal.SIGKILL)
            builder = stack.processes.get(BUILDER)
            if builder is not None:
                os.kill(builder.pid, signal.SIGKILL)  # also one that is stopped
            os.kill(pid, signal.SIGKILL)
            at = datetime.now(UTC)
            daemon.wait(120)
            collector.wait(120)
            if builder is not None:
                builder.wait(120)
            return Strike(at, run_id)
        time.sleep(0.02)
    raise AssertionError(f"no run of the hot band was at work within {timeout_s} s")


def _caught(instance: dg.DagsterInstance, tagged: str) -> tuple[str, int] | None:
    """A run at work and its process, which is stopped so that it stays at work until it is killed."""
    at_work = dg.RunsFilter(tags={AUTOMATION_TAG: "hot"}, statuses=[dg.DagsterRunStatus.STARTED])
    for run in instance.get_runs(at_work):
        if tagged and tagged not in run.tags:
            continue
        said = [found for entry in instance.all_logs(run.run_id) if (found := _PID.search(entry.message))]
        if not said:
            continue
        pid = int(said[0][1])
        try:
            os.kill(pid, signal.SIGSTOP)
        except ProcessLookupError:
            continue
        now = instance.get_run_by_id(run.run_id)
        if now is not None and now.status == dg.DagsterRunStatus.STARTED:
            return run.run_id, pid
        os.kill(pid, signal.SIGCONT)
    return None


def hours_on_disk(lake: Lake, symbol: str, start: datetime, end: datetime) -> dict[datetime, HourOnDisk]:
    """Committed hours of `[start, end)` of the lake's table, each read from its own file; without it, no rows."""
    found = {}
    for row in lake.ledger.partitions(symbol, start, end):
        path = lake.catalog.absolute(row.path)
        there = path.is_file()
        time = lake.store.layout.time_column
        times = pl.read_parquet(path, columns=[time])[time].to_list() if there else []
        found[row.start] = HourOnDisk(row.content_hash, file_hash(path) if there else "no file", frozenset(times))
    return found


def trade_ids(settings: LakeSettings, symbol: str, since: datetime) -> Counter[int]:
    """How often each aggTrade id lies in the records, heard or healed."""
    segments = store_at(settings.lake_root).catalog.live_records_dir
    newest = newest_minute(segments)
    found: Counter[int] = Counter()
    for frame in read_records(segments, symbol, int(since.timestamp()) // 60 - 5, 0 if newest is None else newest + 1):
        if frame.kind == AGG_TRADE:
            found[frame.decoded()["a"]] += 1
        elif frame.kind == HEALED:
            found.update(row["a"] for row in frame.decoded())
    return found
