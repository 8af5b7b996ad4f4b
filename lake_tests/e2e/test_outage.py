"""The platform dies at its work: its builder hangs and a run stands in, then all are killed and started again.

Nothing that was committed may be lost, and the open hour becomes whole by itself.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from lake_assets.audit.scan import audit_partitions
from lake_assets.dagster_names import AUTOMATION_TAG
from lake_assets.jobs.told_commits import BUILDER_TAG
from lake_assets.lake import Lake, open_lake
from lake_assets.live.row_files import LiveRows
from lake_assets.local_stack.places import PROJECT, child_environment
from lake_assets.local_stack.stack import BUILDER, COLLECTOR, local_stack
from lake_assets.local_stack.supervision import Stack
from lake_assets.resident.builder_beat import BuilderBeat, last_beat
from lake_assets.resident.hot_tables import RESIDENT_TABLES
from lake_assets.schema.table import Table
from lake_assets.sensors.hot_band import STANDS_IN
from lake_assets.tables.spot_bars_1s import SPOT_BARS_1S
from lake_assets.tables.um_minute import UM_MINUTE as TABLE
from lake_resources.clock import HOUR, MINUTE, SECOND
from lake_resources.collector.journal import Journal
from lake_resources.errors import LakeError
from lake_resources.settings import LakeSettings
from lake_resources.storage.commit import recover
from lake_resources.storage.reader import scan
from lake_tests.support.outage import HourOnDisk, Strike, hours_on_disk, instance_of, strike, trade_ids
from lake_tests.support.waiting import free_port, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

SYMBOL = "BTCUSDT"
TABLES = pytest.mark.parametrize("table", RESIDENT_TABLES, ids=[table.name for table in RESIDENT_TABLES])
_LONG_AGO_S = 2 * 3600


@dataclass
class Outage:
    """One lake and what was found at each stage. `began` is when its first stack was started."""

    settings: LakeSettings
    lake: Lake
    began: datetime
    strike: Strike = field(init=False)
    noticed: str = ""
    second: subprocess.CompletedProcess[str] | None = None
    beats: list[BuilderBeat | None] = field(default_factory=list)
    committed: dict[str, dict[datetime, HourOnDisk]] = field(default_factory=dict)
    left_open: list[Path] = field(default_factory=list)
    restarted: datetime = field(init=False)
    looked: datetime = field(init=False)
    dead_run: dg.DagsterRun | None = None
    daemon_beats: list[float] = field(default_factory=list)
    hot_runs_after: list[dg.DagsterRunStatus] = field(default_factory=list)
    tended: list[str] = field(default_factory=list)

    @property
    def segments(self) -> Path:
        return self.lake.catalog.live_records_dir

    def rows(self, start: datetime, end: datetime) -> pl.DataFrame:
        store = self.lake.store
        return scan(store, SYMBOL, start, end, schema=TABLE.polars_schema).collect()

    def lost_minutes(self) -> list[datetime]:
        """Whole minutes in which nothing listened."""
        first = _floor(self.strike.at) + MINUTE
        return [first + index * MINUTE for index in range((_floor(self.restarted) - first) // MINUTE)]


def _floor(instant: datetime) -> datetime:
    return instant.replace(second=0, microsecond=0)


def _say(text: str) -> None:
    sys.stdout.write(f"{datetime.now(UTC):%H:%M:%S} {text}\n")


def _wait(stack: Stack, what: str, seconds: float, ready: Callable[[], object]) -> None:
    wait_until(ready, what, seconds=seconds, every_s=0.2, meanwhile=stack.check)


@contextmanager
def _lake(root: Path) -> Iterator[Outage]:
    settings = LakeSettings(
        root=root,
        exchange="simulator",
        symbols=(SYMBOL,),
        spot_symbols=(SYMBOL,),
        hot_hours=1,
        simulator_port=free_port(),
        webserver_port=free_port(),
        hot_interval_s=10,
        hot_builder_silent_s=10,
    )
    lake = open_lake(settings)
    yield Outage(settings, lake, datetime.now(UTC))
    lake.close()


@pytest.fixture(scope="module")
def outage(tmp_path_factory: pytest.TempPathFactory, started_once: Callable[[str], None]) -> Iterator[Outage]:
    """The whole course of it; the tests look at what it left."""
    started_once("outage")
    with _lake(tmp_path_factory.mktemp("outage")) as found:
        _until_the_kill(found)
        _meanwhile(found)
        _after_the_restart(found)
        yield found


def _until_the_kill(found: Outage) -> None:
    live = LiveRows(found.lake.catalog)
    with local_stack(found.settings, say=_say) as stack, instance_of(found.settings) as instance:
        _wait(stack, "a live minute", 300, lambda: live.read(SYMBOL, found.began - HOUR, found.began + HOUR).height)
        for table in RESIDENT_TABLES:
            ledger = found.lake.of(table).ledger
            _wait(stack, f"a committed hour of {table.name}", 300, lambda ledger=ledger: ledger.first_partition(SYMBOL))  # type: ignore[misc]
        found.beats.append(last_beat(found.settings))
        found.second = _second_builder(found.settings)
        # It hangs, and goes on holding what it holds: runs of the sensor stand in for it.
        os.kill(stack.processes[BUILDER].pid, signal.SIGSTOP)
        found.strike = strike(stack, instance, timeout_s=300, tagged=STANDS_IN)
        _say("killed")
        try:
            stack.check()
        except LakeError as error:
            found.noticed = str(error)


def _second_builder(settings: LakeSettings) -> subprocess.CompletedProcess[str]:
    """Another builder of the same lake, as somebody starts one by hand beside `lake up`."""
    return subprocess.run(
        [sys.executable, "-m", "lake_assets.resident.keep_hot"],
        cwd=PROJECT,
        env=child_environment(settings),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def _meanwhile(found: Outage) -> None:
    found.left_open = list(found.segments.rglob("*.open"))
    for table in RESIDENT_TABLES:
        own = found.lake.of(table)
        found.committed[table.name] = hours_on_disk(own, SYMBOL, found.began - 48 * HOUR, found.strike.at)
    _age_temp_files(found.lake)
    back = _floor(found.strike.at) + 2 * MINUTE
    while datetime.now(UTC) < back:
        time.sleep(0.2)


def _age_temp_files(lake: Lake) -> None:
    """What dead writers staged is removed when it is old: here it is."""
    for path in lake.catalog.temp_dir.glob("*"):
        old = path.stat().st_mtime - _LONG_AGO_S
        os.utime(path, (old, old))


def _after_the_restart(found: Outage) -> None:
    found.restarted = datetime.now(UTC)
    with local_stack(found.settings, say=_say) as stack, instance_of(found.settings) as instance:

        def live_again() -> bool:
            now = datetime.now(UTC)
            newest = found.rows(_floor(found.restarted) + MINUTE, now).filter("has_depth")["timestamp"].max()
            if not isinstance(newest, datetime):
                return False
            # All that is older must be there by now, however busy the machine is.
            found.looked = min(now, newest + 3 * MINUTE)
            return True

        def healed() -> bool:
            journal = Journal(found.settings.resolved_ledger_url, "um")
            gaps = journal.gaps()
            journal.close()
            return bool(gaps) and all(gap.status != "open" for gap in gaps)

        found.daemon_beats = [beat.timestamp for beat in instance.get_daemon_heartbeats().values()]
        _wait(stack, "the end of healing", 300, healed)
        _wait(stack, "a live minute after the restart", 300, live_again)
        _say("live again")
        told = dg.RunsFilter(tags=BUILDER_TAG, created_after=found.restarted)
        _wait(stack, "what the builder committed in Dagster", 300, lambda: instance.get_runs(told))
        found.beats.append(last_beat(found.settings))
        assert stack.processes[COLLECTOR].poll() is None
        found.dead_run = instance.get_run_by_id(found.strike.run_id)
        since = dg.RunsFilter(tags={AUTOMATION_TAG: "hot"}, created_after=found.restarted)
        found.hot_runs_after = [run.status for run in instance.get_runs(since)]
        _hangs_again(found, stack)


def _hangs_again(found: Outage, stack: Stack) -> None:
    """The builder hangs once more, and this time `lake up` is there: it looks as it does every second."""
    before = stack.processes[BUILDER].pid
    os.kill(before, signal.SIGSTOP)

    def back() -> bool:
        found.tended += stack.tend()
        beat = last_beat(found.settings)
        return beat is not None and beat.pid not in (before, 0) and beat.turns > 0

    _wait(stack, "a builder in place of the one that hung", 300, back)
    found.beats.append(last_beat(found.settings))


def test_the_stack_notices(outage: Outage) -> None:
    assert outage.noticed.startswith("daemon ended with code -9")


def test_up_means_that_the_new_daemon_lives(outage: Outage) -> None:
    assert outage.daemon_beats
    assert min(outage.daemon_beats) >= outage.restarted.timestamp()


@TABLES
def test_nothing_committed_is_lost(outage: Outage, table: Table) -> None:
    committed = outage.committed[table.name]
    after = hours_on_disk(outage.lake.of(table), SYMBOL, outage.began - 48 * HOUR, outage.looked)
    assert committed, "there was something to lose"
    for hour, before in committed.items():
        assert before.times, f"{hour} had its file at the kill"
        assert before.times <= after[hour].times
    assert {hour for hour, held in after.items() if held.found_hash != held.promised_hash} == set()


@TABLES
def test_nothing_is_half_visible(outage: Outage, table: Table) -> None:
    lake, now = outage.lake.of(table), outage.looked
    first = lake.ledger.first_partition(SYMBOL)
    assert first is not None
    report = audit_partitions(lake.store, SYMBOL, first, now, now=now, lag_minutes=3)
    assert len(report.hours) >= len(outage.committed[table.name])
    assert report.wrong == []
    _age_temp_files(lake)
    recover(lake.store)  # the end of the second stack may have met a run at its work, too
    assert lake.ledger.intents() == []
    assert list(lake.catalog.temp_dir.glob("*")) == []


def test_seconds_of_spot_go_on_without_a_hole_or_a_repetition(outage: Outage) -> None:
    start = outage.strike.at.replace(minute=0, second=0, microsecond=0)
    lake = outage.lake.of(SPOT_BARS_1S)
    rows = scan(lake.store, SYMBOL, start, outage.looked, schema=SPOT_BARS_1S.polars_schema).collect()
    times = rows[SPOT_BARS_1S.layout.time_column].to_list()
    assert times == [start + index * SECOND for index in range(len(times))]
    assert times[-1] >= _floor(outage.looked) - 3 * MINUTE


def test_one_builder_works_and_another_is_refused(outage: Outage) -> None:
    assert outage.second is not None
    assert outage.second.returncode == 1
    assert "has a resident builder already" in outage.second.stdout
    before, after, _ = outage.beats
    assert before is not None
    assert after is not None
    assert after.pid != before.pid
    assert after.started >= outage.restarted > before.started


def test_a_builder_that_hangs_is_killed_and_another_started(outage: Outage) -> None:
    _, before, after = outage.beats
    assert before is not None
    assert after is not None
    assert after.pid != before.pid
    assert any("builder was killed: the resident builder has been silent" in line for line in outage.tended)
    assert "builder was started again" in outage.tended


def test_a_run_stood_in_for_the_builder_that_hung(outage: Outage) -> None:
    assert outage.dead_run is not None
    assert "silent for" in outage.dead_run.tags[STANDS_IN]


def test_the_dead_run_is_given_up_and_keeps_nothing_waiting(outage: Outage) -> None:
    assert outage.dead_run is not None
    assert outage.dead_run.status == dg.DagsterRunStatus.CANCELED
    assert dg.DagsterRunStatus.SUCCESS in outage.hot_runs_after
    assert dg.DagsterRunStatus.FAILURE not in outage.hot_runs_after


def test_the_collector_goes_on(outage: Outage) -> None:
    assert outage.left_open, "the kill left open segments"
    assert list(outage.segments.rglob("*.open")) == []
    assert "segments left open" in (outage.lake.catalog.root / "logs" / "collector.log").read_text()
    ids = trade_ids(outage.settings, SYMBOL, outage.began)
    assert [number for number, times in ids.items() if times > 1] == []
    journal = Journal(outage.settings.resolved_ledger_url, "um")
    gaps = journal.gaps()
    reasons = [row.reason for row in journal.connections()]
    journal.close()
    assert {gap.status for gap in gaps} == {"healed"}, "REST still has them all"
    assert sorted(ids) == list(range(min(ids), max(ids) + 1))
    assert reasons.count("the collector ended without closing it") == 2


def test_the_open_hour_is_whole_again(outage: Outage) -> None:
    start = outage.strike.at.replace(minute=0, second=0, microsecond=0)
    end = _floor(outage.looked) - 2 * MINUTE
    wanted = [start + index * MINUTE for index in range((end - start) // MINUTE)]
    assert outage.rows(start, end)["timestamp"].to_list() == wanted


def test_live_columns_are_there_again_and_never_invented(outage: Outage) -> None:
    lost = outage.lost_minutes()
    assert lost, "a whole minute passed"
    silent = outage.rows(lost[0], lost[-1] + MINUTE)
    assert silent["timestamp"].to_list() == lost
    flags = ["has_depth", "has_ws_latency", "has_liq"]
    assert silent.select(pl.any_horizontal(flags).any()).item() is False
    values = [name for name in TABLE.collected if name not in flags]
    assert silent.select(pl.any_horizontal(pl.col(values).is_not_null()).any()).item() is False, silent.select(values)
    before = outage.rows(_floor(outage.began), lost[0])
    after = outage.rows(lost[-1] + MINUTE, outage.looked)
    for rows in (before, after):
        live = rows.filter("has_depth")
        assert live.height, "what the collector heard came into the table"
        for name in ("latency_network", "update_id_end", "predicted_funding", "next_funding_time"):
            assert live[name].is_not_null().any(), name
