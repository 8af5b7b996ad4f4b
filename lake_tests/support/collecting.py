"""A collector that runs until what a test waits for has come, never for seconds.

Belongs here: the collector beside a script, and what both see of its records. Does not belong here: what a test proves.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

from lake_assets.live.recorder import Parts, run_collector
from lake_resources.binance.ws.frames import Frame
from lake_resources.binance.ws.stream_session import SessionLimits
from lake_resources.collector.collector import Collector
from lake_resources.collector.segments import newest_minute, read_records
from lake_resources.settings import LakeSettings
from lake_resources.simulator.server import SimulatorServer
from lake_resources.simulator.ws.served_connection import Connection
from lake_tests.support.stores import store_at
from lake_tests.support.waiting import wait_until


def collect_until(
    settings: LakeSettings,
    script: Callable[[], object],
    *,
    limits: SessionLimits | None = None,
    paced: SimulatorServer | None = None,
) -> Parts:
    """Collect until a script, which runs in a thread beside, has come to its end.

    Args:
        settings: of the lake.
        script: waits for what the test needs.
        limits: deadlines of connections.
        paced: an exchange whose clock stands still; it is moved on second by second, as fast as the collector follows,
            and is the collector's clock too. No machine is too slow for it.

    Raises:
        AssertionError: what the script waited for did not come.
    """
    seen: list[Collector] = []
    clock_ns = time.time_ns if paced is None else lambda: paced.clock.now_ms() * 1_000_000
    with ThreadPoolExecutor(2) as beside:
        running = beside.submit(script)

        def stopped(collector: Collector) -> bool:
            if collector not in seen:
                seen.append(collector)
            return running.done()

        moving = (
            None
            if paced is None
            else beside.submit(_move_on, paced, seen, running.done, 3 if settings.spot_symbols else 2)
        )
        parts = run_collector(settings, say=lambda _: None, limits=limits, stopped=stopped, clock_ns=clock_ns)
        running.result()
        if moving is not None:
            moving.result()
    return parts


def _move_on(sim: SimulatorServer, seen: Sequence[Collector], done: Callable[[], bool], sockets: int) -> None:
    """Move the clock on while the collector follows; it begins once all sockets have subscribed."""
    wait_until(lambda: done() or sum(_delivers(each) for each in sim.hub.connections) >= sockets, "all sockets")
    while not done():
        sim.clock.advance(timedelta(seconds=1))
        wait_until(lambda: done() or sim.hub.reached_ms >= sim.clock.now_ms(), "the last frame", every_s=0.005)
        wait_until(lambda: done() or _followed(seen), "a collector that follows")


def _followed(seen: Sequence[Collector]) -> bool:
    """Whether nothing more comes to a collector, for a moment."""
    if not seen:
        return False
    heard = [collector.intake.counts.frames for collector in seen]
    time.sleep(0.02)
    return heard == [collector.intake.counts.frames for collector in seen]


def _delivers(connection: Connection) -> bool:
    return bool(connection.state()["delivering"])


def records_of(root: Path, symbol: str, minutes: int = 60) -> list[Frame]:
    """The records of a symbol on disk, of so many minutes up to the newest."""
    segments = store_at(root).catalog.live_records_dir
    newest = newest_minute(segments)
    return [] if newest is None else list(read_records(segments, symbol, newest - minutes, newest + 1))
