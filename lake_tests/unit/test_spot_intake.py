"""What the collector makes of spot's frames: ids of single trades, quotes without a time, gaps that orders heal."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from lake_assets.live.spot_latency import latest_latency
from lake_assets.live.spot_records import HEALED_SOURCE, SpotRecords, read_spot
from lake_assets.transforms.trade_fold import folded
from lake_resources.binance.market import SPOT
from lake_resources.binance.rest.covering import Rows, covering
from lake_resources.binance.ws.frames import CLOCK
from lake_resources.collector.intake import UNPLACED_NS
from lake_resources.collector.journal import Journal
from lake_resources.collector.left_off import left_off
from lake_resources.collector.segments import read_records
from lake_tests.support.spot_frames import START_MS, SYMBOL, Hearing, quote, trade, wrapped

START = datetime.fromtimestamp(START_MS / 1000, UTC)
BEHIND_MS = 1_400


@pytest.fixture
def hearing(tmp_path: Path) -> Hearing:
    return Hearing(tmp_path / "records")


def local_ns(ms: int) -> int:
    """When something of the exchange's time comes in, on a local clock that is behind."""
    return (ms - BEHIND_MS) * 1_000_000


def read(hearing: Hearing, minutes: int = 10) -> SpotRecords:
    hearing.close()
    return read_spot(hearing.segments, SYMBOL, START - timedelta(minutes=1), START + timedelta(minutes=minutes))


def test_a_quote_waits_for_the_first_trade_and_stands_where_its_clock_says(hearing: Hearing) -> None:
    hearing.hear(wrapped(quote(1)), local_ns(START_MS + 5))
    assert hearing.intake.counts.records == 1, "only the opening is recorded"
    for number in range(5):
        ms = START_MS + 1000 * number
        hearing.hear(wrapped(trade(number, ms)), local_ns(ms + 10))
        hearing.hear(wrapped(quote(number + 2, 99 + number)), local_ns(ms + 500))
    found = read(hearing)
    assert found.clock_offset == timedelta(milliseconds=BEHIND_MS - 8), "frames took 8 ms at least"
    after = [(at - START) / timedelta(milliseconds=1) for at in found.quotes["at"]]
    assert after == [-3, *(1000 * number + 492 for number in range(5))]


def test_without_any_trade_the_local_clock_is_taken_after_a_while(hearing: Hearing) -> None:
    first = START_MS * 1_000_000
    hearing.hear(wrapped(quote(1)), first)
    hearing.hear(wrapped(quote(2)), first + UNPLACED_NS + 1)
    found = read(hearing)
    assert found.quotes["at"][0] == START
    assert found.clock_offset == timedelta(0)


def test_latencies_of_each_minute_are_told_at_its_end(hearing: Hearing) -> None:
    for number in range(241):
        ms = START_MS + 500 * number
        hearing.hear(wrapped(trade(number, ms)), local_ns(ms + 2 + number % 100))
    hearing.close()
    minute = START_MS // 60_000
    clocks = read_records(hearing.segments, SYMBOL, minute, minute + 3, frozenset((CLOCK,)))
    told = [frame.decoded() for frame in clocks]
    found = [each["latency_ms"] for each in told if "latency_ms" in each]
    assert [each["frames"] for each in found] == [120, 120]
    # Frames 120 to 239: 20 to 99, 0 to 99 and 0 to 39 ms more than the shortest.
    assert found[-1] == {"p50": 40 - BEHIND_MS, "p95": 94 - BEHIND_MS, "max": 99 - BEHIND_MS, "frames": 120}


def test_missed_trades_are_healed_by_the_orders_that_cover_them(hearing: Hearing) -> None:
    """Orders of three fills each; the fills 4 to 6 were missed, which are parts of two orders."""
    fills = [trade(number, START_MS + 200 * (number // 3 * 3), 100 + number // 3, 1 + number) for number in range(150)]
    for fill in fills:
        if fill["t"] not in (4, 5, 6):
            hearing.hear(wrapped(fill), local_ns(fill["T"] + 3))
    gaps = hearing.intake.trades[SYMBOL].gaps
    assert [(gap.first_id, gap.last_id) for gap in gaps] == [(4, 6)]
    rows = [
        {"a": at, "p": fills[at * 3]["p"], "q": f"{sum(float(fill['q']) for fill in fills[at * 3 : at * 3 + 3]):.8f}",
         "f": at * 3, "l": at * 3 + 2, "T": fills[at * 3]["T"], "m": False}
        for at in (1, 2)
    ]  # fmt: skip
    assert hearing.intake.healed(SYMBOL, rows, 1.0) == 2
    assert hearing.intake.trades[SYMBOL].gaps == []
    assert hearing.intake.healed(SYMBOL, rows, 1.0) == 0, "nothing is healed twice"
    hearing.hear(wrapped(fills[5]), local_ns(START_MS + 40_000))
    assert hearing.intake.counts.repeated_trades == 1
    found = read(hearing)
    healed = found.trades.filter(pl.col("source") == HEALED_SOURCE)
    assert healed.select("first_id", "last_id").rows() == [(3, 5), (6, 8)]
    whole = Hearing(hearing.segments.parent / "whole")
    for fill in fills:
        whole.hear(wrapped(fill), local_ns(fill["T"] + 3))
    second = timedelta(seconds=1)
    bars = folded(found.fills, second)
    assert bars.height > 20
    assert bars.equals(folded(read(whole).fills, second)), "bars come out the same"


def test_a_restart_knows_from_the_records_what_is_missing(hearing: Hearing, tmp_path: Path) -> None:
    for number in (1, 2, 3, 7, 8):
        hearing.hear(wrapped(trade(number, START_MS + number)), local_ns(START_MS + number))
    row = {"a": 1, "p": "100", "q": "1", "f": 4, "l": 5, "T": START_MS + 4, "m": False}
    hearing.intake.healed(SYMBOL, [row], 1.0)
    hearing.close()
    left = left_off(Journal(f"sqlite:///{tmp_path / 'l.sqlite'}", "spot"), hearing.segments, [SYMBOL], {}, SPOT)
    assert left.last_ids == {SYMBOL: 8}
    assert left.missing == {SYMBOL: [(6, 6)]}


def test_what_is_no_frame_of_spot_is_refused(hearing: Hearing) -> None:
    for payload in (b'{"u":1,"s":"BTCUSDT"', b'{"u":"x","s":"BTCUSDT","b":"1"}', b'{"e":"trade","s":"BTCUSDT"}'):
        hearing.hear(payload)
    assert hearing.intake.counts.malformed == 3


class Orders:
    """REST that has aggTrades of uneven numbers of fills, and counts what it is asked."""

    def __init__(self, count: int) -> None:
        self.rows: Rows = []
        self.asked = 0
        first = 1000
        for number in range(count):
            fills = 1 + number * 7919 % 5
            self.rows.append({"a": number, "f": first, "l": first + fills - 1, "T": number})
            first += fills

    def page(self, from_id: int | None) -> Rows:
        self.asked += 1
        return self.rows[-1000:] if from_id is None else self.rows[from_id : from_id + 1000]


@pytest.mark.parametrize("place", [0, 1, 5_000, 48_000, 49_990])
@pytest.mark.parametrize("length", [1, 3, 400])
def test_orders_that_cover_a_gap_are_found_in_few_requests(place: int, length: int) -> None:
    orders = Orders(50_000)
    first = orders.rows[place]["l"]
    last = min(first + length - 1, orders.rows[-1]["l"])
    found = covering(orders.page, first, last)
    assert orders.asked <= 6
    assert found[0]["f"] <= first <= found[0]["l"]
    assert found[-1]["f"] <= last <= found[-1]["l"]
    assert [row["a"] for row in found] == list(range(found[0]["a"], found[-1]["a"] + 1))


def test_ids_that_rest_does_not_have_are_not_found() -> None:
    orders = Orders(5_000)
    assert covering(orders.page, orders.rows[-1]["l"] + 1, orders.rows[-1]["l"] + 5) == []
    assert covering(orders.page, 1, 3) == []
    hole: Any = Orders(5_000)
    lost = hole.rows[2_000]["f"]
    del hole.rows[2_000]
    told = covering(lambda at: [row for row in hole.rows if at is None or row["a"] >= at][:1000], lost, lost)
    assert [row["a"] for row in told if row["f"] <= lost <= row["l"]] == []


def test_the_newest_minute_tells_how_long_its_trades_took(tmp_path: Path) -> None:
    hearing = Hearing(tmp_path / "live_records" / "spot")
    for number in range(241):
        ms = START_MS + 500 * number
        hearing.hear(wrapped(trade(number, ms)), local_ns(ms + 2 + number % 100))
    hearing.close()
    found = latest_latency(tmp_path, START, START + timedelta(minutes=4))
    assert found is not None
    assert found[0] == START + timedelta(minutes=2)
    assert found[1]["max"] == 99 - BEHIND_MS
    assert latest_latency(tmp_path, START - timedelta(minutes=9), START - timedelta(minutes=1)) is None
