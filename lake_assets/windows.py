"""Windows of time: bands, what must exist by now, and the presets of a backfill.

Belongs here: arithmetic on instants that are given.
Does not belong here: reading a clock, partitions of Dagster.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from lake_resources.clock import HOUR, MINUTE
from lake_resources.errors import SettingsError
from lake_resources.layout import TableLayout

Band = Literal["hot", "warm", "cold"]

ALL_DAYS = 1825
"""Reach of the preset `all`: five years of 365 days."""


def band(age: timedelta, *, hot: timedelta = timedelta(hours=6), warm: timedelta = timedelta(days=7)) -> Band:
    """The band of data of that age; both bounds are inclusive.

    Args:
        age: from the end of the hour to the moment of the run; the open hour's is negative.
        hot: greatest age of the hot band.
        warm: greatest age of the warm band.
    """
    if age <= hot:
        return "hot"
    return "warm" if age <= warm else "cold"


def floor_minute(instant: datetime) -> datetime:
    """The start of the minute that holds `instant`."""
    return instant.replace(second=0, microsecond=0)


def expected_end(layout: TableLayout, start: datetime, now: datetime, lag_minutes: int) -> datetime:
    """The end (half-open) of those rows of a partition that must exist at `now`.

    A row must exist once it is closed for `lag_minutes`.

    Args:
        layout: the table's grain and partitions.
        start: start of the partition, UTC.
        now: the moment of asking, UTC.
        lag_minutes: safety lag.

    Returns:
        An instant from `start` to the end of the partition; `start` itself means that no row must exist yet.
    """
    return min(max(layout.row_start(now - timedelta(minutes=lag_minutes)), start), start + layout.step)


def hours_between(start: datetime, end: datetime) -> list[datetime]:
    """Starts of the hours in `[start, end)`; `start` is one of them."""
    return [start + index * HOUR for index in range(-((start - end) // HOUR))]


def runs_of(
    starts: Iterable[datetime], *, longest: int | None = None, step: timedelta = HOUR
) -> Iterator[tuple[datetime, datetime]]:
    """Contiguous runs of hours, or of partitions of another length, as half-open intervals, in order.

    Args:
        starts: starts of the partitions, in any order.
        longest: no run holds more of them.
        step: length of a partition.
    """
    start = end = None
    for each in sorted(set(starts)):
        if start is not None and end is not None and (each != end or end - start == (longest or 0) * step):
            yield start, end
            start = None
        start, end = start or each, each + step
    if start is not None and end is not None:
        yield start, end


@dataclass(frozen=True)
class BackfillWindow:
    """A stretch of minutes to fill.

    Attributes:
        first_minute: the first one, UTC.
        last_minute: the last one, inclusive, as people write it.
    """

    first_minute: datetime
    last_minute: datetime

    @property
    def end(self) -> datetime:
        """The half-open end."""
        return self.last_minute + MINUTE


def backfill_window(preset: str, now: datetime, lag_minutes: int) -> BackfillWindow:
    """The minutes that a preset means at `now`.

    Args:
        preset: `all` (1825 days back from the safety lag), `last-day` (the last completed UTC day), or a year such as
            `2024` (whole, or up to the safety lag).
        now: the moment of asking, UTC.
        lag_minutes: safety lag.

    Raises:
        SettingsError: an unknown preset, or a year that has not begun.
    """
    latest = floor_minute(now - timedelta(minutes=lag_minutes))
    if preset == "all":
        return BackfillWindow(latest - timedelta(days=ALL_DAYS), latest)
    if preset == "last-day":
        today = latest.replace(hour=0, minute=0)
        return BackfillWindow(today - timedelta(days=1), today - MINUTE)
    remedy = "Use `all`, `last-day` or a year that has begun, e.g. `2024`"
    if not (preset.isascii() and preset.isdigit() and len(preset) == 4 and preset > "0000"):
        raise SettingsError(f"Backfill window {preset!r} is unknown", remedy=remedy)
    first = datetime(int(preset), 1, 1, tzinfo=UTC)
    if first > latest:
        raise SettingsError(f"Backfill year {preset} begins after {latest:%Y-%m-%d %H:%M} UTC", remedy=remedy)
    last_of_year = first.replace(month=12, day=31, hour=23, minute=59)
    return BackfillWindow(first, min(last_of_year, latest))
