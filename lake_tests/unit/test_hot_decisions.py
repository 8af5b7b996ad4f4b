"""Which hours a tick of the hot band builds: from ledger facts and an instant, without Dagster."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import chain, pairwise

import pytest

from lake_assets.automation.attempts import Attempts
from lake_assets.automation.hot import (
    BACKOFF,
    RESIDENT,
    HotHour,
    hot_hours,
    hot_window,
    is_due,
    plan_tick,
    settled_after,
)
from lake_assets.tables.um_minute import UM_MINUTE
from lake_resources.backoff import Backoff
from lake_resources.clock import HOUR
from lake_tests.support.minute_hours import partition

OPEN = datetime(2026, 11, 18, 15, tzinfo=UTC)
SETTLED_AFTER = settled_after(UM_MINUTE)


def at(minute: float, second: float = 0) -> datetime:
    return OPEN + timedelta(minutes=minute, seconds=second)


def held(
    until: datetime, *, complete: bool = False, unsettled: bool = False, heard_later: bool = False, state: str = ""
) -> HotHour:
    return HotHour(until, complete, unsettled, heard_later, f"{until}{complete}{unsettled}{state}")


def sealed(hour: datetime) -> HotHour:
    return held(hour + HOUR, complete=True)


def band(open_hour: HotHour | None) -> dict[datetime, HotHour]:
    rows = {OPEN - index * HOUR: sealed(OPEN - index * HOUR) for index in range(1, 7)}
    return rows if open_hour is None else rows | {OPEN: open_hour}


@pytest.mark.parametrize(
    ("now", "row", "due"),
    [
        (at(0, 30), None, False),  # no minute of it is closed
        (at(1, 1), None, False),  # closed, but the exchange may still be at it
        (at(1, 3), None, True),
        (at(10, 30), held(at(10)), False),
        (at(10, 30), held(at(9)), True),
        (at(11, 1), held(at(10)), False),
        (at(11, 2), held(at(10)), True),
        (at(61), held(at(60)), False),  # whole but provisional: it is sealed when the lag is over
        (at(63), held(at(60)), True),
        (at(70), held(at(60), complete=True), False),
        (at(70), held(at(60), complete=True, unsettled=True), False),  # slow series may still change
        (at(60) + SETTLED_AFTER, held(at(60), complete=True, unsettled=True), True),
        (at(60) + SETTLED_AFTER, held(at(60), complete=True), False),
    ],
)
def test_an_hour_is_due_when_building_it_would_add_something(now, row, due) -> None:
    assert is_due(OPEN, row, now, 3) is due


def window(now, first=OPEN - 1000 * HOUR):
    found = hot_window(now, 6, first=first)
    assert found is not None
    return found


def plan(rows, now, attempts=None, symbols=("BTCUSDT",)):
    found = plan_tick(
        dict.fromkeys(symbols, rows), now, window=window(now), lag_minutes=3, attempts=attempts or Attempts()
    )
    return None if found is None else (found.symbols, found.first, found.last)


def test_only_the_open_hour_of_a_sealed_band() -> None:
    assert plan(band(held(at(10))), at(11, 5)) == (("BTCUSDT",), OPEN, OPEN)
    assert plan(band(held(at(11))), at(11, 5)) is None


def test_all_symbols_share_one_run_and_those_without_need_stay_out() -> None:
    rows = {"BTCUSDT": band(held(at(11))), "ETHUSDT": band(held(at(10))), "SOLUSDT": band(None)}
    found = plan_tick(rows, at(11, 5), window=window(at(11, 5)), lag_minutes=3, attempts=Attempts())
    assert found is not None
    assert found.symbols == ("ETHUSDT", "SOLUSDT")


def test_an_empty_band_gets_its_newest_hours_first_and_the_older_ones_next() -> None:
    attempts = Attempts()
    assert plan({}, at(11, 5), attempts) == (("BTCUSDT",), OPEN - HOUR, OPEN)
    newest = {OPEN: held(at(11)), OPEN - HOUR: sealed(OPEN - HOUR)}
    assert plan(newest, at(11, 35), attempts) == (("BTCUSDT",), OPEN - 6 * HOUR, OPEN - 2 * HOUR)


def test_the_resident_builder_fills_an_empty_band_piece_by_piece_and_looks_at_the_open_hours_between() -> None:
    symbols, attempts = [f"S{number}USDT" for number in range(5)], Attempts()
    rows = {symbol: {OPEN: held(at(10)), OPEN - HOUR: sealed(OPEN - HOUR)} for symbol in symbols}

    def planned(now):
        found = plan_tick(rows, now, window=window(now), lag_minutes=3, attempts=attempts, pace=RESIDENT)
        return [] if found is None else list(found.hours)

    def filled(now):
        piece = planned(now)
        for symbol, hour in piece:
            rows[symbol][hour] = sealed(hour)
        return piece

    assert planned(at(11, 1)) == [(symbol, OPEN) for symbol in symbols], "open hours go first"
    for symbol in symbols:
        rows[symbol][OPEN] = held(at(11))
    pieces = [filled(at(11, 6 + number)) for number in range(4)]
    assert [len(piece) for piece in pieces] == [10, 10, 5, 0]
    older = [OPEN - hours * HOUR for hours in range(6, 1, -1)]
    assert list(chain(*pieces)) == [(symbol, hour) for symbol in symbols for hour in older]


def test_after_the_close_the_hour_gets_its_last_minutes_is_sealed_and_settled_once() -> None:
    """One symbol over 30 minutes of 30 s ticks; a run does exactly what the ledger would then say."""
    rows = band(held(at(59)))
    attempts, runs = Attempts(), []
    for tick in range(60):
        now = at(60) + timedelta(seconds=5 + 30 * tick)
        found = plan_tick({"BTCUSDT": rows}, now, window=window(now), lag_minutes=3, attempts=attempts)
        if found is None:
            continue
        for _, hour in found.hours:
            minute = (now - timedelta(seconds=2)).replace(second=0)
            settled = now >= hour + HOUR + SETTLED_AFTER
            whole = now >= hour + HOUR + timedelta(minutes=3)
            rows[hour] = held(min(minute, hour + HOUR), complete=whole, unsettled=whole and not settled)
            if hour == OPEN:
                runs.append(round((now - at(60)).total_seconds()))
    assert runs == [5, 185, 905]


def test_an_hour_that_does_not_change_is_tried_with_growing_pauses() -> None:
    attempts, tried = Attempts(), []
    for tick in range(60):
        now = at(11, 5) + timedelta(seconds=30 * tick)
        attempts = Attempts.load(attempts.dump())
        if plan({**band(None), OPEN: held(at(1))}, now, attempts):
            tried.append(30 * tick)
    assert tried == [0, 30, 90, 180, 360, 660, 960, 1260, 1560]


def test_the_resident_builder_tries_an_open_hour_again_after_a_minute_at_most_and_an_old_one_after_five() -> None:
    """An exchange that comes back after a long outage must not find the band waiting for minutes more."""
    old, attempts = OPEN - 4 * HOUR, Attempts()
    tried: dict[datetime, list[datetime]] = {OPEN: [], old: []}
    for second in range(1_800):
        now = at(11, 5) + timedelta(seconds=second)
        rows = {"BTCUSDT": band(held(at(1))) | {old: held(old)}}
        found = plan_tick(rows, now, window=window(now), lag_minutes=3, attempts=attempts, pace=RESIDENT)
        for _, hour in () if found is None else found.hours:
            tried[hour].append(now)
    pauses = {hour: max((after - before).seconds for before, after in pairwise(times)) for hour, times in tried.items()}
    assert pauses == {OPEN: 60, old: 300}


def test_an_attempt_from_before_the_clock_was_set_back_keeps_nothing_waiting() -> None:
    attempts, rows = Attempts(), band(held(at(1)))
    for tick in range(6):
        plan(rows, at(59, 5) + timedelta(seconds=30 * tick), attempts)
    assert plan(rows, at(11, 5), attempts) is not None
    assert plan(rows, at(11, 10), attempts) is None, "and it is noted anew"


def test_a_change_ends_the_pause() -> None:
    attempts = Attempts()
    for tick in range(6):
        plan(band(held(at(1))), at(11, 5) + timedelta(seconds=30 * tick), attempts)
    assert plan(band(held(at(12))), at(14, 5), attempts) is not None


def test_a_sealed_hour_of_which_the_collector_learned_more_is_built_once_more() -> None:
    attempts, early = Attempts(), OPEN - 4 * HOUR

    def learned(state: str) -> dict[datetime, HotHour]:
        return band(held(at(11))) | {early: held(early + HOUR, complete=True, heard_later=True, state=state)}

    assert plan(learned("@1"), at(11, 5), attempts) == (("BTCUSDT",), early, early)
    assert plan(learned("@1"), at(11, 40), attempts) is None, "it changed nothing, and that is that"
    assert plan(learned("@2"), at(11, 45), attempts) == (("BTCUSDT",), early, early)


def test_live_rows_are_later_only_than_the_commit_that_lacks_them() -> None:
    row = partition(OPEN)
    before, later = {OPEN: row.committed_at}, {OPEN: row.committed_at + timedelta(seconds=1)}
    assert not hot_hours([row], [], {})[OPEN].heard_later
    assert not hot_hours([row], [], before)[OPEN].heard_later
    assert hot_hours([row], [], later)[OPEN].heard_later
    assert hot_hours([row], [], later)[OPEN].fingerprint != hot_hours([row], [], before)[OPEN].fingerprint
    growing = replace(row, complete=False)
    states = {hot_hours([growing], [], heard)[OPEN].fingerprint for heard in (before, later)}
    assert len(states) == 1, "rows that come every minute must not end the pause of an hour that cannot be built"


def test_the_memory_survives_as_text_and_forgets() -> None:
    attempts = Attempts()
    attempts.note("a", "s", at(0))
    attempts.note("a", "s", at(1))
    attempts.note("b", "s", at(2))
    again = Attempts.load(attempts.dump())
    assert again.entries == attempts.entries
    assert again.entries["a"].count == 2
    assert not again.ready("a", "s", at(1, 30), BACKOFF)
    assert again.ready("a", "other", at(1, 30), BACKOFF)
    again.forget_before(at(2))
    assert set(again.entries) == {"b"}
    assert Attempts.load(None).entries == Attempts.load("not json").entries == Attempts.load("[1]").entries == {}


def test_backoff_doubles_up_to_its_longest() -> None:
    backoff = Backoff(20.0, 300.0)
    waits = [backoff.after(count).total_seconds() for count in (0, 1, 2, 3, 4, 5, 6, 500)]
    assert waits == [0, 20, 40, 80, 160, 300, 300, 300]


def test_no_hour_before_the_lake_begins_is_asked_for() -> None:
    midnight = OPEN.replace(hour=0)
    at_half_past = midnight + timedelta(minutes=30)
    found = plan_tick(
        {"BTCUSDT": {}}, at_half_past, window=window(at_half_past, midnight), lag_minutes=3, attempts=Attempts()
    )
    assert found is not None
    assert (found.first, found.last) == (midnight, midnight)
    assert hot_window(at_half_past, 6, first=midnight - HOUR) == (midnight - HOUR, midnight + HOUR)
    assert hot_window(at_half_past, 6, first=midnight + 24 * HOUR) is None
