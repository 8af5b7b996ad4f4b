"""The resident builder where things go wrong: clocks, backlogs, other writers, a locked ledger, unknown symbols."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import pytest

from lake_assets.lake import open_lake
from lake_assets.resident.builder_beat import last_beat
from lake_assets.resident.hot_builder import Turn
from lake_assets.resident.keep_hot import keep_hot, keep_hot_once
from lake_assets.resident.side_by_side import build_side_by_side
from lake_assets.source import Offer, Wanted
from lake_resources.binance.um_streams import AGG_TRADES
from lake_resources.clock import HOUR, MINUTE, SECOND, Clock
from lake_resources.simulator.server import SimulatorServer
from lake_resources.simulator.sim_clock import SimClock
from lake_tests.support.simulated_lake import DAY, SYMBOL, Bench, bench_on
from lake_tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

OPEN = DAY + 15 * HOUR
NAME = f"um/{SYMBOL}/minute"


@pytest.fixture
def bench(sim: SimulatorServer, tmp_path: Path) -> Iterator[Bench]:
    with bench_on(sim, tmp_path, hot_hours=1, spot_symbols=()) as found:
        yield found


def turn(bench: Bench) -> Turn:
    return keep_hot_once(bench.lake, bench.settings, say=bench.reports.append)


def rows(bench: Bench) -> dict[int, int]:
    """Committed rows by hours after the open one's start; files have the bytes of the ledger."""
    bench.committed(DAY, DAY + 48 * HOUR)
    found = bench.lake.ledger.partitions(SYMBOL, DAY, DAY + 48 * HOUR)
    return {round((row.start - OPEN) / HOUR): row.row_count for row in found}


def test_a_clock_that_jumps_takes_nothing_back_and_leaves_no_hole_in_the_band(bench: Bench) -> None:
    turn(bench.at(OPEN + 30 * MINUTE + SECOND))
    assert rows(bench) == {-1: 60, 0: 30}
    back = turn(bench.at(OPEN + 10 * MINUTE + SECOND))
    assert rows(bench) == {-1: 60, 0: 30}, "what was committed stays"
    assert back.failed == {}
    turn(bench.at(OPEN + 2 * HOUR + 5 * MINUTE + SECOND))
    assert rows(bench) == {-1: 60, 0: 30, 1: 60, 2: 5}, "the band is whole; what lies before it is healing's"


@contextmanager
def kept_hot(bench: Bench, clock: Clock) -> Iterator[None]:
    """The resident builder's loop beside the test, by a clock of its own; it has ended with the block."""
    stop, lake = threading.Event(), replace(bench.lake, clock=clock)
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(keep_hot, lake, bench.settings, say=bench.reports.append, stop=stop)
        try:
            yield
        finally:
            stop.set()
        done.result(120)


def beaten(bench: Bench, at: datetime, turns: int) -> bool:
    beat = last_beat(bench.settings)
    return beat is not None and beat.at == at and beat.turns >= turns


def test_a_clock_that_is_set_back_lets_neither_band_nor_sign_of_life_wait_until_it_is_there_again(bench: Bench) -> None:
    """A machine whose clock ran an hour ahead of the exchange's, until it was corrected."""
    true = OPEN + 10 * MINUTE + SECOND
    bench.at(true)
    clock = SimClock(bench.sim.clock.now)
    clock.freeze(true + HOUR)
    with kept_hot(bench, clock.now):
        wait_until(lambda: beaten(bench, true + HOUR, 1), "a turn by the wrong clock")
        assert 1 not in rows(bench), "of an hour that the exchange has not begun there is nothing"
        before = last_beat(bench.settings)
        assert before is not None
        clock.freeze(true + MINUTE)
        bench.at(true + MINUTE)
        wait_until(lambda: rows(bench).get(0) == 11, "the minute that is open by the right clock")
        wait_until(lambda: beaten(bench, true + MINUTE, before.turns + 1), "a sign of life by the right clock")


def test_a_day_turns_like_any_hour(bench: Bench) -> None:
    midnight = DAY + 24 * HOUR
    turn(bench.at(midnight - MINUTE + SECOND))
    turn(bench.at(midnight + SECOND))
    assert rows(bench)[8] == 60
    turn(bench.at(midnight + 3 * MINUTE + SECOND))
    last, first = bench.lake.ledger.partitions(SYMBOL, midnight - HOUR, midnight + HOUR)
    assert (last.start, last.row_count, last.complete) == (midnight - HOUR, 60, True)
    assert (first.start, first.row_count, first.complete) == (midnight, 3, False)
    assert not turn(bench).hours


def test_a_builder_that_was_off_for_hours_builds_the_open_hour_first_and_then_all(
    sim: SimulatorServer, tmp_path: Path
) -> None:
    with bench_on(sim, tmp_path, hot_hours=4, spot_symbols=()) as bench:
        done = turn(bench.at(OPEN + 10 * MINUTE + SECOND))
        order = [each.hour for each in done.hours[NAME]]
        assert set(order[:2]) == {OPEN, OPEN - HOUR}
        assert sorted(order) == [OPEN - n * HOUR for n in (4, 3, 2, 1, 0)]
        assert rows(bench) == {-4: 60, -3: 60, -2: 60, -1: 60, 0: 10}
        assert done.behind == []


@dataclass
class _Slow:
    """A source before REST that has nothing, and says so once the builder gave a sign of life meanwhile."""

    title = "a slow source"
    alive: threading.Event = field(default_factory=threading.Event)
    heard: list[bool] = field(default_factory=list)

    def offers(self, wanted: Wanted) -> Iterator[Offer]:
        if wanted.used.name != AGG_TRADES.name:  # which is asked last, symbol by symbol with a sign of life before each
            self.alive.clear()
            self.heard.append(self.alive.wait(120))
        yield Offer(tuple(wanted.starts), failure="nothing")


def test_a_builder_that_waits_for_a_source_is_not_silent(bench: Bench) -> None:
    bench.at(OPEN + 10 * MINUTE + SECOND)
    slow = _Slow()
    lake = replace(bench.lake, before_rest=(slow,))
    built = dict(
        build_side_by_side(lake, {SYMBOL: [OPEN]}, now=bench.now, report=bench.reports.append, beat=slow.alive.set)
    )
    assert not isinstance(built[SYMBOL], Exception)
    assert slow.heard
    assert all(slow.heard)
    assert rows(bench)[0] == 10


def test_builder_and_backfill_of_the_same_hour_leave_one_of_both(bench: Bench) -> None:
    bench.at(OPEN + 63 * MINUTE + SECOND)
    other = open_lake(bench.settings, clock=bench.sim.clock.now, sleep=lambda _: None)
    try:
        beside = Bench(bench.sim, other, bench.settings)
        with ThreadPoolExecutor(2) as pool:
            built = pool.submit(beside.build, [OPEN])
            done = pool.submit(turn, bench)
            statuses = {*(each.status for each in built.result()), *(each.status for each in done.result().hours[NAME])}
        assert statuses <= {"committed", "unchanged"}
        assert done.result().failed == {}
        assert rows(bench)[0] == 60
        (hour,) = bench.lake.ledger.partitions(SYMBOL, OPEN, OPEN + HOUR)
        assert hour.complete
        assert not bench.lake.ledger.intents()
    finally:
        other.close()


def test_a_locked_ledger_delays_a_turn_and_fails_none(bench: Bench) -> None:
    turn(bench.at(OPEN + 10 * MINUTE + SECOND))
    waiting = threading.Event()
    with sqlite3.connect(
        bench.settings.lake_root / "ledger.sqlite", isolation_level=None, check_same_thread=False
    ) as ledger:
        ledger.execute("BEGIN IMMEDIATE")
        bench.at(OPEN + 11 * MINUTE + SECOND)
        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(turn, bench)
            waiting.wait(0.5)
            assert not done.done(), "it waits for the lock"
            assert rows(bench)[0] == 10
            ledger.execute("ROLLBACK")
            assert done.result(120).failed == {}
    assert rows(bench)[0] == 11


def test_a_symbol_that_the_exchange_does_not_know_keeps_no_other_back(sim: SimulatorServer, tmp_path: Path) -> None:
    with bench_on(sim, tmp_path, hot_hours=1, spot_symbols=(), symbols=("NONEUSDT", SYMBOL)) as bench:
        done = turn(bench.at(OPEN + 10 * MINUTE + SECOND))
        assert rows(bench) == {-1: 60, 0: 10}
        assert done.behind == ["um/NONEUSDT/minute"]
    again = {"settings": bench.settings.model_copy(update={"symbols": (SYMBOL,)})}
    with bench_on(sim, tmp_path, **again) as bench:
        done = turn(bench.at(OPEN + 11 * MINUTE + SECOND))
        assert (rows(bench)[0], done.behind, set(done.hours)) == (11, [], {NAME}), "after a restart without it"
