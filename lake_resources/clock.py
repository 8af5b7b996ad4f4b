"""Time as an argument, and its units.

Belongs here: the type of an injected clock, the one real clock, the lengths that code calculates with.
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

Clock = Callable[[], datetime]
"""Returns the current instant, timezone-aware in UTC."""


def system_clock() -> datetime:
    """The machine's clock, timezone-aware UTC."""
    return datetime.now(UTC)
