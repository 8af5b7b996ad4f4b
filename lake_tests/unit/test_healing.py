"""Gaps of trades: fetched by id, tried again, and given up only where REST says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lake_resources.binance.frames import CHECKPOINT, HEALED, Frame
from lake_resources.collector import healing
from lake_resources.collector.healing import Healer
from lake_resources.collector.intake import Intake
from lake_resources.collector.journal import Journal
from lake_resources.collector.segments import SegmentWriter
from lake_resources.errors import OutsideRetention, ServerError
from lake_tests.live_frames import START_MS, SYMBOL, agg_trade


class Exchange:
    """REST that keeps some ids, and may fail first."""

    def __init__(self, kept: range, failures: int = 0, absent: tuple[int, ...] = ()) -> None:
        self.kept, self.failures, self.absent = kept, failures, absent
        self.asked: list[tuple[int, int]] = []

    def agg_trades_by_id(self, symbol: str, first_id: int, last_id: int) -> list[dict[str, Any]]:
        self.asked.append((first_id, last_id))
        if self.failures:
            self.failures -= 1
            raise ServerError("GET x", "503", status=503)
        if first_id < self.kept.start:
            raise OutsideRetention("GET x", "too old", status=400, code=-4188)
        ids = range(first_id, min(last_id, first_id + 999) + 1)
        return [agg_trade(number, START_MS + number) for number in ids if number not in self.absent]


class Heard:
    """An observer that keeps what it gets."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []

    def feed(self, frame: Frame) -> None:
        assert frame.kind != CHECKPOINT
        self.frames.append(frame)

    def checkpoint(self, symbol: str) -> bytes | None:
        return None

    def work(self) -> Callable[[], None] | None:
        return None

    def finish(self) -> Callable[[], None] | None:
        return None


def heal(tmp_path: Path, exchange: Exchange, *ids: int, minutes: float = 60) -> tuple[Intake, Journal, list[int]]:
    observer = Heard()
    intake = Intake([SYMBOL], SegmentWriter(tmp_path), observer, lambda: START_MS * 1_000_000, 1)
    for number in ids:
        intake.trades[SYMBOL].heard(number, 0.0)
    journal = Journal(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    now_s = 1.0

    async def directly(call: Callable[[], Any]) -> Any:
        return call()

    async def run() -> None:
        nonlocal now_s
        healer = Healer(exchange, intake, journal, directly, lambda: now_s)
        while now_s < 60 * minutes:
            await healer.step()
            now_s += 1.0

    asyncio.run(run())
    journal.close()
    return intake, journal, [row["a"] for frame in observer.frames for row in frame.data if frame.kind == HEALED]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(healing, "PAGE_PAUSE_S", 0.0)


def rows(journal: Journal) -> list[tuple[int, int, str]]:
    return [(gap.first_id, gap.last_id, gap.status) for gap in journal.gaps()]


def test_a_young_gap_is_left_alone_and_an_older_one_fetched(tmp_path: Path) -> None:
    exchange = Exchange(range(10**9))
    _, journal, _ = heal(tmp_path / "young", exchange, 1, 5, minutes=0.02)
    assert (exchange.asked, rows(journal)) == ([], [])

    intake, journal, healed = heal(tmp_path / "old", exchange, 1, 5)
    assert exchange.asked == [(2, 4)]
    assert healed == [2, 3, 4]
    assert intake.trades[SYMBOL].gaps == []
    assert rows(journal) == [(2, 4, "healed")]


def test_a_long_gap_takes_pages_and_one_row(tmp_path: Path) -> None:
    exchange = Exchange(range(10**9))
    _, journal, healed = heal(tmp_path, exchange, 0, 2_600)

    assert [first for first, _ in exchange.asked] == [1, 1001, 2001]
    assert healed == list(range(1, 2_600))
    assert rows(journal) == [(1, 2_599, "healed")]


def test_a_failing_exchange_is_asked_again_with_back_off(tmp_path: Path) -> None:
    exchange = Exchange(range(10**9), failures=4)
    _, journal, healed = heal(tmp_path, exchange, 1, 5)

    assert len(exchange.asked) == 5
    assert healed == [2, 3, 4]
    assert rows(journal) == [(2, 4, "healed")]


def test_what_rest_keeps_of_a_gap_is_healed_and_the_rest_is_lost(tmp_path: Path) -> None:
    exchange = Exchange(range(70_000, 10**9))
    intake, journal, healed = heal(tmp_path, exchange, 0, 71_500)

    assert healed == list(range(70_000, 71_500))
    assert rows(journal) == [(1, 71_499, "lost")]
    assert journal.gaps()[0].detail.startswith("ids 1 to 69999: ")
    assert intake.trades[SYMBOL].gaps == []
    assert len(exchange.asked) < 25


def test_ids_that_rest_never_has_are_given_up_after_some_tries(tmp_path: Path) -> None:
    exchange = Exchange(range(10**9), absent=(2, 3, 4))
    _, journal, healed = heal(tmp_path, exchange, 1, 5)

    assert healed == []
    assert len(exchange.asked) == healing.EMPTY_ANSWERS
    assert rows(journal) == [(2, 4, "lost")]
