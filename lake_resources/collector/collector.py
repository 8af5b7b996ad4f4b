"""The collector's tasks: two routes of sockets, flushing, snapshots, healing, housekeeping, and its end.

Belongs here: asyncio. Does not belong here: protocol decisions (`binance.stream`), what happens to a frame (`intake`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from lake_resources.binance.stream import ROUTES, Backoff, Limits, Route, StreamSession
from lake_resources.collector.connection import Connection
from lake_resources.collector.healing import Healer, TradeSource
from lake_resources.collector.intake import Intake
from lake_resources.collector.journal import Journal
from lake_resources.collector.segments import prune
from lake_resources.errors import ExchangeError

log = logging.getLogger(__name__)

CHECK_S = 0.5
FLUSH_BYTES = 8 << 20
HOUSEKEEPING_S = 60.0
SNAPSHOT_WAIT_MAX_S = 60.0
SNAPSHOT_CALM_S = 120.0
STOP_S = 8.0

_Result = TypeVar("_Result")


class Rest(TradeSource, Protocol):
    """The REST calls that are needed here; all go through the host's weight governor."""

    def depth(self, symbol: str) -> dict[str, Any]:
        """The order book of now."""


@dataclass(frozen=True)
class CollectorSettings:
    """How a collector runs.

    Attributes:
        symbols: upper case.
        ws_url: e.g. `wss://fstream.binance.com`.
        segments: directory of the raw records.
        flush_s: records are written and fsynced this often.
        max_age: of segments, by event time.
        max_bytes: of all segments together.
        limits: deadlines of connections.
    """

    symbols: tuple[str, ...]
    ws_url: str
    segments: Path
    flush_s: float = 0.25
    max_age: timedelta = timedelta(hours=48)
    max_bytes: int = 20 << 30
    limits: Limits = field(default_factory=Limits)


@dataclass
class FlushStats:
    """How long records waited for the disk: per flush its records, and the wait of the oldest of them in seconds."""

    waits: list[tuple[int, float]] = field(default_factory=list)

    def note(self, records: int, oldest_s: float) -> None:
        """One flush is durable."""
        self.waits.append((records, oldest_s))
        del self.waits[:-100_000]


class Collector:
    """Runs until it is stopped.

    Args:
        settings: how.
        intake: new, with its writer and observer.
        rest: the exchange's REST.
        journal: where connections and gaps are remembered.
        now_s: steady clock.
    """

    def __init__(
        self,
        settings: CollectorSettings,
        intake: Intake,
        rest: Rest,
        journal: Journal,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self.intake = intake
        self.stats = FlushStats()
        self._rest = rest
        self._journal = journal
        self._now_s = now_s
        # One thread per kind of work: a slow answer must not keep records from the disk.
        self._disk = ThreadPoolExecutor(1, "collector-disk")
        self._work = ThreadPoolExecutor(1, "collector-work")
        self._calls = ThreadPoolExecutor(4, "collector-rest")
        self._numbers = intake.clock_ns() // 1_000_000 * 1000
        self._stopping = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Collect until `stop` is set; then close everything within 10 s.

        Raises:
            DiskFull: the disk takes no more records.
        """
        self.intake.connection("started", 0)
        await self._in(self._work, lambda: self._journal.close_left_open(self._instant()))
        healer = Healer(self._rest, self.intake, self._journal, lambda call: self._in(self._calls, call), self._now_s)
        tasks = [
            asyncio.create_task(work, name=name)
            for name, work in (
                *((f"route {route}", self._route(route)) for route in ROUTES),
                ("flush", self._flush_for_ever()),
                ("snapshots", self._snapshots()),
                ("healing", healer.run()),
                ("housekeeping", self._housekeeping()),
            )
        ]
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait([*tasks, stopped], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._stopping.set()
            stopped.cancel()
            await self._end(tasks)
        for task in tasks:
            if task.done() and not task.cancelled() and task.exception():
                task.result()

    async def _end(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        routes = [task for task in tasks if task.get_name().startswith("route")]
        for task in tasks:
            if task not in routes:
                task.cancel()
        await asyncio.wait(routes, timeout=STOP_S / 2)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=1.0)
        with suppress(asyncio.CancelledError):
            await self._flush()
        await self._in(self._disk, lambda: self.intake.writer.close_before(None))
        job = self.intake.observer.finish()
        if job is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._in(self._work, job), STOP_S / 2)
        for pool in (self._disk, self._work, self._calls):
            pool.shutdown(wait=False, cancel_futures=True)

    async def _route(self, route: Route) -> None:
        backoff = Backoff()
        current: Connection | None = None
        successor: Connection | None = None
        try:
            while not self._stopping.is_set():
                if current is None:
                    current = await self._open(route)
                reason, successor = await self._until_over(current, route)
                ended, current = current, successor
                await self._close(ended, reason)
                lived_s = self._now_s() - ended.session.opened_s
                if current is None and not self._stopping.is_set():
                    await self._pause(backoff.after(lived_s if ended.verified_s is not None else 0.0))
                successor = None
        finally:
            for left in (current, successor):
                if left is not None:
                    await self._close(left, "the collector stops")

    async def _until_over(self, current: Connection, route: Route) -> tuple[str, Connection | None]:
        """Watch a connection to its end; at its rollover a successor is read beside it before it is closed."""
        limits, successor, next_try_s, due = self.settings.limits, None, 0.0, None
        while not self._stopping.is_set():
            await asyncio.wait({current.done, *([successor.done] if successor else [])}, timeout=CHECK_S)
            now_s = self._now_s()
            reason = current.verdict(now_s)
            if reason is not None:
                return reason, successor
            if successor is None:
                due = current.session.due(now_s) if now_s >= next_try_s else None
                if due is not None:
                    successor = await self._open(route)
                continue
            failed = successor.verdict(now_s)
            if failed is None and successor.verified_s is None:
                if now_s - successor.session.opened_s > limits.successor_s:
                    failed = "not verified in time"
            elif failed is None and now_s - (successor.verified_s or now_s) >= limits.overlap_s:
                return f"rolled over: {due}", successor
            if failed is not None:
                await self._close(successor, f"as successor: {failed}")
                successor, next_try_s = None, now_s + limits.successor_s
        if successor is not None:
            await self._close(successor, "the collector stops")
        return "the collector stops", None

    async def _open(self, route: Route) -> Connection:
        self._numbers += 1
        session = StreamSession(route, self.settings.symbols, self.settings.limits)
        session.begin(self._now_s())
        connection = Connection(self._numbers, self.settings.ws_url, session, self.intake, self._now_s)
        await self._in(self._work, lambda: self._journal.opened(connection.row))
        return connection

    async def _close(self, connection: Connection, reason: str) -> None:
        row = await connection.close(reason)
        log.info("%s socket %d: %s", row.route, row.conn, reason)
        await self._in(self._work, lambda: self._journal.closed(row))

    async def _flush_for_ever(self) -> None:
        while True:
            began_s = self._now_s()
            await self._flush()
            job = self.intake.observer.work()
            if job is not None:
                self._work.submit(job).add_done_callback(_log_failure)
            while self._now_s() - began_s < self.settings.flush_s:
                await asyncio.sleep(min(0.05, self.settings.flush_s))
                if self.intake.writer.buffered_bytes > FLUSH_BYTES:
                    break

    async def _flush(self) -> None:
        writer = self.intake.writer
        oldest_ns, seq = writer.oldest_ns, self.intake.next_seq
        buffers, records = writer.take()
        if not buffers:
            return
        await self._in(self._disk, lambda: writer.write(buffers, seq))
        self.stats.note(records, (self.intake.clock_ns() - oldest_ns) / 1e9)

    async def _housekeeping(self) -> None:
        """Close the segments of past minutes soon, and apply retention now and then."""
        pruned_s = -HOUSEKEEPING_S
        while True:
            await self._in(self._disk, partial(self.intake.writer.close_before, self.intake.newest_minute - 1))
            if self._now_s() - pruned_s >= HOUSEKEEPING_S:
                pruned_s = self._now_s()
                await self._in(self._work, self._prune)
            await asyncio.sleep(5.0)

    def _prune(self) -> None:
        removed = prune(self.settings.segments, self._instant(), self.settings.max_age, self.settings.max_bytes)
        if removed.files:
            log.info("retention removed %d segments, %d bytes", removed.files, removed.size_bytes)
        self._journal.prune(self._instant(), timedelta(days=30))

    async def _snapshots(self) -> None:
        """One request per (re)synchronisation; a symbol that loses its book again and again has to wait."""
        due = self.intake.snapshots_due
        running: set[asyncio.Task[None]] = set()
        asked: dict[str, tuple[float, int]] = {}
        while True:
            while due:
                symbol = due.popleft()
                last_s, times = asked.get(symbol, (-SNAPSHOT_CALM_S, 0))
                times = times + 1 if self._now_s() - last_s < SNAPSHOT_CALM_S else 0
                asked[symbol] = (self._now_s(), times)
                wait_s = min(SNAPSHOT_WAIT_MAX_S, 2.0 ** (times - 2)) if times > 2 else 0.0
                task = asyncio.create_task(self._snapshot(symbol, wait_s), name=f"snapshot {symbol}")
                running.add(task)
                task.add_done_callback(running.discard)
            await asyncio.sleep(0.05)

    async def _snapshot(self, symbol: str, wait_s: float) -> None:
        await asyncio.sleep(wait_s)
        backoff = Backoff(first_s=1.0, max_s=SNAPSHOT_WAIT_MAX_S)
        while not self._stopping.is_set():
            try:
                body = await self._in(self._calls, lambda: self._rest.depth(symbol))
            except ExchangeError as error:
                log.warning("%s: no order book snapshot: %s", symbol, error)
                await self._pause(backoff.after(0.0))
            else:
                self.intake.snapshot(symbol, body)
                return

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _in(self, pool: ThreadPoolExecutor, call: Callable[[], _Result]) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(pool, call)

    def _instant(self) -> datetime:
        return datetime.fromtimestamp(self.intake.clock_ns() / 1e9, UTC)


def _log_failure(done: Any) -> None:
    if not done.cancelled() and done.exception() is not None:
        log.error("live rows could not be written", exc_info=done.exception())
