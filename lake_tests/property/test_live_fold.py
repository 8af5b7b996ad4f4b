"""Online equals offline: whatever order, repetition, loss, delay or kill, the stored rows are those of the records.

Sockets and REST are scripted; intake, fold, segments and files of rows are the real ones.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake_assets.live.folding import LiveRecorder
from lake_assets.live.row_files import LiveRows
from lake_assets.transforms.live.live_fold import fold_records
from lake_resources.binance.ws.stream_session import SessionLimits, StreamSession
from lake_resources.clock import MINUTE_MS
from lake_resources.collector.intake import Intake
from lake_resources.collector.segments import SegmentWriter, read_records, recover
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
    snapshot,
)
from lake_tests.support.stores import store_at

pytestmark = pytest.mark.slow

MINUTES = 4
STEP_MS = 500
LEVELS = [[f"{100 + level:.2f}", "400"] for level in range(5)]
BIDS = [[f"{99 - level:.2f}", "400"] for level in range(5)]


@dataclass
class Collected:
    """A collector without sockets, on a clock that is moved by hand."""

    root: Path
    now_ms: int = START_MS - 1_000
    conn: int = 1
    pending: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.catalog = store_at(self.root).catalog
        self.rows = LiveRows(self.catalog)
        self.start()

    def start(self) -> None:
        segments = self.catalog.live_records_dir
        recover(segments)
        self.writer = SegmentWriter(segments)
        self.recorder = LiveRecorder([SYMBOL], segments, self.rows, lambda: self.now_ms * 1_000_000)
        seq, ids = self.recorder.resume()
        self.intake = Intake([SYMBOL], self.writer, self.recorder, lambda: self.now_ms * 1_000_000, seq, ids)
        self.session = StreamSession("market", (SYMBOL,), SessionLimits())
        self.intake.connection("started", 0)

    def hear(self, data: dict[str, Any], conn: int) -> None:
        self.intake.frame(conn, self.session, orjson.dumps(data), self.now_ms / 1000)

    def flush(self) -> None:
        buffers, _ = self.writer.take()
        if buffers:
            self.writer.write(buffers, self.intake.next_seq)
        job = self.recorder.work()
        if job is not None:
            job()
        self.writer.close_before(self.intake.newest_minute - 1)

    def kill(self) -> None:
        """Everything in memory is gone."""
        forget(self.writer)
        self.start()

    def stop(self) -> None:
        buffers, _ = self.writer.take()
        if buffers:
            self.writer.write(buffers, self.intake.next_seq)
        self.writer.close_before(None)
        for _ in range(3):  # what was folded again may make a neighbour stale
            job = self.recorder.finish()
            if job is not None:
                job()


def script(chance: random.Random, wild: float) -> list[tuple[int, int, dict[str, Any] | str]]:
    """(delivery ms, connection, frame or what happens), in order of delivery."""
    events: list[tuple[int, int, dict[str, Any] | str]] = []
    trade, last, conn = 0, 0, 1
    for update, ms in enumerate(range(START_MS - 2_000, START_MS + MINUTES * MINUTE_MS, STEP_MS)):
        found: list[dict[str, Any]] = []
        if ms % 1000 == 0:
            found.append(mark_price(ms, f"{chance.random():.8f}"))
        for _ in range(chance.randrange(3)):
            trade += 1
            found.append(agg_trade(trade, ms + chance.randrange(STEP_MS), 100 + chance.random(), sell=bool(trade % 2)))
        found.append(book_ticker(update, ms + chance.randrange(STEP_MS), 99 + chance.random() / 2, 100.0))
        quantity = f"{chance.randrange(100, 2000)}"
        found.append(depth(last + 1, last + 9, last, ms, asks=((f"{100 + chance.randrange(5)}", quantity),)))
        last += 9 + (chance.random() < 0.02 * wild)
        if chance.random() < 0.1:
            found.append(force_order(ms, chance.choice(["SELL", "BUY"]), q="2", p="100", ap="99.5", z="1.5"))
        for data in found:
            delay_ms = 20 if chance.random() >= 0.02 * wild else chance.choice([300, 3_000, 20_000, 70_000])
            if chance.random() >= 0.01 * wild:
                events.append((ms + STEP_MS + delay_ms, conn, data))
            if chance.random() < 0.02 * wild:
                events.append((ms + STEP_MS + delay_ms + 40, conn + 1, data))
        if chance.random() < 0.004 * wild:
            events.append((ms + STEP_MS, conn, "closed"))
            conn += 2
        if chance.random() < 0.003 * wild:
            events.append((ms + STEP_MS, conn, "kill"))
            conn += 2
        if chance.random() < 0.1:
            events.append((ms + STEP_MS + 30, conn, "heal"))
        events.append((ms + STEP_MS + 60, conn, "flush"))
    return sorted(events, key=lambda event: event[0])


def run(root: Path, seed: int, wild: float) -> Collected:
    chance = random.Random(seed)
    collected = Collected(root)
    known: dict[int, dict[str, Any]] = {}
    asked_at: int | None = None
    last_depth = 0
    for at_ms, conn, what in script(chance, wild):
        collected.now_ms = at_ms
        if collected.intake.snapshots_due and asked_at is None:
            asked_at = at_ms
        if asked_at is not None and at_ms - asked_at > 700:
            asked_at = None
            collected.intake.snapshots_due.clear()
            collected.intake.snapshot(SYMBOL, snapshot(last_depth, at_ms, BIDS, LEVELS))
        if isinstance(what, dict):
            if what["e"] == "aggTrade":
                known[what["a"]] = {name: what[name] for name in ("a", "p", "q", "f", "l", "T", "m")}
            if what["e"] == "depthUpdate":
                last_depth = max(last_depth, what["u"] - 4)
            collected.hear(what, conn)
        elif what == "closed":
            collected.intake.connection("closed", conn)
        elif what == "kill":
            asked_at = None
            collected.kill()
        elif what == "heal":
            gaps = collected.intake.trades[SYMBOL].due(at_ms / 1000, 2.0)
            wanted = [number for gap in gaps for number in range(gap.first_id, gap.last_id + 1) if number in known]
            collected.intake.healed(SYMBOL, [known[number] for number in wanted], at_ms / 1000)
        else:
            collected.flush()
    collected.stop()
    return collected


def stored_and_folded(collected: Collected) -> tuple[pl.DataFrame, pl.DataFrame]:
    start, end = (
        datetime.fromtimestamp(ms / 1000, UTC) for ms in (START_MS - MINUTE_MS, START_MS + (MINUTES + 1) * MINUTE_MS)
    )
    stored = collected.rows.read(SYMBOL, start, end)
    first, last = MINUTE - 1, MINUTE + MINUTES + 1
    folded = fold_records(SYMBOL, read_records(collected.catalog.live_records_dir, SYMBOL, first, last), first, last)
    return stored, folded


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32), wild=st.sampled_from([1.0, 3.0, 8.0]))
def test_stored_rows_are_those_of_the_records(tmp_path_factory: pytest.TempPathFactory, seed: int, wild: float) -> None:
    hold(tmp_path_factory.mktemp("lake"), seed, wild)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(20))
def test_so_they_are_over_many_scripts(tmp_path: Path, seed: int) -> None:
    for wild in (1.0, 8.0):
        hold(tmp_path / f"{wild}", seed, wild)


def hold(root: Path, seed: int, wild: float) -> None:
    stored, folded = stored_and_folded(run(root, seed, wild))

    assert folded.height >= MINUTES
    assert stored.equals(folded), _difference(stored, folded)


def test_the_undisturbed_stream_is_complete(tmp_path: Path) -> None:
    stored, _ = stored_and_folded(run(tmp_path, 1, 0.0))
    whole = stored.slice(1, MINUTES - 1)

    assert whole["has_liq"].all()
    assert whole["impact_fillable"].all()
    assert (whole["last_agg_trade_id"] - whole["first_agg_trade_id"] + 1 == whole["agg_trades"]).all()
    assert (whole["mark_price_frames"] == 60).all()


def _difference(left: pl.DataFrame, right: pl.DataFrame) -> str:
    names = [name for name in left.columns if not left[name].equals(right[name])] if left.height == right.height else []
    return f"{left['timestamp'].to_list()} {right['timestamp'].to_list()}\n" + "\n".join(
        f"{name}: {left[name].to_list()} != {right[name].to_list()}" for name in names
    )
