"""A collector of a lake, from its settings: parts put together, started, and stopped by a signal.

Belongs here: wiring. Does not belong here: anything that the parts decide (`lake_resources.collector`, `collect`).
"""

from __future__ import annotations

import asyncio
import gc
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

from lake_assets.at_rest import store_of
from lake_assets.live.folding import LiveRecorder
from lake_assets.live.row_files import LiveRows
from lake_resources.binance.ws.stream_session import SessionLimits
from lake_resources.collector.collector import Collector, CollectorSettings
from lake_resources.collector.intake import Intake
from lake_resources.collector.journal import Journal
from lake_resources.collector.left_off import left_off
from lake_resources.collector.segments import Recovered, SegmentWriter, recover
from lake_resources.errors import TransportError
from lake_resources.rest_access import rest_access
from lake_resources.settings import LakeSettings
from lake_resources.storage.catalog import Catalog
from lake_resources.storage.locks import writer_lock
from lake_resources.storage.root import claim_root

_REST_TIMEOUT_S = 5.0
"""An answer that takes longer is asked for again: others wait for the thread, and the book for the answer."""
_STOPPED_ASKED_S = 0.1
_JOURNAL_BUSY_MS = 2_000
"""What the database does not take by then is written later."""


@dataclass(frozen=True)
class Parts:
    """A collector and what it is made of."""

    collector: Collector
    journal: Journal
    rows: LiveRows
    recovered: Recovered


class _Interruptible:
    """Sleep of the REST client that ends when the collector stops: the governor may want to wait for a minute."""

    def __init__(self) -> None:
        self.stopping = threading.Event()

    def __call__(self, seconds: float) -> None:
        if self.stopping.wait(seconds):
            raise TransportError("the collector", "stops, nothing is asked any more")


def run_collector(
    settings: LakeSettings,
    *,
    say: Callable[[str], None],
    limits: SessionLimits | None = None,
    for_s: float | None = None,
    stopped: Callable[[Collector], bool] | None = None,
    clock_ns: Callable[[], int] = time.time_ns,
) -> Parts:
    """Collect until SIGTERM or SIGINT (or for some time, or until told), then close everything within 10 s.

    Args:
        settings: of the lake.
        say: takes a line of progress.
        limits: deadlines of connections, default Binance's.
        for_s: seconds to run, or None for ever.
        stopped: asked ten times a second, with the collector, whether to end.
        clock_ns: local time, epoch ns.

    Raises:
        PartitionBusy: another collector of this lake is running.
        SettingsError: more symbols than one socket can carry.
        DiskFull: the disk takes no more records; what was durable stays.
    """
    catalog = store_of(settings).catalog
    claim_root(catalog.root, settings.exchange, settings.ledger_file)
    with writer_lock(catalog.collector_lock_path, timeout_s=0):
        sleep = _Interruptible()
        parts = _open(settings, catalog, limits or SessionLimits(), sleep, clock_ns)
        if parts.recovered.files:
            say(f"closed {parts.recovered.files} segments left open, {parts.recovered.lost_bytes} torn bytes cut")
        # All that was made so far lives as long as the process: the collector of garbage need not look at it again.
        gc.freeze()
        asyncio.run(_run(parts.collector, sleep, for_s, stopped))
    return parts


def _open(
    settings: LakeSettings,
    catalog: Catalog,
    limits: SessionLimits,
    sleep: Callable[[float], None],
    clock_ns: Callable[[], int],
) -> Parts:
    access = rest_access(settings)
    rest = replace(access, timeout_s=min(access.timeout_s, _REST_TIMEOUT_S), attempts=1).open(sleep=sleep)
    how = CollectorSettings(
        settings.symbols,
        settings.resolved_ws_url,
        catalog.live_records_dir,
        flush_s=settings.collector_flush_s,
        max_age=timedelta(hours=settings.segment_max_age_hours),
        max_bytes=int(settings.segment_max_gib * (1 << 30)),
        limits=limits,
        frame_bytes=settings.limits.frame_bytes,
    )
    recovered = recover(catalog.live_records_dir)
    journal = Journal(settings.resolved_ledger_url, catalog.layout.market, busy_ms=_JOURNAL_BUSY_MS)
    rows = LiveRows(catalog)
    recorder = LiveRecorder(settings.symbols, catalog.live_records_dir, rows, clock_ns)
    next_seq, last_ids = recorder.resume()
    left = left_off(journal, catalog.live_records_dir, settings.symbols, last_ids)
    intake = Intake(
        settings.symbols,
        SegmentWriter(catalog.live_records_dir),
        recorder,
        clock_ns,
        next_seq,
        left.last_ids,
        open_gaps=left.missing,
    )
    collector = Collector(how, intake, rest, journal, left.gaps, left.ended)
    return Parts(collector, journal, rows, recovered)


async def _run(
    collector: Collector, sleep: _Interruptible, for_s: float | None, stopped: Callable[[Collector], bool] | None
) -> None:
    stop = asyncio.Event()

    def end() -> None:
        sleep.stopping.set()
        stop.set()

    loop = asyncio.get_running_loop()
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, end)
    if for_s is not None:
        loop.call_later(for_s, end)

    def ask() -> None:
        if stopped is not None:
            end() if stopped(collector) else loop.call_later(_STOPPED_ASKED_S, ask)

    ask()
    await collector.run(stop)
