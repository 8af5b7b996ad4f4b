"""What the killed compaction works on: hours of the minute table on both sides of a month's end.

Belongs here: which hours, their versions, and the days and months that hold them. Does not belong here: any assertion.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import polars as pl

from lake_resources.storage.commit import PartitionCandidate
from lake_resources.storage.compaction import Period
from lake_tests.support.minute_hours import SYMBOL
from lake_tests.support.sound_hours import candidate, sound_rows

COUNT = 30
START = datetime(2026, 1, 31, 12, tzinfo=UTC)
_TURN = datetime(2026, 2, 1, tzinfo=UTC)
MONTHS = [
    Period(SYMBOL, "month", datetime(2026, 1, 1, tzinfo=UTC), _TURN),
    Period(SYMBOL, "month", _TURN, datetime(2026, 3, 1, tzinfo=UTC)),
]
DAYS = [
    Period(SYMBOL, "day", _TURN - timedelta(days=1), _TURN),
    Period(SYMBOL, "day", _TURN, _TURN + timedelta(days=1)),
]


def all_rows() -> pl.DataFrame:
    """The minutes of all hours, every column of the table."""
    return sound_rows(START, COUNT)


def candidates(rows: pl.DataFrame, hours: Sequence[int], version: int) -> list[PartitionCandidate]:
    """These hours; the column `close` is the version."""
    versioned = rows.with_columns(close=pl.lit(float(version)))
    return [candidate(START + timedelta(hours=hour), versioned.slice(60 * hour, 60)) for hour in hours]
