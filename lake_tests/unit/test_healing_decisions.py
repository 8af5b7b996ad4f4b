"""Which holes of the warm band are tried again, in which order, and how often."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from lake_assets.automation.attempts import Attempts
from lake_assets.automation.healing import BACKOFF, HealableHour, HealRun, heal_start, healable_hours, plan_healing
from lake_assets.build.open_hours import OpenHours
from lake_resources.clock import HOUR
from lake_resources.storage.ledger.ledger import MissingSource

NOW = datetime(2026, 11, 18, 15, 30, tzinfo=UTC)
FLOOR = NOW.replace(minute=0)
MEMORIES = {"klines_1m": None, "agg_trades": timedelta(hours=47), "metrics": timedelta(days=29)}


def ago(hours: int) -> datetime:
    return FLOOR - hours * HOUR


def source(stream: str, hour: datetime, kind: str = "rest") -> MissingSource:
    return MissingSource("BTCUSDT", stream, f"{hour:%Y-%m-%dT%H}", kind, "why", hour, hour, 1, None)


def holes(**given) -> list[HealableHour]:
    hours = OpenHours(given.get("absent", ()), given.get("incomplete", {}), given.get("quarantined", {}))
    return healable_hours("BTCUSDT", hours=hours, sources=given.get("sources", ()), memories=MEMORIES, now=NOW)


def plan(queue, now: datetime = NOW, *, cap: int = 24, attempts: Attempts | None = None) -> list[HealRun]:
    return plan_healing(queue, now, cap=cap, memories=MEMORIES, attempts=attempts or Attempts())


def hole(hours: int, symbol: str = "BTCUSDT", state: str = "absent") -> HealableHour:
    return HealableHour(symbol, ago(hours), "missing", state)


def ran(runs) -> list[tuple[str, int, int]]:
    return [(run.symbol, (FLOOR - run.first) // HOUR, (FLOOR - run.last) // HOUR) for run in runs]


def test_the_four_kinds_of_holes() -> None:
    found = holes(
        absent=(ago(30),),
        incomplete={ago(25): (ago(25) + timedelta(minutes=40), "c" * 64)},
        quarantined={ago(20): "continuity"},
        sources=[source("agg_trades", ago(10))],
    )
    assert [(each.hour, each.cause) for each in found] == [
        (ago(30), "missing"),
        (ago(25), "incomplete"),
        (ago(20), "quarantined"),
        (ago(10), "source"),
    ]


def test_the_reach_is_what_rest_has_of_the_streams_that_every_hour_needs() -> None:
    assert heal_start(NOW, 30, MEMORIES) == FLOOR - timedelta(days=30)
    assert heal_start(NOW, 400, MEMORIES) == FLOOR - timedelta(days=400)
    assert heal_start(NOW, 400, MEMORIES | {"klines_1m": timedelta(days=50)}) == FLOOR - timedelta(days=50)


def test_a_source_that_rest_no_longer_has_is_left_to_the_archive() -> None:
    found = holes(
        sources=[
            source("agg_trades", ago(60)),
            source("metrics", ago(61)),
            source("book_ticker", ago(62)),
            source("klines_1m", ago(63), "archive"),
        ]
    )
    assert [each.hour for each in found] == [ago(61)]


def test_neighbours_share_a_run_and_symbols_do_not() -> None:
    runs = plan([hole(10), hole(9), hole(7), hole(9, "ETHUSDT")])
    assert ran(runs) == [("BTCUSDT", 10, 9), ("BTCUSDT", 7, 7), ("ETHUSDT", 9, 9)]


def test_what_rest_forgets_next_comes_first_and_what_it_has_forgotten_last() -> None:
    attempts = Attempts()
    month = 29 * 24
    queue = [hole(hours) for hours in (month + 2, month + 1, month - 1, month - 40, 100, 90, 46, 20)]
    ticks = [ran(plan(queue, cap=2, attempts=attempts)) for _ in range(5)]
    assert [[run[1:] for run in tick] for tick in ticks] == [
        [(month - 1, month - 1), (46, 46)],
        [(month - 40, month - 40), (20, 20)],
        [(100, 100), (90, 90)],
        [(month + 2, month + 1)],
        [],
    ]


def test_nothing_is_asked_twice_within_its_backoff_over_a_day() -> None:
    attempts, asked = Attempts(), []
    for tick in range(288):
        now = NOW + tick * timedelta(minutes=5)
        attempts = Attempts.load(attempts.dump())
        if plan([HealableHour("BTCUSDT", ago(8), "quarantined", "gap")], now, attempts=attempts):
            asked.append(tick * 5)
    assert asked == [0, 5, 15, 35, 75, 155, 315, 635, 995, 1355]
    assert all(
        timedelta(minutes=later - earlier) >= BACKOFF.after(count)
        for count, (earlier, later) in enumerate(zip(asked, asked[1:], strict=False), start=1)  # noqa: RUF007
    )


def test_a_changed_hole_is_tried_at_once() -> None:
    attempts = Attempts()
    assert plan([hole(8, state="gap of 3")], NOW, attempts=attempts)
    later = NOW + timedelta(minutes=1)
    assert not plan([hole(8, state="gap of 3")], later, attempts=attempts)
    assert plan([hole(8, state="gap of 2")], later, attempts=attempts)


def test_attempts_on_holes_that_are_gone_are_forgotten() -> None:
    attempts = Attempts()
    plan([hole(8), hole(9)], attempts=attempts)
    plan([hole(9)], attempts=attempts)
    assert list(attempts.entries) == ["BTCUSDT 2026-11-18T06"]
