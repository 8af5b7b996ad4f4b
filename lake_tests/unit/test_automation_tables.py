"""The decisions of automation for tables of spot: hours of seconds, days of candles."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from lake_assets.automation.attempts import Attempts
from lake_assets.automation.healing import heal_start, healable_hours, plan_healing
from lake_assets.automation.hot import HotHour, hot_hours, hot_start, hot_window, is_due, plan_tick, settled_after
from lake_assets.automation.promotion import DayState, alarm_text, daily_uses, plan_polls, plan_rebuilds
from lake_assets.build.open_hours import OpenHours, open_hours
from lake_assets.tables.spot_bars_1s import SPOT_BARS_1S
from lake_assets.tables.spot_klines import SPOT_KLINES
from lake_resources.clock import DAY, HOUR, MINUTE, SECOND
from lake_resources.storage.ledger.ledger import Archive, Capture, Intent, MissingSource, Partition
from lake_resources.storage.provenance import SourceRef
from lake_tests.support.stores import store_at

MIDNIGHT = datetime(2026, 11, 18, tzinfo=UTC)
OPEN = MIDNIGHT + 15 * HOUR
CANDLES = SPOT_KLINES["1m"]
DUE = MIDNIGHT + DAY + timedelta(hours=8, minutes=30)


def held(until: datetime, *, complete: bool = False, unsettled: bool = False) -> HotHour:
    return HotHour(until, complete, unsettled, False, f"{until}{complete}{unsettled}")


def partition(table, start: datetime, last: datetime, *, kind: str = "rest", reference: str = "capture") -> Partition:
    stream = table.row_stream
    rows = (last - start) // table.layout.grain + 1
    whole = rows == table.layout.rows_per_partition
    sources = {stream: SourceRef(stream, kind, reference)}
    return Partition(
        "SOLUSDT", start, "p", rows, rows, start, last, "s", "c" * 64, 1, "i", whole, sources, "1", last + MINUTE
    )


@pytest.mark.parametrize(
    ("now", "row", "due"),
    [
        (OPEN + 59 * SECOND, None, False),
        (OPEN + MINUTE + SECOND, None, False),
        (OPEN + MINUTE + 2 * SECOND, None, True),
        (OPEN + 10 * MINUTE + 40 * SECOND, held(OPEN + 10 * MINUTE), False),
        (OPEN + 11 * MINUTE + 2 * SECOND, held(OPEN + 10 * MINUTE + 30 * SECOND), True),
        (OPEN + 61 * MINUTE, held(OPEN + HOUR), False),
        (OPEN + 63 * MINUTE, held(OPEN + HOUR), True),
        (OPEN + 70 * MINUTE, held(OPEN + HOUR, complete=True), False),
    ],
)
def test_an_hour_of_seconds_is_due_once_a_minute(now, row, due) -> None:
    assert is_due(OPEN, row, now, 3, SPOT_BARS_1S) is due


@pytest.mark.parametrize(
    ("now", "row", "due"),
    [
        (MIDNIGHT + 4 * MINUTE, None, False),
        (MIDNIGHT + 5 * MINUTE + 2 * SECOND, None, True),
        (MIDNIGHT + 9 * MINUTE, held(MIDNIGHT + 5 * MINUTE), False),
        (MIDNIGHT + 10 * MINUTE + 2 * SECOND, held(MIDNIGHT + 5 * MINUTE), True),
        (MIDNIGHT + DAY + MINUTE, held(MIDNIGHT + DAY), False),
        (MIDNIGHT + DAY + 3 * MINUTE, held(MIDNIGHT + DAY), True),
        (MIDNIGHT + DAY + 3 * MINUTE, held(MIDNIGHT + DAY, complete=True, unsettled=True), True),
        (MIDNIGHT + DAY + HOUR, held(MIDNIGHT + DAY, complete=True), False),
    ],
)
def test_a_day_of_candles_is_due_every_five_minutes_and_when_it_closes_for_good(now, row, due) -> None:
    assert is_due(MIDNIGHT, row, now, 3, CANDLES) is due


def test_a_candle_of_a_day_is_due_when_the_day_is_over() -> None:
    days = SPOT_KLINES["1d"]
    assert not is_due(MIDNIGHT, None, MIDNIGHT + 23 * HOUR, 3, days)
    assert is_due(MIDNIGHT, None, MIDNIGHT + DAY + 2 * SECOND, 3, days)
    assert settled_after(days) == 23 * HOUR + 3 * MINUTE


def test_the_band_of_days_holds_yesterday_while_its_last_hours_are_hot() -> None:
    layout, early = CANDLES.layout, MIDNIGHT + 5 * HOUR
    assert hot_start(early, 6, layout) == MIDNIGHT - DAY
    assert hot_start(MIDNIGHT + 6 * HOUR, 6, layout) == MIDNIGHT
    assert hot_window(early, 6, first=MIDNIGHT - 9 * DAY, layout=layout) == (MIDNIGHT - DAY, MIDNIGHT + DAY)
    assert hot_window(early, 6, first=MIDNIGHT, layout=layout) == (MIDNIGHT, MIDNIGHT + DAY)
    assert hot_window(early, 6, first=MIDNIGHT + DAY, layout=layout) is None


def test_one_run_holds_the_days_of_all_symbols() -> None:
    now, layout = MIDNIGHT + 5 * HOUR, CANDLES.layout
    window = hot_window(now, 6, first=MIDNIGHT - 9 * DAY, layout=layout)
    assert window is not None
    rows = {"SOLUSDT": {}, "ADAUSDT": {MIDNIGHT - DAY: held(MIDNIGHT, complete=True), MIDNIGHT: held(now)}}
    attempts = Attempts()
    run = plan_tick(rows, now, window=window, lag_minutes=3, attempts=attempts, table=CANDLES)
    assert run is not None
    assert (run.symbols, run.first, run.last) == (("SOLUSDT",), MIDNIGHT - DAY, MIDNIGHT)
    assert sorted(attempts.entries) == ["SOLUSDT 2026-11-17", "SOLUSDT 2026-11-18"]
    again = plan_tick(rows, now + SECOND, window=window, lag_minutes=3, attempts=attempts, table=CANDLES)
    assert again is None, "asked for a moment ago"


def test_rows_end_by_the_grain_and_answers_of_other_streams_unsettle_nothing() -> None:
    def answer(stream: str) -> Capture:
        at = OPEN + HOUR + MINUTE
        return Capture("SOLUSDT", stream, OPEN, "p", 1, OPEN, OPEN + HOUR, False, "r", "h", at)

    second = partition(SPOT_BARS_1S, OPEN, OPEN + HOUR - SECOND)
    found = hot_hours([second], [answer("klines_1m")], {}, SPOT_BARS_1S)[OPEN]
    assert (found.rows_until, found.complete, found.unsettled) == (OPEN + HOUR, True, False)
    assert hot_hours([second], [answer("klines_1s")], {}, SPOT_BARS_1S)[OPEN].unsettled
    day = partition(CANDLES, MIDNIGHT, MIDNIGHT + DAY - MINUTE)
    late = replace(answer("klines_1m"), hour=OPEN)
    assert hot_hours([day], [late], {}, CANDLES)[MIDNIGHT].unsettled


def test_holes_of_days_are_days_and_neighbours_share_a_run() -> None:
    memories = {"klines_1m": None}
    now = MIDNIGHT + 10 * HOUR
    row = MissingSource("SOLUSDT", "klines_1m", "2026-11-14T05", "rest", "why", now, now, 1, None)
    hours = OpenHours((MIDNIGHT - 2 * DAY,), {MIDNIGHT - 3 * DAY: (MIDNIGHT - 3 * DAY, "c" * 64)}, {})
    found = healable_hours("SOLUSDT", hours=hours, sources=[row], memories=memories, now=now, layout=CANDLES.layout)
    assert [(each.hour, each.cause) for each in found] == [
        (MIDNIGHT - 4 * DAY, "source"), (MIDNIGHT - 3 * DAY, "incomplete"), (MIDNIGHT - 2 * DAY, "missing"),
    ]  # fmt: skip
    attempts = Attempts()
    (run,) = plan_healing(found, now, cap=24, memories=memories, attempts=attempts, layout=CANDLES.layout)
    assert (run.first, run.last) == (MIDNIGHT - 4 * DAY, MIDNIGHT - 2 * DAY)
    assert "SOLUSDT 2026-11-15" in attempts.entries
    assert heal_start(now, 30, memories, CANDLES) == MIDNIGHT - 30 * DAY


def test_open_partitions_are_those_of_the_ledgers_table(tmp_path) -> None:
    store = store_at(tmp_path)
    for table in (SPOT_BARS_1S, CANDLES):
        ledger, start = store.of(table.layout).ledger, MIDNIGHT
        step, grain = table.layout.step, table.layout.grain
        rows = [
            partition(table, start, start + step - grain),
            partition(table, start + step, start + step + 9 * grain),
        ]
        ledger.write_intents([Intent(row, "t") for row in rows])
        ledger.commit_intents("SOLUSDT")
        found = open_hours(ledger, "SOLUSDT", start, start + 3 * step)
        assert found.absent == (start + 2 * step,)
        assert found.incomplete == {start + step: (start + step + 10 * grain, "c" * 64)}
    store.close()


def archive(stream: str, sha: str = "a", fetched: datetime = DUE) -> Archive:
    return Archive(
        "SOLUSDT", stream, "2026-11-18", sha * 64, "url", "path", 1, None, None, "c" * 64, 1, "verified", fetched
    )


def day_of(table, *rows: Partition, archives=()) -> DayState:
    return DayState("SOLUSDT", date(2026, 11, 18), rows, {each.stream: each for each in archives}, {}, table=table)


@pytest.mark.parametrize("table", [SPOT_BARS_1S, CANDLES], ids=lambda table: table.name)
def test_an_archive_is_asked_for_when_it_is_due_and_the_day_is_built_from_it_once(table) -> None:
    stream, end = table.row_stream, MIDNIGHT + table.layout.step - table.layout.grain
    assert list(daily_uses(table)) == [stream]
    told = partition(table, MIDNIGHT, end)
    assert plan_polls([day_of(table, told)], DUE - MINUTE, cap=9, attempts=Attempts()) == []
    (poll,) = plan_polls([day_of(table, told)], DUE + DAY, cap=9, attempts=Attempts())
    assert (poll.stream, poll.late) == (stream, True)
    assert f"{stream} of spot SOLUSDT for 2026-11-18" in alarm_text(poll, table)

    def rebuilt(*rows: Partition, vintage: Archive) -> list[tuple[int, tuple[str, ...]]]:
        found = plan_rebuilds([day_of(table, *rows, archives=[vintage])], DUE, cap=4, attempts=Attempts())
        return [(each.hours, each.streams) for each in found]

    assert rebuilt(told, vintage=archive(stream)) == [(1, (stream,))]
    promoted = partition(table, MIDNIGHT, end, kind="archive", reference="a" * 64)
    assert rebuilt(promoted, vintage=archive(stream)) == []
    assert rebuilt(promoted, vintage=archive(stream, "b")) == [(1, (stream,))]


def test_a_day_that_answers_complete_is_settled_until_its_archive_is_published_anew() -> None:
    mixed = partition(CANDLES, MIDNIGHT, MIDNIGHT + DAY - MINUTE, kind="archive+rest", reference="f" * 64)
    mixed = replace(mixed, committed_at=DUE + HOUR)
    day = day_of(CANDLES, mixed, archives=[archive("klines_1m")])
    assert plan_rebuilds([day], DUE + DAY, cap=4, attempts=Attempts()) == []
    later = day_of(CANDLES, mixed, archives=[archive("klines_1m", "b", DUE + 2 * HOUR)])
    assert len(plan_rebuilds([later], DUE + DAY, cap=4, attempts=Attempts())) == 1
