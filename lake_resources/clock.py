"""Time as an argument, and its units.

Belongs here: the type of an injected clock, the one real clock, the lengths that code calculates with, instants as
counts since 1970 and back.
Does not belong here: any other call of now(), the grain of a table (its layout has it).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

SECOND_MS, MINUTE_MS, HOUR_MS, DAY_MS = 1_000, 60_000, 3_600_000, 86_400_000
"""The same in milliseconds, in which the exchange counts."""
MINUTE_US = 60_000_000
"""A minute in microseconds, in which the columns of the lake count."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS, _US = timedelta(milliseconds=1), timedelta(microseconds=1)

Clock = Callable[[], datetime]
"""Returns the current instant, timezone-aware in UTC."""


def system_clock() -> datetime:
    """The machine's clock, timezone-aware UTC."""
    return datetime.now(UTC)


def epoch_ms(instant: datetime) -> int:
    """Whole milliseconds from 1970 to an aware instant, rounded down; exact, where a float would lose some."""
    return (instant - EPOCH) // _MS


def from_epoch_ms(ms: float) -> datetime:
    """The instant so many milliseconds after 1970, timezone-aware UTC."""
    return EPOCH + ms * _MS


def from_epoch_ns(ns: int) -> datetime:
    """The instant so many nanoseconds after 1970, timezone-aware UTC, rounded down to a microsecond."""
    return EPOCH + ns // 1000 * _US
