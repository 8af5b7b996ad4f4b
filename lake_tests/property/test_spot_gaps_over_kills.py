"""Spot under losses and kills: at the end each trade is on disk, by itself or in an order that heals a gap.

Sockets and REST are scripted; intake, segments, journal, healer and what a restart reads are the real ones.
"""

from __future__ import annotations

import random
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import orjson
import pytest

from lake_resources.binance.market import SPOT
from lake_resources.binance.ws.frames import HEALED, TRADE
from lake_resources.binance.ws.stream_session import SessionLimits, StreamSession
from lake_resources.collector import healing
from lake_resources.collector.journal import Journal
from lake_resources.collector.segments import minutes_on_disk, read_records
from lake_resources.errors import ServerError
from lake_tests.support.forgotten_writer import forget
from lake_tests.support.hand_driven import HandDriven
from lake_tests.support.spot_frames import START_MS, SYMBOL, trade, wrapped

PER_ORDER = 3


class Lake(HandDriven):
    """A collector of one spot symbol without sockets, that is killed and started again; orders have three fills."""

    def __init__(self, root: Path) -> None:
        self.root, self.segments = root, root / "live"
        self.now_ms, self.trades, self.up, self.seq = START_MS, 0, True, 1
        self.journal = Journal(f"sqlite:///{root / 'ledger.sqlite'}", SPOT.name, busy_ms=1)
        self.start()

    def start(self) -> None:
        self.begin(SYMBOL, SPOT, self, lambda: self.now_ms * 1_000_000, self.seq)
        self.session = StreamSession("", (SYMBOL,), SessionLimits(), SPOT)

    def now_s(self) -> float:
        return (self.now_ms - START_MS) / 1000

    def agg_trades_covering(self, symbol: str, first_id: int, last_id: int) -> list[dict[str, Any]]:
        if not self.up:
            raise ServerError("GET x", "503", status=503)
        orders = range(first_id // PER_ORDER, min(last_id, self.trades - 1) // PER_ORDER + 1)
        return [
            {"a": at, "p": "1", "q": "3", "f": at * PER_ORDER, "l": at * PER_ORDER + PER_ORDER - 1,
             "T": START_MS + 1000 * at * PER_ORDER, "m": False}
            for at in orders
        ][:20]  # fmt: skip

    def hear(self, number: int) -> None:
        frame = trade(number, START_MS + 1000 * (number // PER_ORDER * PER_ORDER))
        self.intake.frame(1, self.session, wrapped(frame), self.now_s())

    def kill(self) -> None:
        forget(self.writer)
        self.seq = self.intake.next_seq + 1
        self.start()

    def on_disk(self) -> set[int]:
        found: set[int] = set()
        for minute in minutes_on_disk(self.segments):
            for frame in read_records(self.segments, SYMBOL, minute, minute + 1, frozenset((TRADE, HEALED))):
                data = orjson.loads(frame.payload)
                if frame.kind == HEALED:
                    found.update(number for row in data for number in range(row["f"], row["l"] + 1))
                else:
                    found.add(data["data"]["t"])
        return found


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(healing, "PAGE_PAUSE_S", 0.0)


@pytest.mark.parametrize("seed", range(2))
def test_no_trade_is_lost_unseen(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    with ExitStack() as end:
        lake = Lake(tmp_path)
        end.callback(lambda: forget(lake.writer))
        for _ in range(120):
            what = draw.choices(["hear", "lose", "flush", "heal", "kill", "down"], [50, 15, 15, 12, 4, 4])[0]
            lake.now_ms += 1_000
            if what in ("hear", "lose"):
                for _ in range(draw.randint(1, 6)):
                    if what == "hear":
                        lake.hear(lake.trades)
                    lake.trades += 1
            elif what == "down":
                lake.up = not lake.up
            else:
                getattr(lake, what)()
        lake.up = True
        for _ in range(150):  # healing ends: some pauses are minutes
            lake.hear(lake.trades)
            lake.trades += 1
            lake.now_ms += 10_000
            lake.flush()
            lake.heal()
        lake.flush()
        end.callback(lambda: forget(lake.writer))
        held = lake.on_disk()
        missing = set(range(min(held), lake.trades)) - held
        assert lake.intake.trades[SYMBOL].gaps == []
        assert missing == set()
        assert lake.journal.gaps(), "something was lost on the way"
        assert {gap.status for gap in lake.journal.gaps()} == {"healed"}
