"""The collector's tasks: two routes of sockets, flushing, housekeeping, those of its parts, and its end.

Belongs here: asyncio. Does not belong here: protocol decisions (`stream_session`), what happens to a frame (`intake`),
when to ask REST (`healing`, `snapshots`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from lake_resources.backoff import Backoff, Reconnecting
from lake_resources.binance.market import SPOT, UM, Market
from lake_resources.binance.ws.stream_session import SessionLimits, StreamSession
from lake_resources.binance.ws.subscriptions import routes, subscribed
from lake_resources.clock import from_epoch_ns
from lake_resources.collector.connection import Connection
from lake_resources.collector.healing import Healer, TradeSource
from lake_resources.collector.intake import Intake
from lake_resources.collector.journal import ConnectionRow, GapRow, Journal
from lake_resources.collector.notebook import Notebook
from lake_resources.collector.segments import prune
from lake_resources.collector.snapshots import BookSource, Snapshots
from lake_resources.collector.threads import DaemonThreads
from lake_resources.errors import SettingsError
from lake_resources.input_limits import DEFAULT_LIMITS

log = logging.getLogger(__name__)

CHECK_S = 0.5
FLUSH_BYTES = 8 << 20
HOUSEKEEPING_S = 60.0
RECONNECT_FIRST_S, RECONNECT_LONGEST_S = 0.5, 60.0
"""Binance allows 300 attempts to connect in 5 minutes per address."""
JOURNAL_S, JOURNAL_RETRY_S = 0.5, 5.0
STOP_S = 8.0
"""Its end takes no longer, whatever hangs; two more are for the process around it."""
ROUTES_STOP_S, TASKS_STOP_S, JOURNAL_STOP_S = 3.5, 0.5, 0.5
"""Of that, at most, for closing sockets, for tasks that were cancelled, and kept for the last rows of the journal."""

_Result = TypeVar("_Result")


class Rest(TradeSource, BookSource, Protocol):
    """The REST calls that are needed here; all go through the host's weight governor."""


@dataclass(frozen=True)
class CollectorSettings:
    """How a collector runs.

    Attributes:
        symbols: upper case.
        ws_url: e.g. `wss://fstream.binance.com`.
        segments: directory of the raw records.
        flush_s: records are written and fsynced this often, and sooner where somebody waits for what is made of them.
        max_age: of segments, by event time.
        max_bytes: of all segments together.
        limits: deadlines of connections.
        market: whose streams are collected.
        frame_bytes: a larger frame ends its connection.

    Raises:
        SettingsError: more symbols than one socket can carry.
    """

    symbols: tuple[str, ...]
    ws_url: str
    segments: Path
    flush_s: float = 0.25
    max_age: timedelta = timedelta(hours=48)
    max_bytes: int = 20 << 30
    limits: SessionLimits = field(default_factory=SessionLimits)
    market: Market = UM
    frame_bytes: int = DEFAULT_LIMITS.frame_bytes

    def __post_init__(self) -> None:
        count, most = len(self.symbols), self.market.streams_per_socket
        kinds = max(len(subscribed(self.market, route, count)) for route in routes(self.market.name))
        if kinds * len(self.symbols) > most:
            variable = "LAKE_SPOT_SYMBOLS" if self.market is SPOT else "LAKE_SYMBOLS"
            raise SettingsError(
                f"{len(self.symbols)} symbols are {kinds * len(self.symbols)} streams of one socket, and the exchange "
                f"closes it beyond {most}",
                remedy=f"Name at most {most // kinds} symbols in {variable}",
            )


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
        gaps: rows of gaps that an earlier collector left open.
        ended: rows of connections that it left open, closed.
        now_s: steady clock.
    """

    def __init__(
        self,
        settings: CollectorSettings,
        intake: Intake,
        rest: Rest,
        journal: Journal,
        gaps: Sequence[GapRow] = (),
        ended: Sequence[ConnectionRow] = (),
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self.intake = intake
        self.stats = FlushStats()
        self._now_s = now_s
        # One thread per kind of work: a slow answer must not keep records from the disk.
        self._disk = DaemonThreads(1, "collector-disk")
        self._work = DaemonThreads(1, "collector-work")
        self._rows = DaemonThreads(1, "collector-journal")
        self._calls = DaemonThreads(4, "collector-rest")
        self._names = DaemonThreads(4, "collector-names")
        self._notebook = Notebook(journal, partial(self._in, self._rows))
        for row in ended:
            self._notebook.note(row)
        ask = partial(self._in, self._calls)
        self._healer = Healer(rest, intake, self._notebook, ask, now_s, gaps)
        self._snapshots = Snapshots(rest, intake, ask, now_s)
        self._connections: set[Connection] = set()
        self._numbers = intake.clock_ns() // 1_000_000 * 1000
        self._stopping = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Collect until `stop` is set; then close everything within 10 s.

        Raises:
            DiskFull: the disk takes no more records.
        """
        # Names are looked up there, and a loop waits for its default executor before it ends.
        asyncio.get_running_loop().set_default_executor(self._names)
        self.intake.connection("started", 0)
        tasks = [
            asyncio.create_task(work, name=name)
            for name, work in (
                *((f"route {route}", self._route(route)) for route in routes(self.settings.market.name)),
                ("flush", self._flush_for_ever()),
                ("journal", self._journal_for_ever()),
                ("snapshots", self._snapshots.run()),
                ("gaps", self._healer.watch()),
                ("healing", self._healer.run()),
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
        """Close everything by a deadline. What hangs is left alone: the next start does what it would have done."""
        end_s = self._now_s() + STOP_S
        ending = [task for task in tasks if task.get_name().startswith(("route", "flush"))]
        for task in tasks:
            if task not in ending:
                task.cancel()
        await asyncio.wait(ending, timeout=ROUTES_STOP_S)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=TASKS_STOP_S)
        rows_s = end_s - JOURNAL_STOP_S
        try:
            if await self._by(rows_s, self._flush(), "the last records"):
                closing = self._in(self._disk, lambda: self.intake.writer.close_before(None))
                await self._by(rows_s, closing, "closing segments")
            job = self.intake.observer.finish()
            if job is not None:
                await self._by(rows_s, self._in(self._work, job), "the last live rows")
        finally:
            self._healer.settle()
            await self._by(end_s, self._notebook.write(), "the journal's last rows")
            for pool in (self._disk, self._work, self._rows, self._calls, self._names):
                pool.shutdown()

    async def _by(self, end_s: float, work: Awaitable[object], what: str) -> bool:
        """Wait for work until some time; False where it took longer."""
        try:
            await asyncio.wait_for(work, max(end_s - self._now_s(), 0.1))
        except TimeoutError:
            log.error("%s took too long and are left to the next start", what)  # noqa: TRY400 - nothing failed
            return False
        return True

    async def _route(self, route: str) -> None:
        waits = Reconnecting(Backoff(RECONNECT_FIRST_S, RECONNECT_LONGEST_S, jitter=0.25))
        current: Connection | None = None
        successor: Connection | None = None
        try:
            while not self._stopping.is_set():
                if current is None:
                    current = self._open(route)
                reason, successor = await self._until_over(current, route)
                if reason is None:
                    break
                ended, current = current, successor
                await self._close(ended, reason)
                lived_s = self._now_s() - ended.session.opened_s
                if current is None and not self._stopping.is_set():
                    await self._pause(waits.after_s(lived_s if ended.verified_s is not None else 0.0))
                successor = None
        finally:
            left = [each for each in (current, successor) if each is not None]
            await asyncio.gather(*(self._close(each, "the collector stops") for each in left))

    async def _until_over(self, current: Connection, route: str) -> tuple[str | None, Connection | None]:
        """Watch a connection to its end; at its rollover a successor is read beside it before it is closed.

        Returns:
            Why it is over (None: the collector stops), and its successor where there is one.
        """
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
                    successor = self._open(route)
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
        return None, successor

    def _open(self, route: str) -> Connection:
        self._numbers += 1
        session = StreamSession(route, self.settings.symbols, self.settings.limits, self.settings.market)
        session.begin(self._now_s())
        connection = Connection(
            self._numbers,
            self.settings.ws_url,
            session,
            self.intake,
            self._now_s,
            frame_bytes=self.settings.frame_bytes,
        )
        self._connections.add(connection)
        self._notebook.note(connection.row)
        return connection

    async def _close(self, connection: Connection, reason: str) -> None:
        self._connections.discard(connection)
        row = await connection.close(reason)
        log.info("%s socket %d: %s", row.route, row.conn, reason)
        self._notebook.note(row)

    async def _flush_for_ever(self) -> None:
        while not self._stopping.is_set():
            began_s = self._now_s()
            await self._flush()
            job = self.intake.observer.work()
            if job is not None:
                self._work.submit(job).add_done_callback(_log_failure)
            while self._now_s() - began_s < self.settings.flush_s:
                await asyncio.sleep(min(0.05, self.settings.flush_s))
                if self.intake.writer.buffered_bytes > FLUSH_BYTES or self.intake.observer.pressing:
                    break

    async def _flush(self) -> None:
        writer = self.intake.writer
        oldest_ns, seq = writer.oldest_ns, self.intake.next_seq
        buffers, records = writer.take()
        if buffers:
            await self._in(self._disk, lambda: writer.write(buffers, seq))
            self.stats.note(records, (self.intake.clock_ns() - oldest_ns) / 1e9)
        self.intake.flushed_seq = seq

    async def _journal_for_ever(self) -> None:
        while True:
            await asyncio.sleep(JOURNAL_S if await self._notebook.write() else JOURNAL_RETRY_S)

    async def _housekeeping(self) -> None:
        """Close the segments of past minutes soon; note the state of sockets and apply retention now and then."""
        pruned_s = -HOUSEKEEPING_S
        while True:
            await self._in(self._disk, partial(self.intake.writer.close_before, self.intake.newest_minute - 1))
            if self._now_s() - pruned_s >= HOUSEKEEPING_S:
                pruned_s = self._now_s()
                for connection in self._connections:
                    self._notebook.note(connection.so_far())
                await self._in(self._work, self._prune)
                await self._notebook.prune(self._instant())
            await asyncio.sleep(5.0)

    def _prune(self) -> None:
        removed = prune(self.settings.segments, self._instant(), self.settings.max_age, self.settings.max_bytes)
        if removed.files:
            log.info("retention removed %d segments, %d bytes", removed.files, removed.size_bytes)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _in(self, pool: DaemonThreads, call: Callable[[], _Result]) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(pool, call)

    def _instant(self) -> datetime:
        return from_epoch_ns(self.intake.clock_ns())


def _log_failure(done: Any) -> None:
    if not done.cancelled() and done.exception() is not None:
        log.error("live rows could not be written", exc_info=done.exception())
