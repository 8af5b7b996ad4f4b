"""The collector's understanding of what it hears: folds per symbol, live rows on disk, minutes folded again.

Belongs here: the observer of `lake_resources.collector`, going on after a restart, rebuilding hours from segments.
Does not belong here: the fold itself (`transforms.live.live_fold`), sockets, files of records.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from lake_assets.live.row_files import LiveRows
from lake_assets.transforms.live.live_fold import LOOK_AROUND_MINUTES, SymbolFold, fold_records
from lake_resources.binance.ws.frames import AGG_TRADE, EVERY_SYMBOL, HEALED, Frame
from lake_resources.collector.segments import lately_written, minutes_on_disk, newest_minute, read_records

REFOLD_NS = 5_000_000_000
"""Stale minutes are folded again this often."""
SILENCE_NS = 15_000_000_000
"""A symbol that was not heard for so long has its open minutes closed as they are."""
_RESUMED_MINUTES = 3
_ROWLESS_MINUTES = 360
"""So far back a start looks for minutes whose records never became a row: a kill, or rows that could not be written."""
_UNSURE_S = 120.0
"""Late records that were written so shortly before a kill may not have reached the rows of their minutes."""


class LiveRecorder:
    """Turns records into live rows as they come.

    Args:
        symbols: upper case.
        segments: directory of the raw records.
        rows: where live rows go.
        clock_ns: local time, epoch ns.
    """

    def __init__(self, symbols: Sequence[str], segments: Path, rows: LiveRows, clock_ns: Callable[[], int]) -> None:
        self._folds = {symbol: SymbolFold(symbol, closing=True) for symbol in symbols}
        self._heard_ns = dict.fromkeys(symbols, 0)
        self._segments = segments
        self._rows = rows
        self._clock_ns = clock_ns
        self._refold_at_ns = 0
        self._waiting: list[tuple[str, int]] = []
        # Filled by the thread that writes rows.
        self._unwritten: deque[tuple[str, int]] = deque()

    def resume(self) -> tuple[int, dict[str, int]]:
        """Go on where the collector ended, from the newest records on disk.

        Returns:
            The number for the next record, and the newest aggTrade id of each symbol that has one.
        """
        newest = newest_minute(self._segments)
        last_ids: dict[str, int] = {}
        last_seq = 0
        for symbol, fold in self._folds.items():
            stored = self._rows.newest_trade_id(symbol)
            ids = [] if stored is None else [stored]
            first = None if newest is None else newest - _RESUMED_MINUTES
            for frame in [] if first is None or newest is None else self._records(symbol, first, newest + 1):
                last_seq = max(last_seq, frame.seq)
                ids.extend(_trade_ids(frame))
                fold.feed(frame)
            if first is not None:
                # What came before its first minute was not read, so its row would not be right.
                fold.forget_until(first + LOOK_AROUND_MINUTES)
            if ids:
                last_ids[symbol] = max(ids)
        if newest is not None:
            resumed = newest - _RESUMED_MINUTES + LOOK_AROUND_MINUTES
            unsure = [minute for minute in lately_written(self._segments, _UNSURE_S) if minute < resumed]
            self._waiting = [(symbol, minute) for symbol in self._folds for minute in unsure]
            self._waiting += self._rowless(resumed)
        return max(last_seq + 1, self._clock_ns() // 1000), last_ids

    def feed(self, frame: Frame) -> None:
        """Take a record."""
        if frame.symbol == EVERY_SYMBOL:
            for fold in self._folds.values():
                fold.feed(frame)
        else:
            self._folds[frame.symbol].feed(frame)
            self._heard_ns[frame.symbol] = frame.received_ns

    def checkpoint(self, symbol: str) -> bytes | None:
        """State of a symbol's order book."""
        return self._folds[symbol].checkpoint()

    @property
    def pressing(self) -> bool:
        """Whether there are rows to write: the builder waits for them."""
        return any(fold.has_rows for fold in self._folds.values())

    def work(self) -> Callable[[], None] | None:
        """What is to be written: new rows, and minutes that are to be folded again.

        A minute becomes stale by a record that may not be on disk yet; so it waits until the next call, before which
        the collector writes what it has.
        """
        now_ns = self._clock_ns()
        for symbol, fold in self._folds.items():
            if fold.has_open and now_ns - self._heard_ns[symbol] > SILENCE_NS:
                fold.close_all()
        refold: list[tuple[str, int]] = []
        if now_ns >= self._refold_at_ns:
            self._refold_at_ns = now_ns + REFOLD_NS
            refold, self._waiting = self._waiting, self._stale()
            while self._unwritten:
                self._waiting.append(self._unwritten.popleft())
        return self._job(refold)

    def finish(self) -> Callable[[], None] | None:
        """The last rows, and all stale minutes; everything was written before."""
        for fold in self._folds.values():
            fold.close_all()
        return self._job([*self._waiting, *self._stale()])

    def _job(self, refold: list[tuple[str, int]]) -> Callable[[], None] | None:
        rows = {symbol: fold.take() for symbol, fold in self._folds.items() if fold.has_rows}
        if not rows and not refold:
            return None

        left = [(symbol, minute) for symbol, closed in rows.items() for minute in _minutes_of(closed)] + refold

        def write() -> None:
            try:
                for symbol, closed in rows.items():
                    self._rows.merge(symbol, closed)
                for symbol, start, end in _spans(refold):
                    rebuild(self._segments, self._rows, symbol, start, end)
            except BaseException:
                # Their records are on disk: all of them are folded again, those that were written too.
                self._unwritten.extend(left)
                raise

        return write

    def _rowless(self, end_minute: int) -> list[tuple[str, int]]:
        """Minutes before `end_minute` that have records and no row; of a minute without the symbol none comes."""
        first = end_minute - _ROWLESS_MINUTES
        recorded = {minute for minute in minutes_on_disk(self._segments) if first <= minute < end_minute}
        window = [datetime.fromtimestamp(minute * 60, UTC) for minute in (first, end_minute)]
        return [
            (symbol, minute)
            for symbol in self._folds
            for minute in sorted(recorded - set(_minutes_of(self._rows.read(symbol, window[0], window[1]))))
        ]

    def _stale(self) -> list[tuple[str, int]]:
        found = [(symbol, minute) for symbol, fold in self._folds.items() for minute in sorted(fold.stale)]
        for fold in self._folds.values():
            fold.stale.clear()
        return found

    def _records(self, symbol: str, first: int, end: int) -> Iterator[Frame]:
        return read_records(self._segments, symbol, first, end)


def rebuild(segments: Path, rows: LiveRows, symbol: str, start_minute: int, end_minute: int) -> pl.DataFrame:
    """Fold minutes anew from the segments, and keep the result.

    Args:
        segments: directory of the raw records.
        rows: where live rows go.
        symbol: upper case.
        start_minute: epoch minutes.
        end_minute: first minute that is not folded.

    Returns:
        The rows, columns `LIVE_ROWS`: one per minute that has a record. Minutes without records keep the row they have,
        and so do those of which retention has taken records.
    """
    records = read_records(segments, symbol, start_minute - LOOK_AROUND_MINUTES, end_minute + LOOK_AROUND_MINUTES)
    folded = fold_records(symbol, records, start_minute, end_minute)
    rows.merge(symbol, folded)
    return folded


def _minutes_of(rows: pl.DataFrame) -> list[int]:
    return (rows["timestamp"].dt.epoch("s") // 60).to_list()


def epoch_minute(instant: datetime) -> int:
    """Epoch minutes of an instant."""
    return int(instant.timestamp()) // 60


def _trade_ids(frame: Frame) -> Iterable[int]:
    if frame.kind == AGG_TRADE:
        return (frame.decoded()["a"],)
    return (row["a"] for row in frame.decoded()) if frame.kind == HEALED else ()


def _spans(minutes: Iterable[tuple[str, int]]) -> Iterator[tuple[str, int, int]]:
    """Runs of neighbouring minutes: symbol, first, end."""
    run: tuple[str, int, int] | None = None
    for symbol, minute in sorted(set(minutes)):
        if run is not None and run[0] == symbol and minute == run[2]:
            run = (symbol, run[1], minute + 1)
            continue
        if run is not None:
            yield run
        run = (symbol, minute, minute + 1)
    if run is not None:
        yield run
