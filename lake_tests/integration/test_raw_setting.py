"""Raw JSON lines that the collector writes by itself: the files of `lake raw-export`, each whole, none forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lake_assets.live.raw_lines import export_raw, part_path, read_lines
from lake_assets.live.raw_writer import RawWriter
from lake_resources.binance.market import SPOT
from lake_resources.binance.ws.stream_session import SessionLimits, StreamSession
from lake_resources.clock import MINUTE
from lake_resources.collector.intake import Intake
from lake_resources.collector.segments import SegmentWriter
from lake_resources.storage.catalog import MarketPaths
from lake_tests.support.forgotten_writer import forget
from lake_tests.support.spot_frames import START_MS, SYMBOL, quote, trade, wrapped

START = datetime.fromtimestamp(START_MS / 1000, UTC)


class Collecting:
    """A collector of one spot symbol without sockets, on a clock that is moved by hand."""

    def __init__(self, root: Path) -> None:
        self.lake, self.out = root / "lake", root / "out"
        self.now_ns = START_MS * 1_000_000
        self.start()

    def start(self) -> None:
        self.writer = SegmentWriter(MarketPaths(self.lake, SPOT.name).live_records_dir)
        self.lines = RawWriter(self.lake, [SYMBOL], self.out, lambda: self.now_ns)
        self.intake = Intake([SYMBOL], self.writer, self.lines, lambda: self.now_ns, self.lines.next_seq(), market=SPOT)
        self.session = StreamSession("", (SYMBOL,), SessionLimits(), SPOT)

    def hear(self, first: int, end: int) -> None:
        """A trade and a quote of each second, a flush after each."""
        for number in range(first, end):
            ms = START_MS + 1000 * number
            self.now_ns = ms * 1_000_000
            self.intake.frame(1, self.session, wrapped(trade(number, ms)), number)
            self.intake.frame(1, self.session, wrapped(quote(number)), number)
            self.flush()

    def flush(self) -> None:
        seq = self.intake.next_seq
        buffers, _ = self.writer.take()
        if buffers:
            self.writer.write(buffers, seq)
        job = self.lines.work()
        if job is not None:
            job()

    def part(self, minute: int) -> Path:
        return part_path(self.out, SYMBOL, START + minute * MINUTE)

    def as_exported(self, root: Path, minutes: int) -> list[tuple[str, bytes]]:
        """What the command writes of the same records."""
        files = export_raw(self.lake, SYMBOL, START, START + minutes * MINUTE, root).files
        return [(path.relative_to(root).as_posix(), path.read_bytes()) for path in files]

    def written(self) -> list[tuple[str, bytes]]:
        files = sorted(self.out.rglob("*"))
        return [(path.relative_to(self.out).as_posix(), path.read_bytes()) for path in files if path.is_file()]


@pytest.fixture
def collecting(tmp_path: Path) -> Iterator[Collecting]:
    made = Collecting(tmp_path)
    yield made
    forget(made.writer)


def test_the_collector_writes_each_minute_once_it_is_over_as_the_command_would(
    collecting: Collecting, tmp_path: Path
) -> None:
    collecting.hear(0, 64)
    assert collecting.written() == [], "the last trades of the minute may be on their way"
    collecting.hear(64, 150)
    assert [name for name, _ in collecting.written()] == [
        collecting.part(minute).relative_to(collecting.out).as_posix() for minute in (0, 1)
    ]
    assert len(next(read_lines(collecting.part(0))).rows) == 120
    assert collecting.written() == collecting.as_exported(tmp_path / "command", 2)


def test_trades_that_heal_a_gap_are_in_the_file_of_their_minute(collecting: Collecting, tmp_path: Path) -> None:
    collecting.hear(0, 40)
    collecting.hear(42, 70)
    before = len(next(read_lines(collecting.part(0))).rows)
    row = {"a": 9, "p": "102", "q": "3", "f": 40, "l": 41, "T": START_MS + 40_000, "m": True}
    collecting.intake.healed(SYMBOL, [row], 70.0)
    collecting.hear(70, 75)
    lines = next(read_lines(collecting.part(0))).rows
    assert len(lines) == before + 1
    assert [(row["trade_id"], row["last_trade_id"]) for row in lines if "last_trade_id" in row] == [(40, 41)]
    assert collecting.written() == collecting.as_exported(tmp_path / "command", 1)


def test_a_kill_forgets_no_minute_and_an_end_writes_the_open_one(collecting: Collecting, tmp_path: Path) -> None:
    collecting.hear(0, 62)
    assert collecting.written() == []
    forget(collecting.writer)
    collecting.start()
    collecting.hear(62, 100)
    assert len(next(read_lines(collecting.part(0))).rows) == 120
    last = collecting.lines.finish()
    assert last is not None
    last()
    assert len(next(read_lines(collecting.part(1))).rows) == 80
    assert collecting.written() == collecting.as_exported(tmp_path / "command", 2)


def test_what_the_disk_did_not_take_is_written_later(collecting: Collecting) -> None:
    collecting.out.write_text("in the way")
    with pytest.raises(Exception, match=r"[Nn]ot a directory|exists"):
        collecting.hear(0, 80)
    collecting.out.unlink()
    collecting.hear(80, 82)
    assert len(next(read_lines(collecting.part(0))).rows) == 120
