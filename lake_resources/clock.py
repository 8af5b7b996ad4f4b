"""Time as an argument.

Belongs here: the type of an injected clock and the one real clock.
Does not belong here: any other call of now().
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Returns the current instant, timezone-aware in UTC."""


def system_clock() -> datetime:
    """The machine's clock, timezone-aware UTC."""
    return datetime.now(UTC)
