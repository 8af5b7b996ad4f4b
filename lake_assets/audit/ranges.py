"""Ranges that people give: in order, begun, not before the lake's first day.

Belongs here: refusing a range in which there is nothing to look at, so that "nothing is wrong" always means that
something was looked at. Does not belong here: reading options or run config, when a symbol is traded (`listing`).
"""

from __future__ import annotations

from datetime import datetime, timedelta

from lake_assets.windows import floor_minute
from lake_resources.errors import NotYet, SettingsError


def require_order(start: datetime, end: datetime) -> None:
    """Refuse a range without a minute.

    Raises:
        SettingsError: the end is not after the start.
    """
    if start >= end:
        raise SettingsError(
            f"the range {_text(start)} to {_text(end)} UTC is empty", remedy="The end is the first minute after it"
        )


def require_begun(start: datetime, now: datetime, lag_minutes: int) -> None:
    """Refuse a range of which no minute must exist yet.

    Raises:
        NotYet: it begins after `now` less the safety lag.
    """
    latest = floor_minute(now - timedelta(minutes=lag_minutes))
    if start >= latest:
        raise NotYet(
            f"nothing was looked at: no minute from {_text(start)} UTC on must exist yet",
            remedy=f"Minutes must exist up to {_text(latest)} UTC; give an earlier start, or ask later",
        )


def from_first_day(start: datetime, end: datetime, first_day: datetime) -> datetime:
    """The start of what is left of a range from the first day of the partitions (`LAKE_START`) on.

    Raises:
        SettingsError: nothing is left.
    """
    if end <= first_day:
        raise SettingsError(
            f"the range {_text(start)} to {_text(end)} UTC lies before LAKE_START ({first_day:%Y-%m-%d})",
            remedy="Give a later range, or set LAKE_START to an earlier day",
        )
    return max(start, first_day)


def archived_days(start: datetime, end: datetime, now: datetime, lag_minutes: int) -> datetime:
    """The end of what archives alone can give of a range: the end of the last completed UTC day.

    Raises:
        NotYet: no such day lies in the range.
    """
    midnight = floor_minute(now - timedelta(minutes=lag_minutes)).replace(hour=0, minute=0)
    if start >= midnight:
        raise NotYet(
            f"nothing was looked at: no day from {_text(start)} UTC on is completed, so that there is no archive of it",
            remedy="Ask again tomorrow, or let REST be asked",
        )
    return min(end, midnight)


def _text(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M}"
