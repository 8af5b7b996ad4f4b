"""Which holes of the warm band are tried again, in which order, and how often."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from lake_assets.automation.attempts import Attempts
from lake_assets.automation.healing import BACKOFF, Hole, find_holes, plan_healing
from lake_resources.storage.ledger import MissingSource

HOUR = timedelta(hours=1)
NOW = datetime(2026, 11, 18, 15, 30, tzinfo=UTC)
FLOOR = NOW.replace(minute=0)
REACH = {"klines_1m": None, "agg_trades": timedelta(hours=47), "metrics": timedelta(days=29)}


def ago(hours: int) -> datetime:
    return FLOOR - hours * HOUR


def source(stream: str, hour: datetime, kind: str = "rest") -> MissingSource:
    return MissingSource("BTCUSDT", stream, f"{hour:%Y-%m-%dT%H}", kind, "why", hour, hour, 1, None)


def holes(**given) -> list[Hole]:
    facts = {"missing": (), "quarantined": {}, "sources": ()} | given
    return find_holes("BTCUSDT", reach=REACH, now=NOW, **facts)


def hole(hours: int, symbol: str = "BTCUSDT", state: str = "absent") -> Hole:
    return Hole(symbol, ago(hours), "missing", state)


def ran(runs) -> list[tuple[str, int, int]]:
    return [(run.symbol, (FLOOR - run.first) // HOUR, (FLOOR - run.last) // HOUR) for run in runs]


def test_the_three_kinds_of_holes() -> None:
    found = holes(missing=[ago(30)], quarantined={ago(20): "continuity"}, sources=[source("agg_trades", ago(10))])
    assert [(each.hour, each.cause) for each in found] == [
        (ago(30), "missing"),
        (ago(20), "quarantined"),
        (ago(10), "source"),
    ]


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
    runs = plan_healing([hole(10), hole(9), hole(7), hole(9, "ETHUSDT")], NOW, cap=24, attempts=Attempts())
    assert ran(runs) == [("BTCUSDT", 10, 9), ("BTCUSDT", 7, 7), ("ETHUSDT", 9, 9)]


def test_hours_about_to_leave_rests_memory_come_first_then_the_newest() -> None:
    attempts = Attempts()
    queue = [hole(hours) for hours in (100, 90, 50, 47, 20, 8)]
    ticks = [ran(plan_healing(queue, NOW, cap=2, attempts=attempts)) for _ in range(4)]
    assert ticks == [
        [("BTCUSDT", 47, 47), ("BTCUSDT", 20, 20)],
        [("BTCUSDT", 50, 50), ("BTCUSDT", 8, 8)],
        [("BTCUSDT", 100, 100), ("BTCUSDT", 90, 90)],
        [],
    ]


def test_nothing_is_asked_twice_within_its_backoff_over_a_day() -> None:
    attempts, asked = Attempts(), []
    for tick in range(288):
        now = NOW + tick * timedelta(minutes=5)
        attempts = Attempts.load(attempts.dump())
        if plan_healing([Hole("BTCUSDT", ago(8), "quarantined", "gap")], now, cap=24, attempts=attempts):
            asked.append(tick * 5)
    assert asked == [0, 5, 15, 35, 75, 155, 315, 635, 995, 1355]
    assert all(
        timedelta(minutes=later - earlier) >= BACKOFF.after(count)
        for count, (earlier, later) in enumerate(zip(asked, asked[1:], strict=False), start=1)  # noqa: RUF007
    )


def test_a_changed_hole_is_tried_at_once() -> None:
    attempts = Attempts()
    assert plan_healing([hole(8, state="gap of 3")], NOW, cap=1, attempts=attempts)
    later = NOW + timedelta(minutes=1)
    assert not plan_healing([hole(8, state="gap of 3")], later, cap=1, attempts=attempts)
    assert plan_healing([hole(8, state="gap of 2")], later, cap=1, attempts=attempts)
