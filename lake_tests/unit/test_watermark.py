"""The watermark: how far every hour since the first commit is accounted for, and never back."""

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake_resources.storage.ledger.ledger import Intent
from lake_tests.support.minute_hours import NOW, SYMBOL, at, partition
from lake_tests.support.stores import store_at


def minute(hour, minutes):
    return at(hour + minutes / 60)


@pytest.fixture
def ledger(tmp_path):
    ledger = store_at(tmp_path).ledger
    yield ledger
    ledger.close()


def commit(ledger, *hours, rows=60, **changes):
    ledger.write_intents([Intent(partition(at(hour), rows=rows, **changes), ".tmp/x") for hour in hours])
    ledger.commit_intents(SYMBOL)


def quarantine(ledger, hour, now=NOW):
    ledger.record_quarantine(SYMBOL, at(hour), None, ["gap"], "a minute is missing", at=now)


def test_the_first_commit_sets_it(ledger):
    assert ledger.watermark(SYMBOL) is None
    commit(ledger, 5, 6)
    assert ledger.watermark(SYMBOL) == minute(6, 59)


def test_a_commit_beyond_a_gap_does_not_move_it(ledger):
    commit(ledger, 5)
    commit(ledger, 7, 8)
    assert ledger.watermark(SYMBOL) == minute(5, 59)


def test_a_closed_gap_carries_it_over_what_was_committed_before(ledger):
    commit(ledger, 0)
    commit(ledger, *range(2, 200))
    assert ledger.watermark(SYMBOL) == minute(0, 59)
    commit(ledger, 1)
    assert ledger.watermark(SYMBOL) == minute(199, 59)


def test_an_earlier_hour_does_not_move_it(ledger):
    commit(ledger, 5)
    commit(ledger, 4)
    commit(ledger, 1)
    assert ledger.watermark(SYMBOL) == minute(5, 59)


def test_the_open_hour_moves_it_to_its_last_minute_and_is_passed_when_whole(ledger):
    commit(ledger, 5)
    commit(ledger, 6, rows=20)
    assert ledger.watermark(SYMBOL) == minute(6, 19)
    commit(ledger, 7)
    assert ledger.watermark(SYMBOL) == minute(6, 19)
    commit(ledger, 6)
    assert ledger.watermark(SYMBOL) == minute(7, 59)


def test_an_hour_that_is_not_complete_is_never_passed(ledger):
    commit(ledger, 5, complete=False)
    assert ledger.watermark(SYMBOL) == minute(5, 59)
    commit(ledger, 6)
    assert ledger.watermark(SYMBOL) == minute(5, 59)


def test_it_never_moves_back(ledger):
    commit(ledger, 5, 6)
    commit(ledger, 6, rows=10)
    assert ledger.watermark(SYMBOL) == minute(6, 59)


def test_a_quarantined_hour_is_passed(ledger):
    commit(ledger, 5)
    commit(ledger, 7)
    quarantine(ledger, 6)
    assert ledger.watermark(SYMBOL) == minute(7, 59)


def test_a_quarantined_open_hour_is_passed_only_as_far_as_it_was_looked_at(ledger):
    commit(ledger, 5)
    quarantine(ledger, 6, now=minute(6, 20.7))
    assert ledger.watermark(SYMBOL) == minute(6, 19)
    commit(ledger, 7)
    assert ledger.watermark(SYMBOL) == minute(6, 19)
    quarantine(ledger, 6)
    assert ledger.watermark(SYMBOL) == minute(7, 59)
    assert len(ledger.quarantined(SYMBOL, at(0), at(24))) == 1


def test_a_quarantine_before_any_commit_sets_nothing(ledger):
    quarantine(ledger, 4)
    assert ledger.watermark(SYMBOL) is None
    commit(ledger, 5)
    assert ledger.watermark(SYMBOL) == minute(5, 59)


def test_a_commit_resolves_the_quarantine_in_the_same_transaction(ledger):
    commit(ledger, 5)
    quarantine(ledger, 6)
    commit(ledger, 6)
    assert ledger.quarantined(SYMBOL, at(0), at(24)) == []
    (entry,) = ledger.quarantined(SYMBOL, at(0), at(24), resolved=True)
    assert (entry.codes, entry.resolved_at) == (("gap",), NOW)


hour_events = st.lists(
    st.tuples(st.sampled_from(["whole", "part", "quarantine"]), st.integers(0, 8), st.integers(1, 59)), max_size=14
)


@settings(max_examples=60, deadline=None)
@given(events=hour_events)
def test_any_sequence_keeps_the_watermark_true(tmp_path_factory, events):
    """Against a model in plain Python: hours that were passed stay passed, the one it stands in is looked at again."""
    ledger = store_at(tmp_path_factory.mktemp("ledger")).ledger
    committed, quarantined, expected, first = {}, set(), None, None
    for kind, hour, rows in events:
        if kind == "quarantine":
            quarantine(ledger, hour)
            quarantined.add(hour)
        else:
            rows = 60 if kind == "whole" else rows
            commit(ledger, hour, rows=rows)
            committed[hour] = rows
            quarantined.discard(hour)
            first = hour if first is None else first
        mark, step = None, first if expected is None else (expected - at(0)) // timedelta(hours=1)
        while step is not None:
            whole = committed.get(step) == 60 or step in quarantined
            if whole:
                mark = minute(step, 59)
            elif step in committed:
                mark = minute(step, committed[step] - 1)
            if not whole:
                break
            step += 1
        expected = max((value for value in (expected, mark) if value is not None), default=None)
        assert ledger.watermark(SYMBOL) == expected
    ledger.close()
