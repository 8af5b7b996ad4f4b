"""The one fold of a collector's records into live rows: online as they come, offline from the segments.

Belongs here: which minute a record counts in, the order book's part, when a socket was provably alive, closing minutes.
Does not belong here: what a minute's frames add up to (`live_minute`), files, sockets, clocks.
A row is a function of the records alone, not of when it is asked for: a record that comes after its minute was closed
makes the minute stale, and a stale minute is folded again from the segments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import orjson
import polars as pl

from lake_assets.transforms.live.live_minute import Impact, LiveMinute, Top
from lake_assets.transforms.live.live_rows import LIVE_ROWS
from lake_resources.binance.ws.frames import (
    AGG_TRADE,
    BOOK_TICKER,
    CHECKPOINT,
    CONNECTION,
    DEPTH,
    FORCE_ORDER,
    HEALED,
    MARK_PRICE,
    SNAPSHOT,
    Frame,
)
from lake_resources.binance.ws.order_book import OrderBook, buy_impact
from lake_resources.clock import MINUTE_MS

IMPACT_NOTIONAL_USDT = 100_000.0
WIDE_SPREAD = 0.02
"""Fraction of mid."""
MARKET_SILENCE_MS = 5_000
"""markPrice@1s comes every second: with a longer silence nothing is proven about the liquidations in it."""
PUBLIC_SILENCE_MS = 15_000
BOOK_TICKER_SILENCE_MS = 60_000
"""The best prices of a quiet symbol may rest; depth that flows meanwhile says nothing about them."""
CLOSE_AFTER_MS = 2_000
"""A minute is closed when the symbol's event time is this far beyond its end; a later frame makes it stale."""
EARLY_AFTER_MS = 250
"""So far beyond its end a minute has its first row, where its sockets were provably alive: nobody waits for frames that
hardly ever come. Where one does come before the minute is closed, the row is given once more."""
_DOUBTED_MINUTES = 60
LOOK_AROUND_MINUTES = 1
"""Records of so many minutes before and after a window can change its rows."""


class SymbolFold:
    """Folds the records of one symbol, in order of `seq`.

    Args:
        symbol: upper case.
        closing: give rows away and forget their frames as event time passes, the first row of a minute soon after its
            end; without it all is kept until `close_all`.

    Attributes:
        stale: epoch minutes whose row is no longer right, because records came after it was closed.
        closed_minute: minutes before this one are closed; None while nothing is.
        malformed: frames that could not be used.
    """

    def __init__(self, symbol: str, *, closing: bool) -> None:
        self.symbol = symbol
        self.stale: set[int] = set()
        self.closed_minute: int | None = None
        self.malformed = 0
        self._closing = closing
        self._book = OrderBook()
        self._fresh = True
        self._unvalued: int | None = None
        self._minutes: dict[int, LiveMinute] = {}
        self._market = _Alive(MARKET_SILENCE_MS)
        self._public = _Alive(PUBLIC_SILENCE_MS)
        self._tickers = _Alive(BOOK_TICKER_SILENCE_MS)
        self._closed: list[dict[str, Any]] = []
        self._given: tuple[int, Any] | None = None
        # Closed minutes whose rows would be others if a socket turned out to have been alive.
        self._doubted: set[int] = set()
        self._watermark_ms = 0
        self._look_at_ms = 0
        self._handlers: dict[int, Callable[[Frame, Any], None]] = {
            AGG_TRADE: self._agg_trade,
            BOOK_TICKER: self._book_ticker,
            DEPTH: self._depth,
            MARK_PRICE: self._mark_price,
            FORCE_ORDER: self._force_order,
            SNAPSHOT: self._snapshot,
            HEALED: self._healed,
            CHECKPOINT: self._checkpoint,
            CONNECTION: self._connection,
        }

    def feed(self, frame: Frame) -> None:
        """Take a record; one that lacks what its stream always has is counted in `malformed` and left out."""
        handler = self._handlers.get(frame.kind)
        if handler is None:
            return
        try:
            handler(frame, None if frame.kind == CHECKPOINT else frame.decoded())
        except (KeyError, TypeError, ValueError):
            self.malformed += 1
        if self._closing and self._watermark_ms >= self._look_at_ms:
            self._close()

    def take(self) -> pl.DataFrame:
        """Rows that are new, or others, since the last call: columns `LIVE_ROWS`, each minute once, sorted by time."""
        rows, self._closed = self._closed, []
        return _frame(rows)

    @property
    def has_rows(self) -> bool:
        """Whether `take` has something."""
        return bool(self._closed)

    @property
    def has_open(self) -> bool:
        """Whether a minute is not closed yet."""
        return bool(self._minutes)

    def close_all(self) -> None:
        """Close the open minutes without waiting for event time."""
        for minute in sorted(self._minutes):
            self._close_minute(minute)

    def forget_until(self, minute: int) -> None:
        """Give no rows of minutes before one: its records were not read from their beginning."""
        self._closed = [row for row in self._closed if row["timestamp"] >= minute * MINUTE_MS * 1000]
        self._minutes = {known: found for known, found in self._minutes.items() if known >= minute}
        self.stale = {known for known in self.stale if known >= minute}
        self.closed_minute = max(self.closed_minute or 0, minute)

    def checkpoint(self) -> bytes:
        """What another fold needs to go on from here: the order book."""
        return orjson.dumps(self._book.state())

    def _minute(self, minute: int) -> LiveMinute:
        found = self._minutes.get(minute)
        if found is None:
            found = self._minutes[minute] = LiveMinute()
            found.reopened = self.closed_minute is not None and minute < self.closed_minute
            self._look_at_ms = self._next_look()
        return found

    def _agg_trade(self, frame: Frame, data: Any) -> None:
        self._minute(frame.minute).trade(data)
        self._watermark_ms = max(self._watermark_ms, data["T"])

    def _book_ticker(self, frame: Frame, data: Any) -> None:
        self._minute(frame.minute).book_ticker(data)
        self._watermark_ms = max(self._watermark_ms, data["T"])
        self._heard(self._public, frame.conn, data["T"])
        self._heard(self._tickers, frame.conn, data["T"])

    def _mark_price(self, frame: Frame, data: Any) -> None:
        self._minute(frame.minute).mark_price(data)
        self._watermark_ms = max(self._watermark_ms, data["E"])
        self._heard(self._market, frame.conn, data["E"])

    def _force_order(self, frame: Frame, data: Any) -> None:
        self._minute(frame.minute).force_order(data)

    def _healed(self, frame: Frame, data: Any) -> None:
        minute = self._minute(frame.minute)
        for trade in data:
            minute.trade(trade, streamed=False)

    def _depth(self, frame: Frame, data: Any) -> None:
        minute = self._minute(frame.minute)
        minute.depth(data, frame.received_ns)
        if self._unvalued != frame.minute:
            self._value()
        applied = self._book.diff(frame.conn, data)
        if applied:
            self._unvalued = frame.minute
        if not self._book.synced:
            self._value()
            minute.broken = True
        self._watermark_ms = max(self._watermark_ms, data["E"])
        self._heard(self._public, frame.conn, data["E"])

    def _snapshot(self, frame: Frame, data: Any) -> None:
        self._fresh = False
        self._minute(frame.minute).broken = True
        waiting = self._book.sync.buffer[-1:]
        if self._book.snapshot(data):
            self._unvalued = waiting[0]["E"] // MINUTE_MS

    def _checkpoint(self, frame: Frame, _: Any) -> None:
        if self._fresh:
            self._fresh = False
            self._book = OrderBook.from_state(orjson.loads(frame.payload))

    def _connection(self, frame: Frame, data: Any) -> None:
        """A connection ended, or the collector started anew: then all that were before have ended."""
        if data["event"] == "closed":
            self._book.sync.closed(frame.conn)
        elif data["event"] == "started":
            self._book.sync.closed(self._book.sync.conn)

    def _heard(self, alive: _Alive, conn: int, ms: int) -> None:
        bridged_from_ms = alive.heard(conn, ms)
        if self.closed_minute is None or bridged_from_ms is None:
            return
        # Silence that reached over the end of a closed minute turns out to be short enough.
        bridged = range(bridged_from_ms // MINUTE_MS, min(ms // MINUTE_MS + 1, self.closed_minute))
        self.stale.update(self._doubted.intersection(bridged))

    def _value(self) -> None:
        """Value the market buy on the book as it stands: the last synchronised one of its minute."""
        if self._unvalued is None:
            return
        minute, self._unvalued = self._minutes.get(self._unvalued), None
        book = self._book
        best = book.best()
        if minute is None:
            return
        if best is None:
            minute.impact, minute.top = Impact(None, wide=False), None
            return
        bid, ask = best
        minute.top = Top((bid, book.bids[bid], ask, book.asks[ask]), book.sync.last_id)
        value = buy_impact(book.asks, bid, ask, IMPACT_NOTIONAL_USDT)
        minute.impact = Impact(value, wide=ask - bid > WIDE_SPREAD * (bid + ask) / 2)

    def _close(self) -> None:
        for minute in sorted(self._minutes):
            if (minute + 1) * MINUTE_MS + CLOSE_AFTER_MS > self._watermark_ms:
                break
            self._close_minute(minute)
        self._give_early()
        self._look_at_ms = self._next_look()

    def _next_look(self) -> int:
        """Event time at which the oldest open minute may have its first row, or is closed."""
        oldest = min(self._minutes, default=self._watermark_ms // MINUTE_MS)
        end_ms = (oldest + 1) * MINUTE_MS
        if self._given is not None and self._given[0] == oldest:
            return end_ms + CLOSE_AFTER_MS
        return min(max(end_ms, self._watermark_ms) + EARLY_AFTER_MS, end_ms + CLOSE_AFTER_MS)

    def _give_early(self) -> None:
        """The first row of the oldest open minute, where it is over and its sockets were alive to its end."""
        minute = min(self._minutes, default=None)
        if minute is None or (self._given is not None and self._given[0] == minute):
            return
        accumulated = self._minutes[minute]
        if accumulated.reopened or (minute + 1) * MINUTE_MS + EARLY_AFTER_MS > self._watermark_ms:
            return
        unvalued = self._unvalued
        if unvalued == minute:
            self._value()
        # A frame that still comes finds the book as it would without the first row.
        self._unvalued = unvalued
        if all(self._alive(minute, accumulated).values()):
            self._give(minute, accumulated)

    def _give(self, minute: int, accumulated: LiveMinute) -> None:
        """The row of a minute, in place of one that was given before of fewer frames."""
        alive = self._alive(minute, accumulated)
        before, self._given = self._given, (minute, (accumulated.seen, tuple(alive.values())))
        if self._given == before:
            return
        row = accumulated.row(minute, **alive)
        if before is not None and before[0] == minute:
            self._closed = [each for each in self._closed if each["timestamp"] != row["timestamp"]]
        self._closed.append(row)

    def _alive(self, minute: int, accumulated: LiveMinute) -> dict[str, bool]:
        """What was provably alive all minute; book tickers, too, where the book tells that none is lacking."""
        start_ms, end_ms = minute * MINUTE_MS, (minute + 1) * MINUTE_MS
        public, tickers = self._public.covers(start_ms, end_ms), self._tickers.covers(start_ms, end_ms)
        if public and not tickers and (told_ms := accumulated.told_until(end_ms)) is not None:
            tickers = self._tickers.covers(start_ms, told_ms)
        return {
            "market_alive": self._market.covers(start_ms, end_ms),
            "public_alive": public,
            "book_ticker_alive": tickers,
        }

    def _close_minute(self, minute: int) -> None:
        if self._unvalued == minute:
            self._value()
        accumulated = self._minutes.pop(minute)
        if accumulated.reopened:
            self.stale.add(minute)
        else:
            self._give(minute, accumulated)
        if accumulated.reopened or not all(self._alive(minute, accumulated).values()):
            self._doubted.add(minute)
        self.closed_minute = max(self.closed_minute or 0, minute + 1)
        if self._closing:
            self._doubted = {known for known in self._doubted if known > minute - _DOUBTED_MINUTES}
            start_ms = minute * MINUTE_MS
            self._market.forget_before(start_ms)
            self._public.forget_before(start_ms)
            self._tickers.forget_before(start_ms)


class _Alive:
    """Spans of event time in which a socket was heard without a long silence; two sockets may overlap."""

    def __init__(self, max_silence_ms: int) -> None:
        self._max_silence_ms = max_silence_ms
        # conn, first and last ms
        self._spans: list[list[int]] = []

    def heard(self, conn: int, ms: int) -> int | None:
        """A frame came; returns the last ms before it where that lies further back than in the same minute."""
        spans = self._spans
        for span in reversed(spans):
            if span[0] == conn:
                last_ms = span[2]
                if ms <= last_ms:
                    return None
                if ms - last_ms > self._max_silence_ms:
                    break
                span[2] = ms
                return last_ms if last_ms // MINUTE_MS != ms // MINUTE_MS else None
        spans.append([conn, ms, ms])
        return None

    def covers(self, start_ms: int, end_ms: int) -> bool:
        """Whether the spans together leave no hole in `[start_ms, end_ms]`."""
        reached_ms = start_ms
        for _, first_ms, last_ms in sorted(self._spans, key=lambda span: span[1]):
            if first_ms > reached_ms:
                return False
            reached_ms = max(reached_ms, last_ms)
            if reached_ms >= end_ms:
                return True
        return False

    def forget_before(self, ms: int) -> None:
        """Drop spans that ended before `ms`."""
        self._spans = [span for span in self._spans if span[2] >= ms]


def fold_records(symbol: str, records: Iterable[Frame], start_minute: int, end_minute: int) -> pl.DataFrame:
    """Live rows of a window, from its records.

    Args:
        symbol: upper case.
        records: in order of `seq`, with `LOOK_AROUND_MINUTES` before and after the window.
        start_minute: epoch minutes.
        end_minute: first minute that is not wanted.

    Returns:
        Columns `LIVE_ROWS`, one row per minute that has a record, sorted by `timestamp` (UTC).
    """
    fold = SymbolFold(symbol, closing=False)
    for record in records:
        fold.feed(record)
    first, end = (
        pl.lit(minute * MINUTE_MS * 1000).cast(pl.Datetime("us", "UTC")) for minute in (start_minute, end_minute)
    )
    fold.close_all()
    return fold.take().filter(pl.col("timestamp").is_between(first, end, closed="left"))


def _frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    columns = {name: [row.get(name) for row in rows] for name in LIVE_ROWS}
    stamps = pl.Series("timestamp", columns.pop("timestamp"), pl.Int64).cast(pl.Datetime("us", "UTC"))
    others = pl.DataFrame(columns, schema={name: dtype for name, dtype in LIVE_ROWS.items() if name != "timestamp"})
    return others.insert_column(0, stamps).select(list(LIVE_ROWS)).sort("timestamp")
