"""Whatever is lost, late, killed or locked: at the end each aggTrade is on disk once, or within a row that is open.

Sockets and REST are scripted; intake, segments, journal, healer and what a restart reads are the real ones.
"""

from __future__ import annotations

import random
import sqlite3
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lake_resources.binance.market import UM
from lake_resources.binance.ws.frames import AGG_TRADE, HEALED
from lake_resources.binance.ws.stream_session import SessionLimits, StreamSession
from lake_resources.clock import MINUTE_MS
from lake_resources.collector import healing
from lake_resources.collector.journal import Journal
from lake_resources.collector.segments import minutes_on_disk, read_records
from lake_resources.errors import ServerError
from lake_tests.support.forgotten_writer import forget
from lake_tests.support.hand_driven import HandDriven
from lake_tests.support.live_frames import START_MS, SYMBOL, agg_trade

pytestmark = pytest.mark.slow

STEP_MS = 1_000
PAGE = 20


class Lake(HandDriven):
    """A collector of one symbol without sockets, that is killed and started again."""

    def __init__(self, root: Path) -> None:
        self.root, self.segments = root, root / "live"
        self.now_ms, self.trades, self.up = START_MS, 0, True
        self.seq, self.conn = 1, 0
        self.traded_ms: list[int] = [START_MS]
        self.journal = Journal(f"sqlite:///{root / 'ledger.sqlite'}", "um", busy_ms=1)
        self.start()

    def start(self) -> None:
        self.begin(SYMBOL, UM, self, lambda: self.now_ms * 1_000_000, self.seq)
        self.session = StreamSession("market", (SYMBOL,), SessionLimits())
        self.conn += 1

    def now_s(self) -> float:
        return (self.now_ms - START_MS) / 1000

    def agg_trades_by_id(self, symbol: str, first_id: int, last_id: int) -> list[dict[str, Any]]:
        if not self.up:
            raise ServerError("GET x", "503", status=503)
        ids = range(first_id, min(last_id, self.trades, first_id + PAGE - 1) + 1)
        return [agg_trade(number, self.traded_ms[number]) for number in ids]

    def trade(self) -> int:
        self.trades += 1
        self.traded_ms.append(self.now_ms)
        return self.trades

    def hear(self, number: int) -> None:
        frame = orjson.dumps(agg_trade(number, self.traded_ms[number]))
        self.intake.frame(self.conn, self.session, frame, self.now_s())

    def kill(self) -> None:
        forget(self.writer)
        self.seq = self.intake.next_seq + 1
        self.start()

    def on_disk(self) -> list[int]:
        found: list[int] = []
        for minute in minutes_on_disk(self.segments):
            for frame in read_records(self.segments, SYMBOL, minute, minute + 1):
                data = frame.decoded()
                assert frame.kind in (AGG_TRADE, HEALED)
                found += (row["a"] for row in data) if frame.kind == HEALED else (data["a"],)
        return found


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(healing, "PAGE_PAUSE_S", 0.0)
    monkeypatch.setattr(healing, "KNOWN_S", 5.0)


class Script:
    """What happens to a lake, second by second."""

    def __init__(self, lake: Lake, seed: int) -> None:
        self.lake, self.chance = lake, random.Random(seed)
        self.deaf_s = self.late_s = 0
        self.late: list[int] = []

    def play(self) -> None:
        with ExitStack() as locks:
            for _ in range(self.chance.randrange(60, 300)):
                self.lake.now_ms += STEP_MS
                self.trade()
                self.disturb(locks)

    def often(self, share: float) -> bool:
        return self.chance.random() < share

    def trade(self) -> None:
        self.deaf_s = self.chance.randrange(1, 90) if self.often(0.05) else self.deaf_s - 1
        self.late_s = self.chance.randrange(1, 8) if self.often(0.05) else self.late_s - 1
        for _ in range(self.chance.randrange(4)):
            number = self.lake.trade()
            if self.deaf_s > 0 or self.often(0.03):
                continue
            if self.late_s > 0:
                self.late.append(number)
            else:
                self.lake.hear(number)
        if self.late_s <= 0:
            for number in self.late:
                self.lake.hear(number)
            self.late.clear()

    def disturb(self, locks: ExitStack) -> None:
        if self.often(0.03):
            self.lake.up = not self.lake.up
        if self.often(0.05):
            locks.close()
        elif self.often(0.05):
            lock(locks, self.lake.root)
        if self.often(0.7):
            self.lake.heal()
        if self.often(0.4):
            self.lake.flush()
        if self.often(0.05):
            self.lake.kill()
            self.lake.now_ms += self.chance.choice([0, 1_000, 40_000, 10 * MINUTE_MS])


def lock(locks: ExitStack, root: Path) -> None:
    """Another process keeps the database for itself."""
    locks.close()
    other = sqlite3.connect(root / "ledger.sqlite", isolation_level=None)
    locks.callback(other.close)
    other.execute("BEGIN IMMEDIATE")


def hold(root: Path, seed: int) -> None:
    lake = Lake(root)
    Script(lake, seed).play()
    lake.kill()
    lake.up = True
    number = lake.trade()
    lake.hear(number)
    for _ in range(400):
        lake.now_ms += STEP_MS
        lake.heal()
        lake.flush()
    forget(lake.writer)
    lake.journal.close()

    ids = lake.on_disk()
    assert len(ids) == len(set(ids)), "no id twice"
    assert sorted(ids) == list(range(min(ids), number + 1)), "none missing"
    assert {gap.status for gap in lake.journal.gaps()} <= {"healed"}
    lake.journal.close()


@settings(max_examples=15, deadline=None)
@example(seed=8324)
@given(seed=st.integers(0, 2**32))
def test_nothing_is_forgotten_over_kills(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    hold(tmp_path_factory.mktemp("lake"), seed)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(60))
def test_nor_over_many_of_them(tmp_path: Path, seed: int) -> None:
    hold(tmp_path, seed)
