"""What the ledger says of partitions without where they came from: years of them in a fraction of a second.

Belongs here: those readings of `partitions`. Does not belong here: writing it (`partition_rows`), comparing it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from lake_resources.storage.catalog import utc
from lake_resources.storage.ledger.table_rows import TableRows
from lake_resources.storage.ledger.tables import PARTITIONS


class PartitionFacts(NamedTuple):
    """A committed partition: its file relative to the lake's root, and what must be in it."""

    start: datetime
    path: str
    row_count: int
    expected_rows: int
    min_ts: datetime | None
    max_ts: datetime | None
    schema_hash: str
    content_hash: str
    complete: bool


class FactRows(TableRows):
    """The readings of `partitions` that an audit needs."""

    def symbols_with_partitions(self) -> list[str]:
        """Symbols of which the table has committed partitions, in order."""
        c = PARTITIONS.c
        query = sa.select(c.symbol).where(c.table_name == self.layout.name).distinct().order_by(c.symbol)
        with self.reading() as connection:
            return list(connection.execute(query).scalars())

    def first_partition(self, symbol: str) -> datetime | None:
        """Start of the earliest committed partition, or None."""
        query = sa.select(sa.func.min(PARTITIONS.c.start_utc, type_=PARTITIONS.c.start_utc.type)).where(
            *self.of_symbol(PARTITIONS, symbol)
        )
        with self.reading() as connection:
            return connection.execute(query).scalar()

    def last_partition(self, symbol: str) -> datetime | None:
        """Start of the latest committed partition, or None."""
        query = sa.select(sa.func.max(PARTITIONS.c.start_utc, type_=PARTITIONS.c.start_utc.type)).where(
            *self.of_symbol(PARTITIONS, symbol)
        )
        with self.reading() as connection:
            return connection.execute(query).scalar()

    def partition_facts(self, symbol: str, start: datetime, end: datetime) -> list[PartitionFacts]:
        """Committed partitions that overlap `[start, end)`, in order."""
        c = PARTITIONS.c
        columns = sa.select(
            c.start_utc, c.path, c.row_count, c.expected_rows, c.min_ts, c.max_ts, c.schema_hash, c.content_hash,
            c.complete,
        )  # fmt: skip
        with self.reading() as connection:
            return [PartitionFacts(*row) for row in connection.execute(self.within(columns, symbol, start, end))]

    def commits_since(self, symbol: str, since: datetime) -> list[tuple[datetime, datetime]]:
        """Start and instant of commit of the partitions that were committed at `since` (UTC) or later, by that."""
        c = PARTITIONS.c
        query = sa.select(c.start_utc, c.committed_at_utc).where(
            *self.of_symbol(PARTITIONS, symbol), c.committed_at_utc >= utc(since)
        )
        with self.reading() as connection:
            return [(row[0], row[1]) for row in connection.execute(query.order_by(c.committed_at_utc))]

    def verdicts(
        self, symbol: str, start: datetime, end: datetime, leaving_out: Collection[str] = ()
    ) -> dict[datetime, tuple[str, str | None]]:
        """Verdict and its detail by start of the committed partitions that overlap `[start, end)`, in order.

        Args:
            symbol: whose partitions.
            start: first instant, UTC.
            end: first instant after the window, UTC.
            leaving_out: verdicts that are of no interest; partitions that were never judged are none either.
        """
        c = PARTITIONS.c
        query = self.within(sa.select(c.start_utc, c.verdict, c.verdict_detail), symbol, start, end)
        query = query.where(c.verdict.is_not(None), c.verdict.not_in(sorted(leaving_out)))
        with self.reading() as connection:
            return {row.start_utc: (row.verdict, row.verdict_detail) for row in connection.execute(query)}

    def verdicts_of(
        self, symbols: Sequence[str], start: datetime, end: datetime
    ) -> list[tuple[str, datetime, str, str | None]]:
        """Symbol, start, verdict and its detail of the judged partitions that overlap `[start, end)`, by start."""
        c = PARTITIONS.c
        query = sa.select(c.symbol, c.start_utc, c.verdict, c.verdict_detail).where(
            c.table_name == self.layout.name,
            c.symbol.in_(symbols),
            c.start_utc >= self.layout.start_of(start),
            c.start_utc < utc(end),
            c.verdict.is_not(None),
        )
        with self.reading() as connection:
            return [(row[0], row[1], row[2], row[3]) for row in connection.execute(query.order_by(c.start_utc))]

    def partitions_with_checks(self, symbol: str, start: datetime, end: datetime, text: str) -> set[datetime]:
        """Starts of the committed partitions that overlap `[start, end)` and whose checks, as JSON, contain a text."""
        query = self.within(sa.select(PARTITIONS.c.start_utc), symbol, start, end)
        with self.reading() as connection:
            return set(connection.execute(query.where(PARTITIONS.c.checks.contains(text, autoescape=True))).scalars())
