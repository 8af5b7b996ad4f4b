"""Gaps of trades: journalled first, fetched by id in turn, tried again, given up only where REST keeps them no more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lake_resources.binance.ws.frames import CHECKPOINT, HEALED, Frame
from lake_resources.collector import healing
from lake_resources.collector.healing import Healer
from lake_resources.collector.intake import Intake
from lake_resources.collector.journal import GapRow, Journal
from lake_resources.collector.notebook import Notebook
from lake_resources.collector.segments import SegmentWriter
from lake_resources.errors import (
    ExchangeError,
    GeoBlocked,
    OutsideRetention,
    RequestRefused,
    ServerError,
    StorageError,
)
from lake_tests.support.live_frames import START_MS, SYMBOL, agg_trade
from lake_tests.support.observers import SilentObserver

OTHER = "ETHUSDT"
HOURS = 3600.0


class Exchange:
    """REST that keeps some ids, and may fail: with an error so many times, or until some second."""

    def __init__(
        self,
        kept: range = range(10**9),
        absent: tuple[int, ...] = (),
        error: Exception | None = None,
        failures: int = 0,
    ) -> None:
        self.kept, self.absent = kept, absent
        self.error, self.failures = error, failures
        self.asked: list[tuple[str, int, int]] = []

    def agg_trades_by_id(self, symbol: str, first_id: int, last_id: int) -> list[dict[str, Any]]:
        self.asked.append((symbol, first_id, last_id))
        if self.error is not None and self.failures:
            self.failures -= 1
            raise self.error
        if first_id < self.kept.start:
            raise OutsideRetention("GET x", "too old", status=400, code=-4166)
        ids = range(first_id, min(last_id, first_id + 999) + 1)
        return [agg_trade(number, START_MS + number) for number in ids if number not in self.absent]


class Heard(SilentObserver):
    """An observer that keeps what it gets."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []

    def feed(self, frame: Frame) -> None:
        assert frame.kind != CHECKPOINT
        self.frames.append(frame)


class Bench:
    """A healer on a clock that is moved by hand; what its intake takes is on disk at once, unless told otherwise."""

    def __init__(self, tmp_path: Path, exchange: Exchange, known: tuple[GapRow, ...] = ()) -> None:
        self.now_s = 1.0
        self.observer = Heard()
        self.exchange = exchange
        clock_ns = lambda: START_MS * 1_000_000 + int(self.now_s * 1e9)  # noqa: E731
        self.intake = Intake([SYMBOL, OTHER], SegmentWriter(tmp_path), self.observer, clock_ns, 1)
        self.journal = Journal(f"sqlite:///{tmp_path / 'ledger.sqlite'}", "um")
        self.flushing = True
        self.healer = Healer(
            exchange, self.intake, Notebook(self.journal, self.at_once), self.at_once, lambda: self.now_s, known
        )

    @staticmethod
    async def at_once(call: Callable[[], Any]) -> Any:
        return call()

    def hear(self, *ids: int, symbol: str = SYMBOL) -> None:
        for number in ids:
            self.intake.trades[symbol].heard(number, self.now_s)

    def run(self, seconds: float, step_s: float = 1.0) -> Bench:
        async def steps() -> None:
            end_s = self.now_s + seconds
            while self.now_s < end_s:
                await self.healer.look()
                await self.healer.notebook.write()
                await self.healer.fetch()
                if self.flushing:
                    self.intake.flushed_seq = self.intake.next_seq
                self.now_s += step_s

        asyncio.run(steps())
        return self

    @property
    def rows(self) -> list[tuple[str, int, int, str]]:
        return [(gap.symbol, gap.first_id, gap.last_id, gap.status) for gap in self.journal.gaps()]

    @property
    def healed(self) -> list[int]:
        return [row["a"] for frame in self.observer.frames for row in frame.data if frame.kind == HEALED]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(healing, "PAGE_PAUSE_S", 0.0)


def bench(tmp_path: Path, exchange: Exchange, *ids: int) -> Bench:
    made = Bench(tmp_path, exchange)
    made.hear(*ids)
    return made


def test_a_young_gap_is_left_alone_and_an_older_one_fetched(tmp_path: Path) -> None:
    one = bench(tmp_path, Exchange(), 1, 5).run(2.0)
    assert (one.exchange.asked, one.rows) == ([], [])

    one.run(5.0)
    assert one.exchange.asked == [(SYMBOL, 2, 4)]
    assert one.healed == [2, 3, 4]
    assert one.intake.trades[SYMBOL].gaps == []
    assert one.rows == [(SYMBOL, 2, 4, "healed")]


def test_a_long_gap_takes_pages_and_one_row(tmp_path: Path) -> None:
    one = bench(tmp_path, Exchange(), 0, 2_600).run(60)

    assert [first for _, first, _ in one.exchange.asked] == [1, 1001, 2001]
    assert one.healed == list(range(1, 2_600))
    assert one.rows == [(SYMBOL, 1, 2_599, "healed")]


def test_all_gaps_are_journalled_before_one_is_fetched_and_symbols_take_turns(tmp_path: Path) -> None:
    one = bench(tmp_path, Exchange(), 0, 50_000)
    one.hear(7, 9, symbol=OTHER)
    one.run(2.0)
    seen: list[list[tuple[str, int, int, str]]] = []
    ask = one.exchange.agg_trades_by_id

    def noting(symbol: str, first_id: int, last_id: int) -> list[dict[str, Any]]:
        seen.append(one.rows)
        return ask(symbol, first_id, last_id)

    one.exchange.agg_trades_by_id = noting  # type: ignore[method-assign]
    one.run(4.0)

    assert seen[0] == [(SYMBOL, 1, 49_999, "open"), (OTHER, 8, 8, "open")]
    assert [symbol for symbol, *_ in one.exchange.asked] == [SYMBOL, OTHER, SYMBOL, SYMBOL]
    assert one.rows == [(SYMBOL, 1, 49_999, "open"), (OTHER, 8, 8, "healed")]


def test_gaps_found_while_an_answer_is_awaited_are_journalled(tmp_path: Path) -> None:
    one = bench(tmp_path, Exchange(), 0, 5)
    asked = asyncio.Event()

    async def hang(call: Callable[[], Any]) -> Any:
        asked.set()
        await asyncio.Event().wait()

    one.healer.in_thread = hang
    one.now_s += 3.0

    async def both() -> None:
        tasks = [asyncio.create_task(one.healer.watch()), asyncio.create_task(one.healer.run())]
        await asyncio.wait_for(asked.wait(), 60.0)
        one.hear(7, 9, symbol=OTHER)
        one.now_s += 3.0
        for _ in range(1000):
            await asyncio.sleep(0.05)
            if len(one.rows) == 2:
                break
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    asyncio.run(both())
    assert one.rows == [(SYMBOL, 1, 4, "open"), (OTHER, 8, 8, "open")]


@pytest.mark.parametrize(
    "error",
    [
        ServerError("GET x", "503", status=503),
        RequestRefused("GET x", "403: the firewall", status=403, code=None),
        RequestRefused("GET x", "400 (-1121): Invalid symbol.", status=400, code=-1121),
        GeoBlocked("GET x", "451", status=451),
        StorageError("weight governor x: database is locked", remedy="wait"),
    ],
    ids=["503", "403", "no such symbol", "451", "governor"],
)
def test_whatever_refuses_is_asked_again_with_back_off(tmp_path: Path, error: Exception) -> None:
    one = bench(tmp_path, Exchange(error=error, failures=6), 1, 5).run(120)

    assert len(one.exchange.asked) == 5, "5, 10, 20, 40 s apart"
    assert [gap.detail for gap in one.journal.gaps()] == [str(error)]
    assert one.rows == [(SYMBOL, 2, 4, "open")]
    one.run(300)
    assert one.healed == [2, 3, 4]
    assert one.rows == [(SYMBOL, 2, 4, "healed")]


@pytest.mark.parametrize(
    ("exchange", "why"),
    [
        (
            Exchange(error=RequestRefused("GET x", "403: no", status=403, code=None), failures=10**9),
            "GET x: 403: no. The request itself is wrong; repeating it will not help",
        ),
        (Exchange(absent=(2, 3, 4)), "REST does not have these ids"),
    ],
    ids=["refused", "empty"],
)
def test_only_after_the_retention_it_is_lost_with_the_reason_seen_last(
    tmp_path: Path, exchange: Exchange, why: str
) -> None:
    one = bench(tmp_path, exchange, 1, 5).run(47.9 * HOURS, step_s=20.0)
    assert one.rows == [(SYMBOL, 2, 4, "open")]
    assert 500 < len(exchange.asked) < 700

    one.run(0.3 * HOURS, step_s=20.0)
    assert one.rows == [(SYMBOL, 2, 4, "lost")]
    assert one.journal.gaps()[0].detail == f"ids 2 to 4: {why}"
    assert one.intake.trades[SYMBOL].gaps == []
    asked = len(exchange.asked)
    one.run(1 * HOURS, step_s=20.0)
    assert len(exchange.asked) == asked


def test_a_refusal_makes_the_symbol_wait_and_an_empty_answer_the_gap_alone(tmp_path: Path) -> None:
    refused = bench(tmp_path / "a", Exchange(error=ExchangeError("GET x", "no"), failures=10**9), 1, 3, 5, 7).run(7.0)
    assert len(refused.exchange.asked) == 1

    empty = bench(tmp_path / "b", Exchange(absent=(2,)), 1, 3, 5, 7).run(10.0)
    assert empty.healed == [4, 6]
    assert empty.rows == [(SYMBOL, 2, 2, "open"), (SYMBOL, 4, 4, "healed"), (SYMBOL, 6, 6, "healed")]


def test_what_rest_keeps_of_a_gap_is_healed_and_the_rest_is_lost(tmp_path: Path) -> None:
    one = bench(tmp_path, Exchange(range(70_000, 10**9)), 0, 71_500).run(3.0)
    assert one.rows == [(SYMBOL, 1, 71_499, "open")], "lost only when nothing else is to be had of it"

    one.run(30.0)
    assert one.healed == list(range(70_000, 71_500))
    assert one.rows == [(SYMBOL, 1, 71_499, "lost")]
    assert one.journal.gaps()[0].detail.startswith("ids 1 to 69999: ")
    assert one.intake.trades[SYMBOL].gaps == []
    assert len(one.exchange.asked) < 25


def test_it_is_healed_only_when_its_trades_are_on_disk(tmp_path: Path) -> None:
    one = bench(tmp_path, Exchange(), 1, 5)
    one.flushing = False
    one.run(20.0)
    assert one.healed == [2, 3, 4]
    assert one.rows == [(SYMBOL, 2, 4, "open")]

    one.flushing = True
    one.run(3.0)
    assert one.rows == [(SYMBOL, 2, 4, "healed")]


def test_what_is_known_of_the_ids_ends_before_a_young_gap_and_what_is_not_on_disk(tmp_path: Path) -> None:
    one = bench(tmp_path, Exchange(), 1, 2, 3)
    one.intake.newest_minute = 29
    one.now_s += 20.0
    one.hear(9)
    one.flushing = False
    one.run(1.0)
    assert one.journal.known() == {}

    one.intake.flushed_seq = one.intake.next_seq
    one.run(1.0)
    known = one.journal.known()
    assert {symbol: (row.last_id, row.minute) for symbol, row in known.items()} == {SYMBOL: (3, 29)}

    one.flushing = True
    one.run(25.0)
    assert one.journal.known()[SYMBOL].last_id == 9


def test_a_row_that_was_open_before_goes_on(tmp_path: Path) -> None:
    first = bench(tmp_path, Exchange(error=ServerError("GET x", "503", status=503), failures=99), 1, 9).run(10.0)
    rows = tuple(first.journal.gaps("open"))

    again = Bench(tmp_path, Exchange(), rows)
    again.hear(1, 4, 9)  # two and three are on disk: only the rest is missing
    again.intake.trades[SYMBOL].give_up(2, 3)
    again.run(10.0)
    assert again.exchange.asked == [(SYMBOL, 5, 8)]
    assert again.rows == [(SYMBOL, 2, 8, "healed")]
    assert again.journal.gaps()[0].found_at == rows[0].found_at
