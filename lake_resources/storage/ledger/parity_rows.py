"""What was compared with the exchange's API, in the ledger: the newest comparison of each committed partition.

Belongs here: rows of `api_parity`, and the verdict that a difference makes of its partition. Does not belong here:
asking the exchange, comparing. A partition that is committed anew has not been compared: its row goes with the commit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from lake_resources.storage.ledger.table_rows import TableRows
from lake_resources.storage.ledger.tables import API_PARITY, PARTITIONS


@dataclass(frozen=True)
class ComparedPartition:
    """One partition as it was compared with the exchange.

    Attributes:
        start: start of the partition, UTC.
        compared: rows that both sides have.
        differing: those of them that are not equal.
        only_lake: rows that the exchange does not have.
        only_exchange: rows that the lake does not have.
        first: the first difference in words, or None.
        compared_at: when, UTC.
    """

    symbol: str
    start: datetime
    compared: int
    differing: int
    only_lake: int
    only_exchange: int
    first: str | None
    compared_at: datetime


@dataclass(frozen=True)
class NewVerdict:
    """Another verdict on a committed partition, as the ledger keeps it.

    Attributes:
        start: start of the partition, UTC.
        kind: the verdict in one word, None where there was none.
        detail: reasons and evidence, as JSON.
    """

    start: datetime
    kind: str | None
    detail: str | None


class ParityRows(TableRows):
    """Statements on `api_parity`, and on the verdicts of partitions that were judged after they were committed."""

    def record_parity(self, found: Sequence[ComparedPartition], verdicts: Sequence[NewVerdict] = ()) -> None:
        """Keep comparisons and what they make of the verdicts, in one transaction; a newer one replaces the older."""
        if not found:
            return
        rows = [
            {
                "table_name": self.layout.name,
                "symbol": each.symbol,
                "start_utc": self.layout.whole(each.start),
                "compared": each.compared,
                "differing": each.differing,
                "only_lake": each.only_lake,
                "only_exchange": each.only_exchange,
                "first": each.first,
                "compared_at_utc": each.compared_at,
            }
            for each in found
        ]
        with self.engine.writing() as connection:
            self.engine.upsert(connection, API_PARITY, rows)
            self._set_verdicts(connection, found[0].symbol, verdicts)

    def set_verdicts(self, symbol: str, verdicts: Sequence[NewVerdict]) -> None:
        """Keep verdicts that were found after the commit, where nobody has judged the partition by now."""
        if verdicts:
            with self.engine.writing() as connection:
                self._set_verdicts(connection, symbol, verdicts, PARTITIONS.c.verdict.is_(None))

    def replace_verdicts(self, symbol: str, verdicts: Sequence[NewVerdict]) -> None:
        """Keep verdicts in place of those that were there, in one transaction."""
        if verdicts:
            with self.engine.writing() as connection:
                self._set_verdicts(connection, symbol, verdicts)

    def not_compared(self, symbol: str, end: datetime, unlike_before: datetime) -> list[datetime]:
        """Starts of complete partitions that were not compared since their commit, or that differed, in order.

        Args:
            symbol: whose partitions.
            end: they begin before it, UTC.
            unlike_before: one that differed counts as not compared where that was before this instant, UTC.
        """
        p, c = PARTITIONS.c, API_PARITY.c
        unlike = sa.or_(c.differing > 0, c.only_lake > 0, c.only_exchange > 0)
        done = sa.exists().where(
            c.table_name == p.table_name,
            c.symbol == p.symbol,
            c.start_utc == p.start_utc,
            sa.or_(c.compared_at_utc >= unlike_before, sa.not_(unlike)),
        )
        query = (
            sa.select(p.start_utc)
            .where(*self.of_symbol(PARTITIONS, symbol), p.complete, p.start_utc < end, ~done)
            .order_by(p.start_utc)
        )
        with self.reading() as connection:
            return list(connection.execute(query).scalars())

    def unjudged(self, symbol: str, start: datetime, end: datetime) -> list[datetime]:
        """Starts of committed partitions that overlap `[start, end)` and have no verdict, in order."""
        query = self.within(sa.select(PARTITIONS.c.start_utc), symbol, start, end)
        with self.reading() as connection:
            return list(connection.execute(query.where(PARTITIONS.c.verdict.is_(None))).scalars())

    def _set_verdicts(
        self,
        connection: sa.Connection,
        symbol: str,
        verdicts: Sequence[NewVerdict],
        *only: sa.ColumnElement[bool],
    ) -> None:
        for each in verdicts:
            mine = [*self.of_symbol(PARTITIONS, symbol), PARTITIONS.c.start_utc == self.layout.whole(each.start)]
            connection.execute(
                sa.update(PARTITIONS).where(*mine, *only).values(verdict=each.kind, verdict_detail=each.detail)
            )
