"""Bands, what must exist by now, and the presets of a backfill (case A-21)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from lake_assets.tables.um_minute import UM_MINUTE
from lake_assets.windows import backfill_window, band, expected_end
from lake_resources.errors import SettingsError

NOW = datetime(2026, 2, 15, 12, 34, tzinfo=UTC)
LAG = 3


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc,arg-type]


@pytest.mark.parametrize(
    ("minutes", "expected"),
    [(-60, "hot"), (0, "hot"), (360, "hot"), (361, "warm"), (10_080, "warm"), (10_081, "cold")],
)
def test_a21_bands_include_their_bounds(minutes: int, expected: str) -> None:
    assert band(timedelta(minutes=minutes)) == expected


def test_bands_follow_their_settings() -> None:
    assert band(timedelta(hours=2), hot=timedelta(hours=1), warm=timedelta(hours=2)) == "warm"


def test_a21_all_ends_at_the_safety_lag_and_spans_1825_days() -> None:
    window = backfill_window("all", NOW, LAG)
    assert window.last_minute == utc(2026, 2, 15, 12, 31)
    assert window.last_minute - window.first_minute == timedelta(days=1825)
    assert window.end == utc(2026, 2, 15, 12, 32)


@pytest.mark.parametrize(
    ("preset", "first", "last"),
    [
        ("2024", utc(2024, 1, 1), utc(2024, 12, 31, 23, 59)),
        ("2026", utc(2026, 1, 1), utc(2026, 2, 15, 12, 31)),
        ("last-day", utc(2026, 2, 14), utc(2026, 2, 14, 23, 59)),
    ],
)
def test_a21_presets(preset: str, first: datetime, last: datetime) -> None:
    window = backfill_window(preset, NOW, LAG)
    assert (window.first_minute, window.last_minute) == (first, last)


def test_a_day_is_complete_only_after_the_safety_lag() -> None:
    assert backfill_window("last-day", utc(2026, 2, 15, 0, 2), LAG).first_minute == utc(2026, 2, 13)
    assert backfill_window("last-day", utc(2026, 2, 15, 0, 3), LAG).first_minute == utc(2026, 2, 14)


@pytest.mark.parametrize("preset", ["2027", "last year", "", "24", "0000", "²⁰²⁴"])
def test_a21_other_presets_are_refused_with_the_remedy(preset: str) -> None:
    with pytest.raises(SettingsError, match="Use `all`, `last-day` or a year that has begun"):
        backfill_window(preset, NOW, LAG)


@pytest.mark.parametrize(
    ("now", "end"),
    [
        (utc(2026, 2, 15, 11, 59), utc(2026, 2, 15, 12, 0)),
        (utc(2026, 2, 15, 12, 3, 59), utc(2026, 2, 15, 12, 0)),
        (utc(2026, 2, 15, 12, 4), utc(2026, 2, 15, 12, 1)),
        (utc(2026, 2, 15, 12, 34, 45), utc(2026, 2, 15, 12, 31)),
        (utc(2026, 2, 15, 13, 2, 59), utc(2026, 2, 15, 12, 59)),
        (utc(2026, 2, 15, 13, 3), utc(2026, 2, 15, 13, 0)),
        (utc(2027, 1, 1), utc(2026, 2, 15, 13, 0)),
    ],
)
def test_a_minute_is_expected_once_it_is_closed_for_the_lag(now: datetime, end: datetime) -> None:
    assert expected_end(UM_MINUTE.layout, utc(2026, 2, 15, 12), now, LAG) == end
