"""Everything that happens to a record between the socket and the buffers, without sockets, tasks or files.

Belongs here: decoding, numbering, filing by event time, repeated trades, when a book snapshot is due, checkpoints.
Does not belong here: I/O (`collector`), what a minute adds up to (the observer), whose time is believed (`refused`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson

from lake_resources.binance.market import UM, Market
from lake_resources.binance.ws.frames import (
    CHECKPOINT,
    CLOCK,
    CONNECTION,
    DEPTH,
    EVERY_SYMBOL,
    FORCE_ORDER,
    HEALED,
    KLINE,
    REFUSED,
    REFUSED_FRAMES,
    SNAPSHOT,
    Frame,
    decode,
    event_ms,
)
from lake_resources.binance.ws.order_book import DepthSync
from lake_resources.binance.ws.stream_session import StreamSession
from lake_resources.binance.ws.subscriptions import eventless_kind, kinds_by_event, witness_of_trades
from lake_resources.clock import MINUTE_MS
from lake_resources.collector.exchange_clock import ExchangeClock, Latencies
from lake_resources.collector.refused import EventTimes, RefusedFrames
from lake_resources.collector.segments import SegmentWriter
from lake_resources.collector.trade_ids import Gap, TradeIds

UNPLACED_NS = 10_000_000_000
"""Frames without a time wait so long for the first trade that tells the exchange's clock."""
UNPLACED_FRAMES = 20_000
UNPLACED_BYTES = 8 << 20


class Observer(Protocol):
    """Whoever makes sense of the records."""

    def feed(self, frame: Frame) -> None:
        """Take a record, in order of `seq`."""

    def checkpoint(self, symbol: str) -> bytes | None:
        """State to store at the start of a minute, so that a reader can begin there."""

    @property
    def pressing(self) -> bool:
        """Whether somebody waits for what `work` has: then records are flushed before their time."""

    def work(self) -> Callable[[], None] | None:
        """What is to be written to disk now, to be called in another thread; None when nothing is."""

    def finish(self) -> Callable[[], None] | None:
        """The same at the end of the collector's life."""


@dataclass
class FrameCounts:
    """What came in."""

    frames: int = 0
    malformed: int = 0
    repeated_trades: int = 0
    records: int = 0


@dataclass
class Intake:
    """Takes what sockets and REST bring, in the order in which it comes.

    Args:
        symbols: upper case.
        writer: takes every record.
        observer: takes every record.
        clock_ns: local time, epoch ns.
        next_seq: number of the first record; greater than any stored one.
        last_trade_ids: newest stored aggTrade id of each symbol, where one is known.
        open_gaps: per symbol, first and last id of what was missing before.
        market: whose frames they are.

    Attributes:
        newest_minute: latest event minute of any stream.
        refused: frames that could not be used, by minute of arrival; each is kept as a record.
        flushed_seq: records with smaller numbers are on disk; set by whoever writes them.
        snapshots_due: symbols whose book needs a snapshot; the collector takes them from here.
    """

    symbols: Sequence[str]
    writer: SegmentWriter
    observer: Observer
    clock_ns: Callable[[], int]
    next_seq: int
    last_trade_ids: Mapping[str, int] = field(default_factory=dict)
    open_gaps: Mapping[str, Sequence[tuple[int, int]]] = field(default_factory=dict)
    market: Market = UM
    counts: FrameCounts = field(default_factory=FrameCounts)
    newest_minute: int = 0
    flushed_seq: int = 0
    refused: RefusedFrames = field(default_factory=RefusedFrames)
    snapshots_due: deque[str] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.trades = {symbol: TradeIds(self.last_trade_ids.get(symbol)) for symbol in self.symbols}
        for symbol, gaps in self.open_gaps.items():
            if symbol in self.trades:
                self.trades[symbol].gaps = [Gap(first_id, last_id, 0.0) for first_id, last_id in sorted(gaps)]
        self.books = {symbol: DepthSync() for symbol in self.symbols}
        self._times = EventTimes()
        self._kinds = kinds_by_event(self.market.name)
        trade = witness_of_trades(self.market.name)
        self._trade_kind, self._trade_id, self._healed_by = trade.kind, str(trade.row_id), trade.healed_by
        self._untimed = eventless_kind(self.market.name)
        self.clock = ExchangeClock()
        self._latencies = Latencies()
        self._clock_minute = 0
        self._clock_second = 0
        self._unplaced: deque[tuple[int, str, bytes, dict[str, Any], int]] = deque()
        self._unplaced_bytes = 0
        self._depth_minute = dict.fromkeys(self.symbols, 0)

    def frame(self, conn: int, session: StreamSession, payload: bytes, now_s: float) -> None:
        """Take a frame of a socket."""
        received_ns = self.clock_ns()
        self.counts.frames += 1
        try:
            data = decode(payload)
            kind = self._kinds.get(data.get("e"), 0)
            if self._untimed and not kind and "u" in data:
                self._take_untimed(conn, session, payload, data, received_ns, now_s)
                return
            if not kind:
                session.reply(data, now_s)
                if "e" in data:
                    raise ValueError("an event that nobody subscribed to")  # noqa: TRY301 - it is refused as others
                return
            symbol = data["o"]["s"] if kind == FORCE_ORDER else data["s"]
            ms = event_ms(kind, data)
            session.frame(kind, symbol, now_s)
            if symbol not in self.trades or (kind == KLINE and data["k"]["x"] is not True):
                return
            self._times.believe((kind, symbol), ms, received_ns // 1_000_000, now_s)
            minute = ms // MINUTE_MS
            if kind == self._trade_kind and not self.trades[symbol].heard(_whole(data, self._trade_id), now_s):
                self.counts.repeated_trades += 1
                return
            if self._untimed and kind == self._trade_kind:
                self._learn(data["E"], minute, received_ns, now_s)
            if kind == DEPTH:
                self._take_depth(conn, symbol, minute, data, received_ns)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            self._refuse(conn, payload, error, received_ns)
            return
        self.newest_minute = max(self.newest_minute, minute)
        self._record(received_ns, conn, kind, symbol, minute, payload, data)

    def snapshot(self, symbol: str, body: dict[str, Any]) -> None:
        """Take a REST order book."""
        received_ns = self.clock_ns()
        minute = body.get("E", received_ns // 1_000_000) // MINUTE_MS
        sync = self.books[symbol]
        wanted = sync.snapshots_wanted
        self._record(received_ns, 0, SNAPSHOT, symbol, minute, orjson.dumps(body), body)
        sync.snapshot(body["lastUpdateId"])
        if sync.snapshots_wanted > wanted:
            self.snapshots_due.append(symbol)

    def healed(self, symbol: str, rows: Iterable[dict[str, Any]], now_s: float) -> int:
        """Take aggTrades from REST; returns how many of them had been missing."""
        received_ns = self.clock_ns()
        ids = self.trades[symbol]
        by_minute: dict[int, list[dict[str, Any]]] = {}
        for row in rows:
            first_id, last_id = row[self._healed_by[0]], row[self._healed_by[1]]
            if ids.heard(first_id, now_s) if first_id == last_id else ids.cover(first_id, last_id):
                by_minute.setdefault(row["T"] // MINUTE_MS, []).append(row)
        for minute, missing in by_minute.items():
            self._record(received_ns, 0, HEALED, symbol, minute, orjson.dumps(missing), missing)
        return sum(map(len, by_minute.values()))

    def connection(self, event: str, conn: int, **detail: str) -> None:
        """Note that the collector started, or that a connection was opened or closed."""
        received_ns = self.clock_ns()
        data = {"event": event, **detail}
        minute = self._current_minute(received_ns)
        self._record(received_ns, conn, CONNECTION, EVERY_SYMBOL, minute, orjson.dumps(data), data)
        if event == "closed":
            for sync in self.books.values():
                sync.closed(conn)

    def _take_untimed(
        self, conn: int, session: StreamSession, payload: bytes, data: dict[str, Any], received_ns: int, now_s: float
    ) -> None:
        """Take a frame without a time; it waits while the exchange's clock is not known, but not for long."""
        symbol = data["s"]
        _whole(data, "u")
        session.frame(self._untimed, symbol, now_s)
        if symbol not in self.trades:
            return
        if self.clock.offset_ns is None:
            self._unplaced.append((conn, symbol, payload, data, received_ns))
            self._unplaced_bytes += len(payload)
            many = len(self._unplaced) > UNPLACED_FRAMES or self._unplaced_bytes > UNPLACED_BYTES
            if many or received_ns - self._unplaced[0][4] > UNPLACED_NS:
                # Nothing is traded: the local clock is all there is.
                self._set_clock(0, received_ns)
            return
        self._place(conn, symbol, payload, data, received_ns)

    def _place(self, conn: int, symbol: str, payload: bytes, data: dict[str, Any], received_ns: int) -> None:
        minute = (received_ns + (self.clock.offset_ns or 0)) // 1_000_000 // MINUTE_MS
        if minute > self._clock_minute:
            self._tell_clock(minute, received_ns)
        self.newest_minute = max(self.newest_minute, minute)
        self._record(received_ns, conn, self._untimed, symbol, minute, payload, data)

    def _learn(self, sent_ms: int, minute: int, received_ns: int, now_s: float) -> None:
        """A trade says when it was sent: the exchange's clock and the latency follow from it."""
        self.clock.heard(received_ns, sent_ms)
        second = int(now_s)
        if second != self._clock_second or minute > self._clock_minute or self.clock.offset_ns is None:
            self._clock_second = second
            if self.clock.settle() or minute > self._clock_minute:
                self._tell_clock(max(minute, self._clock_minute), received_ns)
                self._place_waiting()
        self._latencies.note(received_ns // 1_000_000 - sent_ms)

    def _set_clock(self, offset_ns: int, received_ns: int) -> None:
        self.clock.offset_ns = offset_ns
        self._tell_clock((received_ns + offset_ns) // 1_000_000 // MINUTE_MS, received_ns)
        self._place_waiting()

    def _place_waiting(self) -> None:
        waiting, self._unplaced, self._unplaced_bytes = self._unplaced, deque(), 0
        for conn, symbol, payload, data, received_ns in waiting:
            self._place(conn, symbol, payload, data, received_ns)

    def _tell_clock(self, minute: int, received_ns: int) -> None:
        """Record by which offset frames are placed from here on, so that a reader places them so as well."""
        told: dict[str, Any] = {"offset_ns": self.clock.offset_ns}
        if minute > self._clock_minute:
            first, self._clock_minute = not self._clock_minute, minute
            if not first and (latency := self._latencies.take()) is not None:
                told["latency_ms"] = latency
        self._record(received_ns, 0, CLOCK, EVERY_SYMBOL, minute, orjson.dumps(told), told)

    def _current_minute(self, received_ns: int) -> int:
        return self.newest_minute or received_ns // 1_000_000 // MINUTE_MS

    def _refuse(self, conn: int, payload: bytes, why: Exception, received_ns: int) -> None:
        self.counts.malformed += 1
        self.refused.note(conn, payload, why, received_ns)
        minute = self._current_minute(received_ns)
        self.writer.add(self._next(), received_ns, conn, REFUSED, REFUSED_FRAMES, minute, payload)

    def _take_depth(self, conn: int, symbol: str, minute: int, data: dict[str, Any], received_ns: int) -> None:
        for name in ("U", "u", "pu"):
            _whole(data, name)
        if minute > self._depth_minute[symbol]:
            self._depth_minute[symbol] = minute
            state = self.observer.checkpoint(symbol)
            if state is not None:
                seq = self._next()
                self.writer.add(seq, received_ns, 0, CHECKPOINT, symbol, minute, state)
        sync = self.books[symbol]
        wanted = sync.snapshots_wanted
        sync.diff(conn, data)
        if sync.snapshots_wanted > wanted:
            self.snapshots_due.append(symbol)

    def _record(
        self, received_ns: int, conn: int, kind: int, symbol: str, minute: int, payload: bytes, data: Any
    ) -> None:
        seq = self._next()
        self.writer.add(seq, received_ns, conn, kind, symbol, minute, payload)
        self.observer.feed(Frame(seq, received_ns, conn, kind, symbol, minute, payload, data))

    def _next(self) -> int:
        seq = self.next_seq
        self.next_seq = seq + 1
        self.counts.records += 1
        return seq


def _whole(data: dict[str, Any], name: str) -> int:
    """A number that a state machine goes on from."""
    value = data[name]
    if type(value) is not int:
        raise TypeError(f"{name} is no whole number")
    return value
