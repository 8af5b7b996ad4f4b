"""What went wrong, and what was known to be wrong, in the ledger.

Belongs here: rows of `missing_sources`, `quarantine`, `revisions` and `known_holes`.
Does not belong here: deciding that something is wrong.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

import sqlalchemy as sa

from lake_resources.known_hole import KnownHole
from lake_resources.storage.catalog import utc
from lake_resources.storage.ledger.table_rows import keyed
from lake_resources.storage.ledger.tables import KNOWN_HOLES, MISSING_SOURCES, QUARANTINE, REVISIONS
from lake_resources.storage.ledger.watermark_rows import WatermarkRows

ANY_SYMBOL = "*"


@dataclass(frozen=True)
class MissingSource:
    """A source that could not give a stream.

    Attributes:
        period: hour (`YYYY-MM-DDTHH`), day or month that was asked for.
        source: `archive`, `rest` or `ws`; or `archive rows`: the file is there, some of its rows could not be taken.
        attempts: how often it was asked for.
        resolved_at: when it was found after all, or None.
    """

    symbol: str
    stream: str
    period: str
    source: str
    reason: str
    first_seen: datetime
    last_seen: datetime
    attempts: int
    resolved_at: datetime | None


@dataclass(frozen=True)
class QuarantineEntry:
    """A partition that broke the gate.

    Attributes:
        path: its rows, relative to the lake's root, or None where there were none.
        codes: the rules it broke.
        accounted_until: end of the rows that were looked at; the watermark may pass them.
        resolved_at: when a later commit made the partition good, or None.
    """

    symbol: str
    start: datetime
    path: str | None
    codes: tuple[str, ...]
    detail: str
    accounted_until: datetime
    quarantined_at: datetime
    resolved_at: datetime | None


@dataclass(frozen=True)
class Revision:
    """A value that a better source gave differently."""

    symbol: str
    stream: str
    timestamp: datetime
    column: str
    old_source: str
    new_source: str
    old_value: float | None
    new_value: float | None
    noticed_at: datetime


class EventRows(WatermarkRows):
    """Statements on `missing_sources`, `quarantine`, `revisions` and `known_holes`."""

    def record_missing(self, symbol: str, stream: str, period: str, source: str, reason: str, *, at: datetime) -> None:
        """Note that a source was asked and had nothing; asking again counts an attempt and reopens the row."""
        insert = self.engine.insert(MISSING_SOURCES).values(
            market=self.layout.market,
            symbol=symbol,
            stream=stream,
            period=period,
            source=source,
            reason=reason,
            first_seen_utc=at,
            last_seen_utc=at,
            attempts=1,
            resolved_at_utc=None,
        )
        again = insert.on_conflict_do_update(
            index_elements=["market", "symbol", "stream", "period", "source"],
            set_={
                "reason": insert.excluded.reason,
                "last_seen_utc": insert.excluded.last_seen_utc,
                "attempts": MISSING_SOURCES.c.attempts + 1,
                "resolved_at_utc": None,
            },
        )
        with self.engine.writing() as connection:
            connection.execute(again)

    def resolve_missing(self, symbol: str, stream: str, period: str, source: str | None = None, *, at: datetime) -> int:
        """Close the open rows of a period (of one source, or of all); returns how many there were."""
        given = {"market": self.layout.market, "symbol": symbol, "stream": stream, "period": period}
        given |= {} if source is None else {"source": source}
        with self.reading() as connection:
            found = connection.execute(_missing(*given, resolved=False), given).first()
        if found is None:  # the usual case takes no write lock
            return 0
        with self.engine.writing() as connection:
            matching = [MISSING_SOURCES.c[name] == value for name, value in given.items()]
            closed = sa.update(MISSING_SOURCES).where(*matching, MISSING_SOURCES.c.resolved_at_utc.is_(None))
            return connection.execute(closed.values(resolved_at_utc=at)).rowcount

    def missing_sources(
        self, symbol: str | None = None, stream: str | None = None, *, resolved: bool = False
    ) -> list[MissingSource]:
        """Rows of missing sources, the open ones only unless `resolved`."""
        given = {"market": self.layout.market} | ({} if symbol is None else {"symbol": symbol})
        given |= {} if stream is None else {"stream": stream}
        with self.reading() as connection:
            return [MissingSource(*row) for row in connection.execute(_missing(*given, resolved=resolved), given)]

    def missing_of(self, symbols: Sequence[str]) -> list[MissingSource]:
        """Open rows of some symbols, in the order of `missing_sources`."""
        table = MISSING_SOURCES.c
        columns = [column for column in MISSING_SOURCES.columns if column.name != "market"]
        query = sa.select(*columns).where(
            self.of_market(MISSING_SOURCES), table.symbol.in_(symbols), table.resolved_at_utc.is_(None)
        )
        query = query.order_by(table.symbol, table.stream, table.period, table.source)
        with self.reading() as connection:
            return [MissingSource(*row) for row in connection.execute(query)]

    def record_quarantine(
        self,
        symbol: str,
        start: datetime,
        path: str | None,
        codes: Sequence[str],
        detail: str,
        *,
        at: datetime,
    ) -> None:
        """Note a rejected partition and let the watermark pass it, in one transaction. Under the symbol's writer lock.

        The same rejection again only moves its `accounted_until`: the end of the partition, or the end of the last
        whole row before `at` while the partition is still open.
        """
        start = self.layout.whole(start)
        until = min(start + self.layout.step, self.layout.row_start(at))
        row = {
            "table_name": self.layout.name,
            "symbol": symbol,
            "start_utc": start,
            "path": path,
            "codes": json.dumps(list(codes)),
            "detail": detail,
        }
        same = [
            *(QUARANTINE.c[name].is_not_distinct_from(value) for name, value in row.items()),
            QUARANTINE.c.resolved_at_utc.is_(None),
        ]
        with self.engine.writing(self.rows_of(symbol)) as connection:
            known = connection.execute(sa.update(QUARANTINE).where(*same).values(accounted_until_utc=until)).rowcount
            if not known:
                connection.execute(
                    sa.insert(QUARANTINE), row | {"accounted_until_utc": until, "quarantined_at_utc": at}
                )
            self.advance_watermark(connection, symbol, at)

    def resolve_quarantine(self, symbol: str, starts: Sequence[datetime], *, at: datetime) -> None:
        """Close the open rows of partitions that passed the gate after all."""
        wanted = {self.layout.whole(start) for start in starts}
        if not wanted:
            return
        end = max(wanted) + self.layout.step
        found = {entry.start for entry in self.quarantined(symbol, min(wanted), end)} & wanted
        if found:
            with self.engine.writing() as connection:
                self.resolve(connection, symbol, sorted(found), at)

    def quarantined(
        self, symbol: str, start: datetime, end: datetime, *, resolved: bool = False
    ) -> list[QuarantineEntry]:
        """Rejected partitions that start in `[start, end)`, the open ones only unless `resolved`, oldest first."""
        table = QUARANTINE.c
        query = (
            sa.select(QUARANTINE)
            .where(*self.of_symbol(QUARANTINE, symbol), table.start_utc >= utc(start), table.start_utc < utc(end))
            .order_by(table.start_utc, table.id)
        )
        if not resolved:
            query = query.where(table.resolved_at_utc.is_(None))
        with self.reading() as connection:
            return [_quarantine(row) for row in connection.execute(query).mappings()]

    def quarantined_of(self, symbols: Sequence[str], start: datetime, end: datetime) -> list[QuarantineEntry]:
        """Open rows of some symbols that start in `[start, end)`, oldest first."""
        table = QUARANTINE.c
        query = sa.select(QUARANTINE).where(
            table.table_name == self.layout.name,
            table.symbol.in_(symbols),
            table.start_utc >= utc(start),
            table.start_utc < utc(end),
            table.resolved_at_utc.is_(None),
        )
        with self.reading() as connection:
            return [
                _quarantine(row) for row in connection.execute(query.order_by(table.start_utc, table.id)).mappings()
            ]

    def record_revisions(self, revisions: Iterable[Revision]) -> None:
        """Keep values that a better source gave differently; a difference that is already known is not kept twice."""
        rows = [
            {
                "table_name": self.layout.name,
                "symbol": revision.symbol,
                "stream": revision.stream,
                "timestamp": revision.timestamp,
                "column": revision.column,
                "old_source": revision.old_source,
                "new_source": revision.new_source,
                "old_value": revision.old_value,
                "new_value": revision.new_value,
                "noticed_at_utc": revision.noticed_at,
            }
            for revision in revisions
        ]
        if rows:
            with self.engine.writing() as connection:
                connection.execute(self.engine.insert(REVISIONS).on_conflict_do_nothing(), rows)

    def revisions(self, symbol: str, start: datetime, end: datetime, stream: str | None = None) -> list[Revision]:
        """Revised values of rows in `[start, end)`."""
        table = REVISIONS.c
        query = (
            sa.select(*(column for column in REVISIONS.columns if column.name != "table_name"))
            .where(*self.of_symbol(REVISIONS, symbol), table.timestamp >= utc(start), table.timestamp < utc(end))
            .order_by(table.stream, table.timestamp, table.column, table.noticed_at_utc)
        )
        if stream is not None:
            query = query.where(table.stream == stream)
        with self.reading() as connection:
            return [Revision(*row) for row in connection.execute(query)]

    def declare_hole(self, hole: KnownHole) -> None:
        """Add or replace a known hole."""
        row = {
            "market": self.layout.market,
            "stream": hole.stream,
            "symbol": hole.symbol,
            "start_utc": hole.start,
            "end_utc": hole.end,
            "cause": hole.cause,
            "reference": hole.reference,
        }
        with self.engine.writing() as connection:
            self.engine.upsert(connection, KNOWN_HOLES, [row])

    def known_holes(self, symbol: str, start: datetime, end: datetime, stream: str | None = None) -> list[KnownHole]:
        """Known holes of the symbol (and of all symbols) that overlap `[start, end)`."""
        table = KNOWN_HOLES.c
        query = (
            sa.select(*(column for column in KNOWN_HOLES.columns if column.name != "market"))
            .where(
                self.of_market(KNOWN_HOLES),
                table.symbol.in_([symbol, ANY_SYMBOL]),
                table.start_utc < utc(end),
                table.end_utc > utc(start),
            )
            .order_by(table.stream, table.start_utc, table.symbol)
        )
        if stream is not None:
            query = query.where(table.stream == stream)
        with self.reading() as connection:
            return [KnownHole(*row) for row in connection.execute(query)]

    def known_holes_of(self, symbols: Sequence[str], start: datetime, end: datetime) -> list[KnownHole]:
        """Known holes that name one of these symbols and overlap `[start, end)`, in the order of `known_holes`."""
        table = KNOWN_HOLES.c
        columns = (column for column in KNOWN_HOLES.columns if column.name != "market")
        query = sa.select(*columns).where(
            self.of_market(KNOWN_HOLES),
            table.symbol.in_(symbols),
            table.start_utc < utc(end),
            table.end_utc > utc(start),
        )
        query = query.order_by(table.stream, table.start_utc, table.symbol)
        with self.reading() as connection:
            return [KnownHole(*row) for row in connection.execute(query)]


def _quarantine(row: sa.RowMapping) -> QuarantineEntry:
    return QuarantineEntry(
        symbol=row["symbol"],
        start=row["start_utc"],
        path=row["path"],
        codes=tuple(json.loads(row["codes"])),
        detail=row["detail"],
        accounted_until=row["accounted_until_utc"],
        quarantined_at=row["quarantined_at_utc"],
        resolved_at=row["resolved_at_utc"],
    )


@cache
def _missing(*keys: str, resolved: bool) -> sa.Select[Any]:
    """Missing sources by some columns. Asked several times for each file: making it costs more than executing it."""
    table = MISSING_SOURCES.c
    columns = [column for column in MISSING_SOURCES.columns if column.name != "market"]
    query = sa.select(*columns).where(*keyed(MISSING_SOURCES, *keys))
    if not resolved:
        query = query.where(table.resolved_at_utc.is_(None))
    return query.order_by(table.symbol, table.stream, table.period, table.source)
