"""A collector of a lake, from its settings: parts put together, started, and stopped by a signal.

Belongs here: wiring. Does not belong here: anything that the parts decide (`lake_resources.collector`, `collect`).
"""

from __future__ import annotations

import asyncio
import gc
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from lake_assets.at_rest import store_of
from lake_assets.live.folding import LiveRecorder
from lake_assets.live.raw_writer import RawWriter
from lake_assets.live.records_only import RecordsOnly
from lake_assets.live.row_files import LiveRows
from lake_resources.binance.market import SPOT, UM, Market
from lake_resources.binance.rest.rest_client import BinanceRest
from lake_resources.binance.ws.stream_session import SessionLimits
from lake_resources.collector.collector import Collector, CollectorSettings
from lake_resources.collector.intake import Intake
from lake_resources.collector.journal import Journal
from lake_resources.collector.left_off import left_off
from lake_resources.collector.segments import Recovered, SegmentWriter, recover
from lake_resources.errors import TransportError
from lake_resources.rest_access import rest_access
from lake_resources.settings import LakeSettings
from lake_resources.storage.catalog import Catalog, MarketPaths
from lake_resources.storage.locks import writer_lock
from lake_resources.storage.root import claim_root

_REST_TIMEOUT_S = 5.0
"""An answer that takes longer is asked for again: others wait for the thread, and the book for the answer."""
_STOPPED_ASKED_S = 0.1
_JOURNAL_BUSY_MS = 2_000
"""What the database does not take by then is written later."""


@dataclass(frozen=True)
class MarketParts:
    """A collector of one market and what it is made of."""

    collector: Collector
    journal: Journal
    recovered: Recovered


@dataclass(frozen=True)
class Parts(MarketParts):
    """The collector of futures, with its rows, and that of spot, or None where spot is switched off."""

    rows: LiveRows
    spot: MarketParts | None = None


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
        stopped: asked ten times a second, with the collector of each market, whether to end.
        clock_ns: local time, epoch ns.

    Raises:
        PartitionBusy: another collector of this lake is running.
        SettingsError: more symbols than one socket can carry.
        DiskFull: the disk takes no more records; what was durable stays.
    """
    catalog = store_of(settings).catalog
    claim_root(catalog.root, settings.exchange, settings.ledger_file)
    markets = [UM, SPOT] if settings.spot_symbols else [UM]
    with ExitStack() as locks:
        for market in markets:
            locks.enter_context(writer_lock(MarketPaths(catalog.root, market.name).collector_lock_path, timeout_s=0))
        sleep = _Interruptible()
        opening = _Opening(settings, limits or SessionLimits(), sleep, clock_ns)
        parts = _open(opening, catalog)
        if SPOT in markets:
            parts = replace(parts, spot=_open_spot(opening, catalog.root))
        every = [parts] if parts.spot is None else [parts, parts.spot]
        for each in every:
            if each.recovered.files:
                say(f"closed {each.recovered.files} segments left open, {each.recovered.lost_bytes} torn bytes cut")
        # All that was made so far lives as long as the process: the collector of garbage need not look at it again.
        gc.freeze()
        asyncio.run(_run([each.collector for each in every], sleep, for_s, stopped))
    return parts


@dataclass(frozen=True)
class _Opening:
    """What opening the collector of any market needs."""

    settings: LakeSettings
    limits: SessionLimits
    sleep: Callable[[float], None]
    clock_ns: Callable[[], int]

    def how(self, market: Market, segments: Path) -> CollectorSettings:
        settings = self.settings
        return CollectorSettings(
            settings.symbols_of(market),
            settings.ws_url_of(market),
            segments,
            flush_s=settings.collector_flush_s,
            max_age=timedelta(hours=settings.segment_max_age_hours),
            max_bytes=int(settings.segment_max_gib * (1 << 30)),
            limits=self.limits,
            market=market,
            frame_bytes=settings.limits.frame_bytes,
        )

    def rest(self, market: Market) -> BinanceRest:
        access = rest_access(self.settings, market)
        return replace(access, timeout_s=min(access.timeout_s, _REST_TIMEOUT_S), attempts=1).open(sleep=self.sleep)

    def journal(self, market: Market) -> Journal:
        settings = self.settings
        return Journal(settings.resolved_ledger_url, market.name, busy_ms=_JOURNAL_BUSY_MS, shard=settings.shard)


def _open(opening: _Opening, catalog: Catalog) -> Parts:
    symbols, segments = opening.settings.symbols, catalog.live_records_dir
    recovered = recover(segments)
    journal = opening.journal(UM)
    rows = LiveRows(catalog)
    recorder = LiveRecorder(symbols, segments, rows, opening.clock_ns)
    next_seq, last_ids = recorder.resume()
    left = left_off(journal, segments, symbols, last_ids)
    intake = Intake(
        symbols,
        SegmentWriter(segments),
        recorder,
        opening.clock_ns,
        next_seq,
        left.last_ids,
        open_gaps=left.missing,
    )
    collector = Collector(opening.how(UM, segments), intake, opening.rest(UM), journal, left.gaps, left.ended)
    return Parts(collector, journal, recovered, rows)


def _open_spot(opening: _Opening, root: Path) -> MarketParts:
    """Nothing is folded as it comes: spot's bars are folded from the records, which say all."""
    symbols, segments = opening.settings.spot_symbols, MarketPaths(root, SPOT.name).live_records_dir
    recovered = recover(segments)
    journal = opening.journal(SPOT)
    lines = opening.settings.spot_raw_dir
    recorder = (
        RecordsOnly(segments, opening.clock_ns) if lines is None else RawWriter(root, symbols, lines, opening.clock_ns)
    )
    left = left_off(journal, segments, symbols, {}, SPOT)
    intake = Intake(
        symbols,
        SegmentWriter(segments),
        recorder,
        opening.clock_ns,
        recorder.next_seq(),
        left.last_ids,
        open_gaps=left.missing,
        market=SPOT,
    )
    collector = Collector(opening.how(SPOT, segments), intake, opening.rest(SPOT), journal, left.gaps, left.ended)
    return MarketParts(collector, journal, recovered)


async def _run(
    collectors: Sequence[Collector],
    sleep: _Interruptible,
    for_s: float | None,
    stopped: Callable[[Collector], bool] | None,
) -> None:
    """Run all until the stop; the end of one by an error is the end of all."""
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
            over = [stopped(collector) for collector in collectors]
            end() if any(over) else loop.call_later(_STOPPED_ASKED_S, ask)

    ask()

    async def until_stopped(collector: Collector) -> None:
        try:
            await collector.run(stop)
        finally:
            end()

    ended = await asyncio.gather(*(until_stopped(each) for each in collectors), return_exceptions=True)
    for error in ended:
        if error is not None:
            raise error
