"""When the resident builder looks, whom it waits for, when it is silent, and which commits are told."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from lake_assets.automation.hot_reports import HotMemory, ToldHour, due_reports, due_together
from lake_assets.automation.resident_turns import goes_ahead, next_turn, silence_text, silent_for, waits_for
from lake_resources.clock import HOUR, MINUTE
from lake_tests.support.minute_hours import partition

OPEN = datetime(2026, 11, 18, 15, tzinfo=UTC)
NOW = OPEN + 10 * MINUTE + timedelta(seconds=2)


def after(seconds: float) -> datetime:
    return OPEN + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("now", "behind", "due"),
    [
        (after(0), False, after(0.5)),
        (after(0.2), True, after(0.5)),
        (after(0.5), False, after(60.5)),
        (after(3), False, after(60.5)),
        (after(3), True, after(5)),
        (after(59.5), True, after(60.5)),
    ],
)
def test_it_looks_soon_after_each_minute_and_sooner_where_it_is_behind(now, behind, due) -> None:
    assert next_turn(now, behind=behind) == due


@pytest.mark.parametrize(("in_vain", "seconds"), [(0, 2), (1, 4), (3, 16), (4, 32), (5, 57.5), (99, 57.5)])
def test_turns_in_vain_come_after_growing_pauses_until_the_next_minute(in_vain: int, seconds: float) -> None:
    assert next_turn(after(3), behind=True, in_vain=in_vain) == after(3 + seconds)


@pytest.mark.parametrize(
    ("heard", "now", "waits"),
    [
        (after(-120), after(1), True),
        (after(-60), after(1), False),  # it is there
        (after(-120), after(3.9), True),
        (after(-120), after(4), False),  # REST says it without
        (after(-180), after(1), True),
        (after(-240), after(0.9), True),  # the exchange may not have closed it yet
        (after(-240), after(1), False),  # the collector hears nothing of it
        (None, after(0.9), True),
        (None, after(1), False),
        (after(-60), after(0.5), False),  # the row says that it has
        (after(-120), after(-1), False),  # the clock was set back: it would be waited for until it is there again
    ],
)
def test_a_minute_that_is_about_to_be_heard_is_waited_for(heard, now, waits) -> None:
    assert waits_for(heard, after(-60), now) is waits


@pytest.mark.parametrize(
    ("ready", "waiting", "now", "ahead"),
    [
        (19, 1, after(1.4), False),
        (19, 1, after(1.5), True),
        (10, 10, after(1.5), True),
        (9, 11, after(1.5), False),  # few do not go ahead of many
        (0, 3, after(3), False),
    ],
)
def test_most_go_ahead_of_the_late_ones(ready, waiting, now, ahead) -> None:
    assert goes_ahead(ready, waiting, after(-60), now) is ahead


def test_a_builder_is_silent_when_its_last_sign_is_old_or_there_is_none() -> None:
    patience = timedelta(seconds=90)
    assert silent_for(after(0), after(89), patience) is None
    assert silent_for(after(0), after(90), patience) == patience
    assert silence_text(patience) == "the resident builder has been silent for 90 s"
    assert silent_for(after(89), after(0), patience) is None
    ahead = silent_for(after(3600), after(0), patience)
    assert ahead == -HOUR, "of a clock that was set back since"
    assert "set back by 3600 s" in silence_text(ahead)
    never = silent_for(None, after(0), patience)
    assert never is not None
    assert "never heard" in silence_text(never)


def test_the_open_hour_is_told_every_five_minutes_and_at_its_seal_and_nothing_twice() -> None:
    row = partition(OPEN, complete=False)
    assert due_reports([row], {}, NOW) == [row]
    told = {OPEN: ToldHour(row.content_hash[:16], row.expected_rows, NOW)}
    assert due_reports([row], told, NOW + HOUR) == []
    grown = replace(row, content_hash="f" * 64)
    assert due_reports([grown], told, NOW + 5 * MINUTE - timedelta(seconds=1)) == []
    assert due_reports([grown], told, NOW + 5 * MINUTE) == [grown]
    assert due_reports([grown], told, NOW - HOUR) == [grown], "the clock was set back: nobody waits for an hour"
    sealed = replace(grown, complete=True)
    assert due_reports([sealed], told, NOW + MINUTE) == [sealed]


def test_open_hours_of_all_symbols_are_told_together_and_sealed_ones_wait_for_nobody() -> None:
    row = partition(OPEN, complete=False)
    at = {"A": NOW, "B": NOW + MINUTE}
    told = {symbol: {OPEN: ToldHour("0" * 16, row.expected_rows, when)} for symbol, when in at.items()}
    held = {"A": [row], "B": [row]}
    assert due_together(held, told, NOW + 5 * MINUTE) == {}, "A waits for B"
    assert due_together(held, told, NOW + 6 * MINUTE) == held
    same = {OPEN: ToldHour(row.content_hash[:16], row.expected_rows, NOW + MINUTE)}
    assert due_together(held, told | {"B": same}, NOW + 5 * MINUTE) == {"A": [row]}, "nothing is new of B"
    sealed, new = replace(row, complete=True), partition(OPEN + HOUR, complete=False)
    assert due_together({"A": [sealed], "B": [row]}, told, NOW + 5 * MINUTE) == {"A": [sealed]}
    assert due_together({"A": [row, new], "B": [row]}, told, NOW + 5 * MINUTE) == {"A": [new]}


def test_the_memory_of_the_sensor_survives_its_cursor_and_knows_that_of_an_earlier_version() -> None:
    memory = HotMemory()
    memory.attempts.note("BTCUSDT 2026-11-18T15", "absent", NOW)
    memory.note("BTCUSDT", OPEN, ToldHour("abc", 10, NOW))
    memory.note("BTCUSDT", OPEN - HOUR, ToldHour("def", 60, NOW))
    again = HotMemory.load(memory.dump())
    assert again == memory
    assert HotMemory.load(memory.attempts.dump()).attempts == memory.attempts
    assert HotMemory.load("[1]") == HotMemory.load("no JSON") == HotMemory.load(None) == HotMemory()
    again.forget_before(OPEN)
    assert list(again.told["BTCUSDT"]) == [OPEN]
