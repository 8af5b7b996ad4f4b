"""When Vision is asked for a day, when it is late, and which days are rebuilt from their archives."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

from lake_assets.automation.attempts import Attempts
from lake_assets.automation.promotion import (
    DayState,
    alarm_text,
    daily_uses,
    note_asked,
    plan_polls,
    plan_rebuilds,
)
from lake_assets.tables.um_minute import UM_MINUTE
from lake_resources.clock import MINUTE
from lake_resources.storage.ledger.ledger import Archive, MissingSource, Partition
from lake_resources.storage.provenance import SourceRef

DAY = date(2026, 11, 18)
MIDNIGHT = datetime(2026, 11, 18, tzinfo=UTC)
DUE = MIDNIGHT + timedelta(days=1, hours=8, minutes=30)
STREAMS = [name for name, feed in daily_uses(UM_MINUTE).items() if feed.could_have_archive(DAY)]


def archive(stream: str, sha: str = "a", fetched: datetime = DUE) -> Archive:
    return Archive(
        "BTCUSDT", stream, DAY.isoformat(), sha * 64, "url", "path", 1440, None, None, "c" * 64, 1, "verified", fetched
    )


def partition(hour: int, **kinds: str) -> Partition:
    sources = {
        name: SourceRef(name, "archive" if kinds.get(name) else "rest", kinds.get(name, "capture")) for name in STREAMS
    }
    return Partition(
        "BTCUSDT", MIDNIGHT + timedelta(hours=hour), "p", 60, 60, None, None, "s", "c", 1, "i", True, sources, "1", DUE
    )


def state(archives=(), partitions=None, missing=()) -> DayState:
    held, open_rows = {row.stream: row for row in archives}, {row.stream: row for row in missing}
    return DayState("BTCUSDT", DAY, tuple(partitions or [partition(3)]), held, open_rows)


def absent(stream: str, at: datetime) -> MissingSource:
    return MissingSource("BTCUSDT", stream, DAY.isoformat(), "archive", "404", at, at, 1, None)


def polls(day: DayState, now: datetime, attempts: Attempts | None = None, cap: int = 60):
    return plan_polls([day], now, cap=cap, attempts=attempts or Attempts())


def test_streams_of_the_day() -> None:
    assert STREAMS == [
        "klines_1m", "mark_price_klines_1m", "index_price_klines_1m", "premium_index_klines_1m", "agg_trades",
        "metrics",
    ]  # fmt: skip


def test_nobody_asks_before_half_past_eight_of_the_next_day() -> None:
    assert polls(state(), DUE - MINUTE) == []
    found = polls(state(), DUE)
    assert [poll.stream for poll in found] == STREAMS
    assert not any(poll.late for poll in found)


def test_the_pauses_grow_and_the_queue_stays_open_for_weeks() -> None:
    now, asked = DUE, [DUE]
    while now < DUE + timedelta(days=28):
        now += 5 * MINUTE
        if polls(state(missing=[absent(name, asked[-1]) for name in STREAMS]), now):
            asked.append(now)
    hours = [(at - DUE) / timedelta(hours=1) for at in asked]
    assert len([hour for hour in hours if hour < 4]) == 48
    assert len([hour for hour in hours if 4 <= hour < 28]) <= 49
    assert len([hour for hour in hours if 28 <= hour < 240]) <= 72
    assert hours[-1] > 24 * 27


def test_it_is_an_alarm_two_days_after_the_day() -> None:
    assert not polls(state(), DUE + timedelta(days=1) - MINUTE)[0].late
    (poll, *_) = polls(state(), DUE + timedelta(days=1))
    assert poll.late
    text = alarm_text(poll)
    assert "klines_1m of BTCUSDT for 2026-11-18" in text
    assert "2026-11-19 08:30" in text


def test_a_cap_bounds_the_requests() -> None:
    assert len(polls(state(), DUE, cap=2)) == 2


def test_a_known_archive_is_compared_every_six_hours_for_ten_days() -> None:
    attempts, compared = Attempts(), []
    day = state(archives=[archive(name) for name in STREAMS])
    for step in range(24 * 14 * 12):
        now = DUE + step * 5 * MINUTE
        found = polls(day, now, attempts)
        if found:
            assert [poll.known_sha256 for poll in found] == ["a" * 64] * len(STREAMS)
            note_asked(found, now, attempts)
            compared.append((now - DUE) / timedelta(hours=1))
    assert compared[0] == 6
    assert compared[-1] < 240
    assert len(compared) == 39


def test_a_comparison_that_the_cap_or_vision_cut_off_is_made_at_the_next_tick() -> None:
    attempts, now = Attempts(), DUE + timedelta(hours=6)
    day = state(archives=[archive(name) for name in STREAMS])
    compared: list[str] = []
    for tick in range(4):
        found = polls(day, now + tick * 5 * MINUTE, attempts, cap=3)
        answered = found[: 1 if tick == 0 else None]
        note_asked(answered, now + tick * 5 * MINUTE, attempts)
        compared += [poll.stream for poll in answered]
    assert sorted(compared) == sorted(STREAMS), "each once, in as many ticks as it takes"


def rebuilds(day: DayState, now: datetime, attempts: Attempts | None = None):
    found = plan_rebuilds([day], now, cap=4, attempts=attempts or Attempts())
    return [(each.day, each.hours, each.streams) for each in found]


def test_a_day_is_rebuilt_once_all_its_archives_are_there() -> None:
    soon = DUE + 5 * MINUTE
    everything = [archive(name) for name in STREAMS]
    assert rebuilds(state(), soon) == []
    assert rebuilds(state(everything[:2]), soon) == [], "the others are waited for"
    assert rebuilds(state(everything[:2]), DUE + timedelta(hours=1)) == [(DAY, 1, tuple(sorted(STREAMS[:2])))]
    assert rebuilds(state(everything), soon) == [(DAY, 1, tuple(sorted(STREAMS)))]


def test_an_hour_that_comes_from_its_archives_is_left_alone_until_one_is_republished() -> None:
    everything = [archive(name) for name in STREAMS]
    promoted = partition(3, **dict.fromkeys(STREAMS, "a" * 64))
    repaired = partition(4, **(dict.fromkeys(STREAMS, "a" * 64) | {"klines_1m": "a" * 64 + "+" + "f" * 64}))
    assert rebuilds(state(everything, [promoted, repaired]), DUE) == []
    again = [archive(name, "b" if name == "metrics" else "a") for name in STREAMS]
    assert rebuilds(state(again, [promoted, repaired]), DUE) == [(DAY, 2, ("metrics",))]


def test_a_rebuild_that_changes_nothing_is_not_repeated_at_every_tick() -> None:
    attempts, tried = Attempts(), []
    day = state([archive(name) for name in STREAMS])
    for tick in range(24):
        if rebuilds(day, DUE + tick * 5 * MINUTE, attempts):
            tried.append(tick * 5)
    assert tried == [0, 5, 15, 35, 75]


def test_an_hour_that_its_archive_lost_trades_of_may_stay_as_rest_or_the_collector_gave_it() -> None:
    everything = {row.stream: row for row in (archive(name) for name in STREAMS)}
    promoted = dict.fromkeys(STREAMS, "a" * 64)
    kept = partition(3, **{name: sha for name, sha in promoted.items() if name != "agg_trades"})
    assert kept.sources["agg_trades"].kind == "rest"
    day = DayState("BTCUSDT", DAY, (kept, partition(4, **promoted)), everything, {})
    assert rebuilds(day, DUE) == [(DAY, 1, ("agg_trades",))]
    torn = replace(day, torn={"agg_trades": frozenset({kept.start})})
    assert rebuilds(torn, DUE) == []
    elsewhere = replace(day, torn={"agg_trades": frozenset({kept.start + timedelta(hours=1)})})
    assert rebuilds(elsewhere, DUE) == [(DAY, 1, ("agg_trades",))]


def test_a_day_without_hours_is_asked_for_and_built_once_its_archives_are_there() -> None:
    absent = tuple(MIDNIGHT + timedelta(hours=hour) for hour in range(24))
    day = DayState("BTCUSDT", DAY, (), {}, {}, absent=absent)
    assert [poll.stream for poll in polls(day, DUE)] == STREAMS
    assert rebuilds(day, DUE) == [], "nothing to build it from"
    held = {name: archive(name) for name in STREAMS}
    assert rebuilds(replace(day, archives=held), DUE) == [(DAY, 24, ())]


def test_an_hour_that_was_never_whole_is_built_again() -> None:
    sources = dict.fromkeys(STREAMS, "a" * 64)
    cut_short = replace(partition(3, **sources), complete=False, row_count=40)
    assert rebuilds(state([archive(name) for name in STREAMS], [cut_short]), DUE) == [(DAY, 1, ())]
