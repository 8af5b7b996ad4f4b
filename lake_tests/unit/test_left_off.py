"""What a restart learns from journal and records: missing trades, and when sockets were heard last."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake_resources.binance.ws.frames import AGG_TRADE, CONNECTION, EVERY_SYMBOL, HEALED, MARK_PRICE
from lake_resources.collector.journal import ConnectionRow, GapRow, Journal, KnownRow, Row
from lake_resources.collector.left_off import LeftOff, left_off, subtract
from lake_resources.collector.segments import SegmentWriter
from lake_tests.support.live_frames import MINUTE, SYMBOL, agg_trade, mark_price

FOUND = datetime(2026, 2, 15, tzinfo=UTC)
START_NS = int(FOUND.timestamp()) * 1_000_000_000


class Lake:
    """Records and a journal, as an earlier collector may have left them."""

    def __init__(self, root: Path) -> None:
        self.segments = root / "live"
        self.journal = Journal(f"sqlite:///{root / 'ledger.sqlite'}", "um")
        self._seq = 0

    def heard(self, minute: int, *ids: int) -> Lake:
        return self._write(minute, AGG_TRADE, [orjson.dumps(agg_trade(number, minute * 60_000)) for number in ids])

    def healed(self, minute: int, *ids: int) -> Lake:
        return self._write(minute, HEALED, [orjson.dumps([agg_trade(number, minute * 60_000) for number in ids])])

    def noted(self, *rows: Row) -> Lake:
        self.journal.write(rows)
        return self

    def frame(self, minute: int, conn: int, received_s: float, kind: int = MARK_PRICE, symbol: str = SYMBOL) -> Lake:
        return self._write(minute, kind, [orjson.dumps(mark_price(0))], conn, received_s, symbol)

    def left(self, **last_ids: int) -> LeftOff:
        found = left_off(self.journal, self.segments, [SYMBOL], last_ids)
        self.journal.close()
        return found

    def _write(
        self,
        minute: int,
        kind: int,
        payloads: Sequence[bytes],
        conn: int = 1,
        received_s: float = 0.0,
        symbol: str = SYMBOL,
    ) -> Lake:
        writer = SegmentWriter(self.segments)
        for payload in payloads:
            self._seq += 1
            writer.add(self._seq, START_NS + int(received_s * 1e9), conn, kind, symbol, minute, payload)
        writer.write(writer.take()[0], self._seq)
        writer.close_before(None)
        return self


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path)


def open_row(first_id: int, last_id: int) -> GapRow:
    return GapRow(SYMBOL, first_id, last_id, FOUND, "open")


def test_an_empty_lake_knows_nothing(lake: Lake) -> None:
    left = lake.left()

    assert (left.last_ids, left.missing, left.gaps, left.ended) == ({}, {SYMBOL: []}, [], [])


def test_a_gap_that_was_too_young_for_the_journal_is_seen_in_the_records(lake: Lake) -> None:
    left = lake.heard(MINUTE, 1, 2, 3).noted(KnownRow(SYMBOL, 3, MINUTE)).heard(MINUTE + 20, 9, 10, 12).left()

    assert left.missing == {SYMBOL: [(4, 8), (11, 11)]}
    assert left.last_ids == {SYMBOL: 12}


def test_without_a_note_the_records_alone_tell(lake: Lake) -> None:
    assert lake.heard(MINUTE, 5, 6).heard(MINUTE + 1, 9).left().missing == {SYMBOL: [(7, 8)]}


def test_what_was_healed_of_an_open_gap_is_not_fetched_again(lake: Lake) -> None:
    lake.noted(open_row(4, 3_000), KnownRow(SYMBOL, 3_001, MINUTE + 40))
    lake.heard(MINUTE, 1, 2, 3).healed(MINUTE, 4, 5, 6).healed(MINUTE + 7, *range(7, 1_004)).healed(MINUTE + 9, 2_000)
    left = lake.heard(MINUTE + 40, 3_001).left()

    assert left.missing == {SYMBOL: [(1_004, 1_999), (2_001, 3_000)]}
    assert left.gaps == [open_row(4, 3_000)]


def test_an_open_gap_that_is_whole_on_disk_misses_nothing(lake: Lake) -> None:
    left = lake.noted(open_row(2, 3)).heard(MINUTE, 1, 4).healed(MINUTE, 2, 3).left()

    assert (left.missing, left.gaps) == ({SYMBOL: []}, [open_row(2, 3)])


def test_what_was_lost_or_is_known_is_not_missing(lake: Lake) -> None:
    lake.noted(GapRow(SYMBOL, 2, 3, FOUND, "lost"), KnownRow(SYMBOL, 5, MINUTE))

    assert lake.heard(MINUTE, 1, 4, 5, 6).left().missing == {SYMBOL: []}


def test_no_missing_id_is_beyond_the_newest_known_one(lake: Lake) -> None:
    assert lake.noted(open_row(8, 9)).heard(MINUTE, 7).left().last_ids == {SYMBOL: 9}
    assert lake.left(BTCUSDT=20).last_ids == {SYMBOL: 20}


def test_what_was_heard_before_a_journalled_gap_but_is_not_on_disk_is_missing(lake: Lake) -> None:
    lake.noted(open_row(8, 9), KnownRow(SYMBOL, 5, MINUTE))

    assert lake.heard(MINUTE, 5).left().missing == {SYMBOL: [(6, 7), (8, 9)]}


def test_an_open_row_and_what_follows_it_stay_apart(lake: Lake) -> None:
    lake.noted(open_row(3, 5), KnownRow(SYMBOL, 2, MINUTE))

    assert lake.heard(MINUTE, 1, 2, 9).left().missing == {SYMBOL: [(3, 5), (6, 8)]}


def test_a_connection_that_was_left_open_ended_at_its_last_frame(lake: Lake) -> None:
    noted = FOUND + timedelta(seconds=60)
    rows = [
        ConnectionRow(1, "market", FOUND, last_frame_at=noted, frames=500),
        ConnectionRow(2, "public", FOUND, last_frame_at=noted, frames=900),
        ConnectionRow(3, "public", FOUND),
        ConnectionRow(4, "public", FOUND, last_frame_at=noted, closed_at=noted, reason="stalled"),
    ]
    lake.noted(*rows).frame(MINUTE, 1, 70.5).frame(MINUTE, 3, 99.0, CONNECTION, EVERY_SYMBOL).frame(MINUTE, 2, 30.0)
    ended = {row.conn: row for row in lake.left().ended}

    assert sorted(ended) == [1, 2, 3]
    assert [ended[conn].closed_at for conn in (1, 2, 3)] == [FOUND + timedelta(seconds=70.5), noted, FOUND]
    assert [ended[conn].last_frame_at for conn in (1, 2, 3)] == [FOUND + timedelta(seconds=70.5), noted, None]
    assert {row.reason for row in ended.values()} == {"the collector ended without closing it"}
    assert ended[1].frames == 500


@given(st.lists(st.integers(0, 30)), st.integers(0, 30), st.integers(0, 30))
def test_subtracting_ids(present: list[int], one: int, other: int) -> None:
    first, last = sorted((one, other))
    left = subtract([(first, last)], present)

    numbers = [number for low, high in left for number in range(low, high + 1)]
    assert numbers == sorted(set(range(first, last + 1)) - set(present))
    assert all(low <= high for low, high in left)
