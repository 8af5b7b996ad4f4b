"""What the ledger says of hour files, without where they came from: years of hours in a fraction of a second.

Belongs here: that one reading of `partitions`. Does not belong here: writing it (`ledger_partitions`), comparing it.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple

import sqlalchemy as sa

from lake_resources.storage.catalog import floor_hour, utc
from lake_resources.storage.ledger.engine import LedgerEngine
from lake_resources.storage.ledger.tables import PARTITIONS


class PartitionFacts(NamedTuple):
    """A committed hour: its file relative to the lake's root, and what must be in it."""

    hour: datetime
    path: str
    row_count: int
    expected_rows: int
    min_ts: datetime | None
    max_ts: datetime | None
    schema_hash: str
    content_hash: str
    complete: bool


class FactRows(LedgerEngine):
    """The readings of `partitions` that an audit needs."""

    def first_hour(self, symbol: str) -> datetime | None:
        """The earliest committed hour, or None."""
        c = PARTITIONS.c
        query = sa.select(c.day, c.hour).where(c.symbol == symbol).order_by(c.day, c.hour).limit(1)
        with self._read() as connection:
            found = connection.execute(query).one_or_none()
        return None if found is None else _hour(found.day, found.hour)

    def partition_facts(self, symbol: str, start: datetime, end: datetime) -> list[PartitionFacts]:
        """Committed hours that overlap `[start, end)`, in order."""
        first, last = floor_hour(start), utc(end) - timedelta(microseconds=1)
        c = PARTITIONS.c
        query = (
            sa.select(
                c.day, c.hour, c.path, c.row_count, c.expected_rows, c.min_ts, c.max_ts, c.schema_hash,
                c.content_hash, c.complete,
            )
            .where(c.symbol == symbol, c.day >= f"{first:%Y-%m-%d}", c.day <= f"{last:%Y-%m-%d}")
            .order_by(c.day, c.hour)
        )  # fmt: skip
        with self._read() as connection:
            found = [PartitionFacts(_hour(day, hour), *facts) for day, hour, *facts in connection.execute(query)]
        return [row for row in found if first <= row.hour <= last]

    def hours_with_checks(self, symbol: str, start: datetime, end: datetime, text: str) -> set[datetime]:
        """Committed hours that overlap `[start, end)` and whose checks, as JSON, contain a text."""
        first, last = floor_hour(start), utc(end) - timedelta(microseconds=1)
        c = PARTITIONS.c
        query = sa.select(c.day, c.hour).where(
            c.symbol == symbol,
            c.day >= f"{first:%Y-%m-%d}",
            c.day <= f"{last:%Y-%m-%d}",
            c.checks.contains(text, autoescape=True),
        )
        with self._read() as connection:
            found = {_hour(day, hour) for day, hour in connection.execute(query)}
        return {hour for hour in found if first <= hour <= last}


def _hour(day: str, hour: int) -> datetime:
    return datetime.combine(date.fromisoformat(day), time(hour), UTC)
