"""Frames that cannot be used: kept, counted, told once a minute; and event times that nobody else confirms."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from lake_resources.binance.ws.frames import AGG_TRADE, BOOK_TICKER, KLINE, MARK_PRICE, REFUSED, REFUSED_FRAMES, Frame
from lake_resources.binance.ws.stream_session import SessionLimits, StreamSession
from lake_resources.clock import MINUTE_MS
from lake_resources.collector.intake import Intake
from lake_resources.collector.segments import SegmentWriter, minutes_on_disk, read_records
from lake_tests.support.forgotten_writer import forget
from lake_tests.support.live_frames import (
    MINUTE,
    START_MS,
    SYMBOL,
    agg_trade,
    book_ticker,
    depth,
    force_order,
    mark_price,
)

HOUR_MS = 60 * MINUTE_MS


class Heard:
    """An observer that keeps what it gets."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []

    def feed(self, frame: Frame) -> None:
        self.frames.append(frame)

    def checkpoint(self, symbol: str) -> bytes | None:
        return None

    @property
    def pressing(self) -> bool:
        return False

    def work(self) -> Callable[[], None] | None:
        return None

    def finish(self) -> Callable[[], None] | None:
        return None


class Socket:
    """Frames into an intake; the local clock is moved by hand."""

    def __init__(self, root: Path, local_ms: int = START_MS) -> None:
        self.root, self.local_ms = root, local_ms
        self.writer = SegmentWriter(root)
        self.observer = Heard()
        self.intake = Intake([SYMBOL], self.writer, self.observer, lambda: self.local_ms * 1_000_000, 1)
        self.session = StreamSession("market", (SYMBOL,), SessionLimits())

    def take(self, *frames: dict[str, Any] | bytes, step_ms: int = 0) -> None:
        for frame in frames:
            payload = frame if isinstance(frame, bytes) else orjson.dumps(frame)
            self.intake.frame(7, self.session, payload, self.local_ms / 1000)
            self.local_ms += step_ms

    @property
    def taken(self) -> list[int]:
        return [frame.kind for frame in self.observer.frames]

    def on_disk(self) -> list[bytes]:
        self.writer.write(self.writer.take()[0], 1)
        self.writer.close_before(None)
        minutes = minutes_on_disk(self.root)
        kept = read_records(self.root, REFUSED_FRAMES, minutes[0], minutes[-1] + 1, frozenset((REFUSED,)))
        return [frame.payload for frame in kept]


@pytest.fixture
def socket(tmp_path: Path) -> Iterator[Socket]:
    one = Socket(tmp_path)
    yield one
    forget(one.writer)


BAD: tuple[dict[str, Any] | bytes, ...] = (
    b"{not json",
    b"[]",
    b"7",
    {"e": "aggTrade"},
    {"e": ["aggTrade"]},
    {"e": "serverShutdown", "E": START_MS},
    agg_trade(1, START_MS) | {"a": "1"},
    agg_trade(1, START_MS) | {"T": None},
    agg_trade(1, START_MS) | {"T": -(10**17)},
    agg_trade(1, START_MS) | {"T": 10**17},
    agg_trade(1, START_MS) | {"s": [SYMBOL]},
    depth(1, 2, 0, START_MS) | {"u": "2"},
    force_order(START_MS) | {"o": None},
)


@pytest.mark.parametrize("frame", BAD, ids=str)
def test_what_cannot_be_used_is_kept_and_nothing_else_happens(socket: Socket, frame: dict[str, Any] | bytes) -> None:
    socket.take(agg_trade(5, START_MS), frame, agg_trade(6, START_MS + 1))

    assert socket.taken == [AGG_TRADE, AGG_TRADE]
    assert socket.intake.newest_minute == MINUTE
    assert socket.intake.trades[SYMBOL].gaps == []
    assert (socket.intake.counts.malformed, socket.intake.refused.by_minute) == (1, {MINUTE: 1})
    assert socket.on_disk() == [frame if isinstance(frame, bytes) else orjson.dumps(frame)]


def test_no_reader_of_a_symbol_comes_across_them(socket: Socket, tmp_path: Path) -> None:
    socket.take(agg_trade(5, START_MS), b"{not json")
    socket.on_disk()

    assert [frame.kind for frame in read_records(tmp_path, SYMBOL, MINUTE, MINUTE + 1)] == [AGG_TRADE]


def test_they_are_told_when_they_happen_once_a_minute(socket: Socket, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    socket.take(*[b"{not json"] * 100)
    (told,) = [record.getMessage() for record in caplog.records]
    assert told.startswith("frame of socket 7 refused (JSONDecodeError: ")
    assert told.endswith(": {not json")

    socket.local_ms += MINUTE_MS
    socket.take(b"more")
    assert "100 frames were refused" in caplog.records[1].getMessage()
    assert caplog.records[2].getMessage().endswith(": more")
    assert socket.intake.refused.by_minute == {MINUTE: 100, MINUTE + 1: 1}


def test_acknowledgements_are_no_frames_to_keep(socket: Socket) -> None:
    socket.take({"result": None, "id": 1}, agg_trade(5, START_MS))

    assert socket.on_disk() == []


def test_one_far_future_time_among_others_is_refused(socket: Socket) -> None:
    ahead = agg_trade(2, START_MS + 6 * MINUTE_MS)
    socket.take(agg_trade(1, START_MS), mark_price(START_MS), ahead, mark_price(START_MS + 1000))
    socket.take(book_ticker(1, START_MS + HOUR_MS), agg_trade(3, START_MS + 1500))

    assert socket.taken == [AGG_TRADE, MARK_PRICE, MARK_PRICE, AGG_TRADE]
    assert socket.intake.newest_minute == MINUTE
    assert [(gap.first_id, gap.last_id) for gap in socket.intake.trades[SYMBOL].gaps] == [(2, 2)], "REST may know it"
    assert len(socket.on_disk()) == 2


def test_streams_that_agree_on_the_future_are_refused_while_others_go_on(socket: Socket) -> None:
    for second in range(30):
        now_ms = START_MS + 1000 * second
        socket.take(mark_price(now_ms + HOUR_MS), book_ticker(second, now_ms + HOUR_MS), agg_trade(second, now_ms))
        socket.local_ms += 1000

    assert socket.taken == [AGG_TRADE] * 30
    assert socket.intake.newest_minute == MINUTE
    assert socket.intake.counts.malformed == 60


def test_a_stream_goes_back_by_a_day_only_where_it_stays(socket: Socket) -> None:
    back = START_MS - 25 * HOUR_MS
    socket.take(agg_trade(1, START_MS), agg_trade(2, back), agg_trade(2, START_MS - 23 * HOUR_MS))
    socket.take(*(agg_trade(3, back - n * HOUR_MS) for n in range(9)), agg_trade(3, START_MS + 1), step_ms=1000)

    assert socket.taken == [AGG_TRADE] * 3, "times of many days would be files of as many minutes"
    assert socket.intake.counts.malformed == 10
    socket.take(*(agg_trade(4 + n, back + 1000 * n) for n in range(10)), step_ms=1000)
    assert socket.taken == [AGG_TRADE] * 11, "two seconds of an exchange that was set back"
    assert socket.intake.trades[SYMBOL].last_id == 13


def test_five_minutes_ahead_is_still_believed(socket: Socket) -> None:
    socket.take(agg_trade(1, START_MS + 5 * MINUTE_MS))

    assert (socket.taken, socket.intake.newest_minute) == ([AGG_TRADE], MINUTE + 5)


def test_after_a_long_silence_time_goes_on(socket: Socket) -> None:
    socket.take(agg_trade(1, START_MS))
    socket.local_ms += HOUR_MS
    socket.take(agg_trade(2, START_MS + HOUR_MS))

    assert socket.taken == [AGG_TRADE, AGG_TRADE]


@pytest.mark.parametrize("off_ms", [-400 * 24 * HOUR_MS, HOUR_MS, 400 * 24 * HOUR_MS])
def test_a_market_is_played_on_any_clock(tmp_path: Path, off_ms: int) -> None:
    socket = Socket(tmp_path, local_ms=START_MS - off_ms)
    for second in range(60):
        now_ms = START_MS + 1000 * second
        socket.take(book_ticker(second, now_ms), mark_price(now_ms), agg_trade(second + 1, now_ms), step_ms=100)
    forget(socket.writer)

    refused = socket.intake.counts.malformed
    assert 20 <= refused <= 21 if off_ms > 0 else refused == 0, "two seconds, where the local clock is behind"
    assert socket.intake.newest_minute == MINUTE
    assert socket.taken[-3:] == [BOOK_TICKER, MARK_PRICE, AGG_TRADE]


def test_one_stream_alone_is_its_own_witness_in_the_beginning(tmp_path: Path) -> None:
    socket = Socket(tmp_path, local_ms=START_MS - HOUR_MS)
    socket.take(*(mark_price(START_MS + 1000 * second) for second in range(10)), step_ms=1000)
    forget(socket.writer)

    assert socket.taken == [MARK_PRICE] * 8


def test_a_local_clock_that_falls_behind_costs_two_seconds(socket: Socket) -> None:
    socket.take(mark_price(START_MS), agg_trade(1, START_MS))
    for tenth in range(100):  # a machine that slept: its clock stands where it was
        now_ms = START_MS + HOUR_MS + 100 * tenth
        socket.take(mark_price(now_ms), agg_trade(2 + tenth, now_ms))
        socket.local_ms += 100

    assert socket.intake.newest_minute == MINUTE + 60
    assert 40 <= socket.intake.counts.malformed <= 41
    assert len(socket.taken) == 2 + 200 - socket.intake.counts.malformed


def test_of_a_kline_only_the_closed_one_is_kept_in_its_own_minute(tmp_path: Path) -> None:
    socket = Socket(tmp_path)

    def bar(*, closed: bool) -> dict[str, Any]:
        of = {"t": START_MS, "T": START_MS + MINUTE_MS - 1, "s": SYMBOL, "i": "1m", "L": 7, "n": 3, "x": closed}
        return {"e": "kline", "E": START_MS + MINUTE_MS + 5, "s": SYMBOL, "k": of}

    socket.local_ms = START_MS + MINUTE_MS + 20
    for data in (bar(closed=False), bar(closed=True), {"e": "kline", "E": START_MS, "s": SYMBOL}):
        socket.take(data)
    assert [(frame.kind, frame.minute) for frame in socket.observer.frames] == [(KLINE, MINUTE)]
    assert socket.intake.counts.malformed == 1
