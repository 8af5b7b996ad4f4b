"""The small parts of the ingest: runs of hours, feeds and when they are due, the claim on a root."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from lake_assets.tables.um_minute import UM_MINUTE
from lake_assets.windows import hours_between, runs_of
from lake_resources.clock import HOUR, MINUTE
from lake_resources.errors import SettingsError
from lake_resources.storage.root import claim_root

DAY = datetime(2026, 2, 15, tzinfo=UTC)


def at(hour: float) -> datetime:
    return DAY + hour * HOUR


@pytest.mark.parametrize(
    ("hours", "longest", "wanted"),
    [
        ([], None, []),
        ([3], None, [(3, 4)]),
        ([5, 3, 4, 4], None, [(3, 6)]),
        ([1, 3, 4], None, [(1, 2), (3, 5)]),
        ([0, 1, 2, 3, 4], 2, [(0, 2), (2, 4), (4, 5)]),
        ([0, 1, 3], 1, [(0, 1), (1, 2), (3, 4)]),
        ([0, 1, 2], 24, [(0, 3)]),
    ],
)
def test_hours_are_asked_for_in_runs(hours: list[int], longest: int | None, wanted: list[tuple[int, int]]) -> None:
    found = list(runs_of([at(hour) for hour in hours], longest=longest))
    assert found == [(at(first), at(last)) for first, last in wanted]
    assert sorted({hour for run in found for hour in hours_between(*run)}) == sorted({at(hour) for hour in hours})


@pytest.mark.parametrize(
    ("max_ffill_minutes", "book", "metrics"), [(0, 0, 1), (1, 1, 1), (55, 1, 1), (56, 1, 2), (60, 1, 2), (1440, 24, 25)]
)
def test_feeds_look_back_as_far_as_values_are_carried(max_ffill_minutes: int, book: int, metrics: int) -> None:
    found = UM_MINUTE.uses_carrying(max_ffill_minutes)
    assert found.keys() == UM_MINUTE.uses.keys()
    assert (found["book_ticker"].look_back_hours, found["metrics"].look_back_hours) == (book, metrics)
    assert found["funding_rate"] == UM_MINUTE.uses["funding_rate"]


def test_the_declared_feeds_are_those_of_an_hour_of_carrying() -> None:
    assert UM_MINUTE.uses_carrying(60) == UM_MINUTE.uses


@pytest.mark.parametrize(
    ("stream", "rows", "after_end", "final"),
    [
        ("klines_1m", 60, 2 * MINUTE, False),
        ("klines_1m", 60, 3 * MINUTE, True),
        ("klines_1m", 59, 23 * HOUR, False),
        ("klines_1m", 59, 24 * HOUR, False),
        ("agg_trades", 0, 3 * MINUTE, True),
        ("metrics", 12, 14 * MINUTE, False),
        ("metrics", 12, 15 * MINUTE, True),
        ("agg_trades", 5, -30 * MINUTE, False),
    ],
)
def test_an_answer_is_final_once_it_cannot_change(stream: str, rows: int, after_end: timedelta, final: bool) -> None:
    assert UM_MINUTE.uses[stream].is_final(DAY, rows, DAY + HOUR + after_end) is final


@pytest.mark.parametrize(
    ("stream", "day", "now", "due"),
    [
        ("klines_1m", date(2026, 2, 14), at(8.4), False),
        ("klines_1m", date(2026, 2, 14), at(8.5), True),
        ("klines_1m", date(2019, 12, 30), at(0), False),
        ("book_ticker", date(2024, 3, 30), at(0), True),
        ("book_ticker", date(2024, 3, 31), at(0), False),
        ("book_ticker", date(2023, 5, 15), at(0), False),
        ("funding_rate", date(2026, 2, 1), datetime(2026, 3, 2, 7, tzinfo=UTC), False),
        ("funding_rate", date(2026, 2, 1), datetime(2026, 3, 2, 8, tzinfo=UTC), True),
        ("funding_rate", date(2025, 12, 31), datetime(2026, 1, 2, 9, tzinfo=UTC), True),
    ],
)
def test_an_archive_is_asked_for_when_it_can_be_there(stream: str, day: date, now: datetime, due: bool) -> None:
    assert UM_MINUTE.uses[stream].archive_due(day, now) is due


def test_a_month_is_the_period_of_each_of_its_days() -> None:
    assert UM_MINUTE.uses["funding_rate"].period(date(2026, 2, 28)) == "2026-02"
    assert UM_MINUTE.uses["klines_1m"].period(date(2026, 2, 28)) == "2026-02-28"


def test_a_root_belongs_to_one_exchange(tmp_path: Path) -> None:
    root = tmp_path / "new" / "lake"
    claim_root(root, "simulator")
    claim_root(root, "simulator")
    with pytest.raises(
        SettingsError, match=r"holds data of the exchange 'simulator', the settings say 'binance'.*LAKE_ROOT"
    ):
        claim_root(root, "binance")
    assert [path.name for path in root.iterdir()] == ["EXCHANGE"]


def test_first_users_of_a_root_may_race(tmp_path: Path) -> None:
    for attempt in range(50):
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(claim_root, [tmp_path / str(attempt)] * 4, ["simulator"] * 4))
        assert (tmp_path / str(attempt) / "EXCHANGE").read_text() == "simulator\n"
