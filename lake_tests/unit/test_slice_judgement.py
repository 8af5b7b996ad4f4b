"""What an answer to a slice's request is worth: records on a grid, and events."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from lake_assets.slices.expected import due
from lake_assets.slices.funding_rate_endpoint import FUNDING_RATE
from lake_assets.slices.judgement import SliceGrid, SliceReason, Status, judge
from lake_assets.slices.keys import SliceKey
from lake_assets.slices.klines_endpoint import KLINES
from lake_resources.storage.ledger.slice_rows import Standing

START = 1_609_459_200_000
KEY = SliceKey("BTCUSDT", "1m", START)
MINUTE_MS = 60_000
WHOLE = [START + index * MINUTE_MS for index in range(1000)]
LATER = START + 2_000 * MINUTE_MS
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def test_a_slice_is_ok_when_its_open_times_are_the_grid_and_all_candles_are_closed() -> None:
    verdict = KLINES.judge(KEY, WHOLE, LATER, None)
    assert (verdict.status, verdict.reason, verdict.missing) == (Status.OK, SliceReason.NONE, ())


@pytest.mark.parametrize("now_ms", [WHOLE[-1], WHOLE[-1] + MINUTE_MS - 1])
def test_a_thousand_candles_are_not_enough_while_the_last_is_forming(now_ms: int) -> None:
    verdict = KLINES.judge(KEY, WHOLE, now_ms, None)
    assert (verdict.status, verdict.reason) == (Status.PARTIAL, SliceReason.STILL_FORMING)
    assert KLINES.judge(KEY, WHOLE, WHOLE[-1] + MINUTE_MS, None).status is Status.OK


def test_a_repeated_candle_does_not_make_up_for_a_missing_one() -> None:
    verdict = KLINES.judge(KEY, [*WHOLE[:-1], WHOLE[0]], LATER, None)
    assert (verdict.status, verdict.reason) == (Status.NEEDS_REFRESH, SliceReason.UNEXPECTED_RECORDS)


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ([START - MINUTE_MS, *WHOLE[1:]], "outside the window"),
        ([START + 1, *WHOLE[1:]], "off the grid"),
        ([*WHOLE[:10], *reversed(WHOLE[10:])], "out of order"),
    ],
)
def test_what_was_not_asked_for_is_no_answer(found: list[int], says: str) -> None:
    verdict = KLINES.judge(KEY, found, LATER, None)
    assert verdict.status is Status.NEEDS_REFRESH
    assert says in verdict.detail


def test_a_gap_is_the_exchanges_only_when_it_says_the_same_again() -> None:
    found = [time for time in WHOLE if time not in (WHOLE[5], WHOLE[6])]
    once = KLINES.judge(KEY, found, LATER, None)
    assert (once.status, once.reason, once.missing) == (Status.PARTIAL, SliceReason.GAP_SEEN_ONCE, (WHOLE[5], WHOLE[6]))
    again = KLINES.judge(KEY, found, LATER, once.missing)
    assert (again.status, again.reason, again.missing) == (Status.OK, SliceReason.EXCHANGE_HAS_NONE, once.missing)
    other = KLINES.judge(KEY, [time for time in found if time != WHOLE[9]], LATER, once.missing)
    assert other.status is Status.PARTIAL


def test_nothing_at_all_is_empty_and_is_not_forgotten() -> None:
    once = KLINES.judge(KEY, [], LATER, None)
    assert (once.status, once.reason) == (Status.EMPTY, SliceReason.NO_DATA)
    again = KLINES.judge(KEY, [], LATER, tuple(WHOLE))
    assert (again.status, again.reason) == (Status.EMPTY, SliceReason.EXCHANGE_HAS_NONE)


def test_a_window_in_the_future_waits() -> None:
    verdict = judge(SliceGrid(START, MINUTE_MS, 1000, final_until=START - 1), [], said_before=None)
    assert (verdict.status, verdict.reason) == (Status.PARTIAL, SliceReason.STILL_FORMING)


def test_settlements_may_come_at_any_interval_but_none_further_apart_than_eight_hours() -> None:
    hour = 3_600_000
    key = SliceKey("BTCUSDT", "1h", START)
    late = START + 1_100 * hour
    times = [START + index * 8 * hour + 7 for index in range(125)]
    assert FUNDING_RATE.judge(key, times, late, None).status is Status.OK
    mixed = sorted([*times[:50], *(times[50] + index * 4 * hour for index in range(100))])
    assert FUNDING_RATE.judge(key, mixed, late, None).status is Status.OK
    lost = FUNDING_RATE.judge(key, times[:40] + times[41:], late, None)
    assert (lost.status, lost.reason) == (Status.PARTIAL, SliceReason.GAP_SEEN_ONCE)
    assert FUNDING_RATE.judge(key, times[:40] + times[41:], late, lost.missing).status is Status.OK
    assert FUNDING_RATE.judge(key, times, START + 999 * hour, None).reason is SliceReason.STILL_FORMING


def test_the_diff_asks_for_the_new_and_the_unusable_first_and_leaves_the_answered_alone() -> None:
    keys = KLINES.keys("BTCUSDT", "1m", START, START + 7 * 1000 * MINUTE_MS - 1)
    old, young = NOW - timedelta(hours=1), NOW - timedelta(minutes=1)
    known = [
        Standing(keys[0].start, Status.OK, SliceReason.NONE, old),
        Standing(keys[1].start, Status.FAILED, SliceReason.NETWORK, old),
        Standing(keys[2].start, Status.FAILED, SliceReason.NETWORK, young),
        Standing(keys[3].start, Status.EMPTY, SliceReason.EXCHANGE_HAS_NONE, old),
        Standing(keys[4].start, Status.EMPTY, SliceReason.NO_DATA, old),
        Standing(keys[6].start, Status.PARTIAL, SliceReason.STILL_FORMING, young),
    ]
    assert due(keys, known, NOW) == [keys[5], keys[1], keys[6], keys[4]]
