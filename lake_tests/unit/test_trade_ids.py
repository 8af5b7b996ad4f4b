"""Ids of aggTrades: every loss is seen, and a change of order is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake_resources.collector.trade_ids import MOST_GAPS, TradeIds


def test_a_jump_is_a_gap_from_the_first_missing_to_the_last() -> None:
    ids = TradeIds(10)
    assert ids.heard(11, 0.0)
    assert ids.heard(15, 1.0)

    assert [(gap.first_id, gap.last_id, gap.count) for gap in ids.gaps] == [(12, 14, 3)]
    assert ids.due(2.9, 2.0) == []
    assert ids.due(3.0, 2.0) == ids.gaps


def test_late_ones_fill_it_and_repeated_ones_count_as_such() -> None:
    ids = TradeIds()
    for number in (1, 5, 3, 3, 2, 4, 5, 1):
        ids.heard(number, 0.0)

    assert ids.gaps == []
    assert ids.repeated == 3
    assert ids.last_id == 5


def test_ids_that_jump_without_end_are_none() -> None:
    ids = TradeIds(0)
    for number in range(MOST_GAPS):
        assert ids.heard(2 * number + 2, 0.0)
    with pytest.raises(ValueError, match="10,000 gaps"):
        ids.heard(10**9, 0.0)

    assert ids.heard(2 * MOST_GAPS + 1, 0.0)
    assert ids.heard(1, 0.0)
    assert ids.heard(2 * MOST_GAPS + 3, 0.0), "there is room again"


def test_what_was_given_up_is_forgotten() -> None:
    ids = TradeIds(0)
    for number in (3, 6, 9):
        ids.heard(number, 0.0)
    ids.give_up(4, 5)

    assert [(gap.first_id, gap.last_id) for gap in ids.gaps] == [(1, 2), (7, 8)]


@given(st.lists(st.integers(1, 60), max_size=120), st.integers(0, 5))
def test_gaps_are_exactly_what_is_missing(heard: list[int], last_id: int) -> None:
    ids = TradeIds(last_id)
    new = [number for number in heard if ids.heard(number, 0.0)]

    assert len(new) == len(set(new)), "no id is new twice"
    known = {number for number in heard if number > last_id}
    missing = {number for gap in ids.gaps for number in range(gap.first_id, gap.last_id + 1)}
    assert missing == set(range(last_id + 1, max(known, default=last_id) + 1)) - known
    assert ids.repeated + len(new) == len(heard)
