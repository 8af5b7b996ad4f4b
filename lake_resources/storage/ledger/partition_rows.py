"""Partitions in the ledger: what is committed, what is about to be.

Belongs here: rows of `partitions` and `intents`, and the transaction that turns one into the other.
Does not belong here: files (`commit` moves them), any decision on which candidate is better.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from lake_resources.storage.catalog import utc
from lake_resources.storage.ledger.compacted_rows import CompactedRows
from lake_resources.storage.ledger.tables import API_PARITY, INTENTS, PARTITIONS
from lake_resources.storage.ledger.watermark_rows import WatermarkRows
from lake_resources.storage.provenance import SourceRef, sources_from_json, sources_to_json


@dataclass(frozen=True)
class Partition:
    """One partition of one symbol's rows of a table.

    Attributes:
        start: start of the partition, UTC.
        path: its file, relative to the lake's root.
        min_ts: time of its first row, None in an empty file.
        max_ts: time of its last row, None in an empty file.
        expected_rows: rows from the start of the partition that had to exist; rows after them are provisional.
        content_hash: sha256 of the file.
        inputs_hash: hash of everything the rows were computed from.
        complete: all expected rows of a closed partition are there.
        sources: source by stream.
        committed_at: when it was committed, UTC.
        checks: what the checks said about the rows, as JSON.
        verdict: what the evidence says of the rows, in one word; None where nobody has asked it yet.
        verdict_detail: the evidence, as JSON, or None.
    """

    symbol: str
    start: datetime
    path: str
    row_count: int
    expected_rows: int
    min_ts: datetime | None
    max_ts: datetime | None
    schema_hash: str
    content_hash: str
    size_bytes: int
    inputs_hash: str
    complete: bool
    sources: Mapping[str, SourceRef]
    code_version: str
    committed_at: datetime
    checks: str = "[]"
    verdict: str | None = None
    verdict_detail: str | None = None


Decide = Callable[[dict[datetime, Partition]], Sequence[Partition]]
"""Takes what is committed by start, and returns what is to be committed in its place."""


@dataclass(frozen=True)
class Intent:
    """A partition that is staged in `temp_path` (relative to the root) and about to be published."""

    partition: Partition
    temp_path: str


# A commit is these statements each time: making one costs more than executing it.
_OF_TABLE, _OF_SYMBOL = sa.bindparam("of_table", type_=sa.String), sa.bindparam("of_symbol", type_=sa.String)


def _mine(table: sa.Table) -> list[sa.ColumnElement[bool]]:
    return [table.c.table_name == _OF_TABLE, table.c.symbol == _OF_SYMBOL]


_OF_INTENTS = _mine(INTENTS)
_NAMES = [column.name for column in PARTITIONS.columns]
_STARTS = sa.select(INTENTS.c.start_utc).where(*_OF_INTENTS)
_INTENDED = sa.select(INTENTS.c.start_utc, INTENTS.c.committed_at_utc).where(*_OF_INTENTS)
_REPLACED = sa.delete(PARTITIONS).where(*_mine(PARTITIONS), PARTITIONS.c.start_utc.in_(_STARTS))
_IN_PLACE = sa.insert(PARTITIONS).from_select(
    _NAMES,
    sa.select(*(sa.literal("COMMITTED") if n == "status" else INTENTS.c[n] for n in _NAMES)).where(*_OF_INTENTS),
)
_INTENDED_NO_MORE = sa.delete(INTENTS).where(*_OF_INTENTS)
_COMPARED_NO_MORE = sa.delete(API_PARITY).where(
    *_mine(API_PARITY),
    API_PARITY.c.start_utc.in_(sa.bindparam("starts", type_=API_PARITY.c.start_utc.type, expanding=True)),
)


class PartitionRows(CompactedRows, WatermarkRows):
    """Statements on `partitions` and `intents`."""

    def partition(self, symbol: str, start: datetime) -> Partition | None:
        """The committed partition that starts there, or None."""
        start = self.layout.whole(start)
        found = self.partitions(symbol, start, start + self.layout.step)
        return found[0] if found else None

    def partitions(self, symbol: str, start: datetime, end: datetime) -> list[Partition]:
        """Committed partitions that overlap `[start, end)`, in order."""
        query = self.within(sa.select(PARTITIONS), symbol, start, end)
        with self.reading() as connection:
            return [self._partition(row) for row in connection.execute(query).mappings()]

    def partitions_of(self, symbols: Sequence[str], start: datetime, end: datetime) -> list[Partition]:
        """Committed partitions of some symbols that overlap `[start, end)`, by start."""
        c = PARTITIONS.c
        query = sa.select(PARTITIONS).where(
            c.table_name == self.layout.name,
            c.symbol.in_(symbols),
            c.start_utc >= self.layout.start_of(start),
            c.start_utc < utc(end),
        )
        with self.reading() as connection:
            return [self._partition(row) for row in connection.execute(query.order_by(c.start_utc)).mappings()]

    def provisional_from(self, partition: Partition) -> datetime | None:
        """Time of the first row that was not required yet when a partition was committed, if it has such rows."""
        required_end = partition.start + partition.expected_rows * self.layout.grain
        return required_end if partition.max_ts is not None and partition.max_ts >= required_end else None

    def partition_paths(self, symbol: str, start: datetime, end: datetime) -> list[str]:
        """Paths of the committed partitions that overlap `[start, end)`, in order: what a reader needs, and no more."""
        query = self.within(sa.select(PARTITIONS.c.path), symbol, start, end)
        with self.reading() as connection:
            return list(connection.execute(query).scalars())

    def missing_partitions(self, symbol: str, start: datetime, end: datetime) -> list[datetime]:
        """Starts of the partitions that overlap `[start, end)` and are not committed, in order."""
        query = self.within(sa.select(PARTITIONS.c.start_utc), symbol, start, end)
        with self.reading() as connection:
            held = set(connection.execute(query).scalars())
        return [at for at in self.layout.between(start, end) if at not in held]

    def intents(self, symbol: str | None = None) -> list[Intent]:
        """What a writer of the table was about to publish; empty unless one is at work or died."""
        with self.reading() as connection:
            return self.intents_of(connection, symbol)

    def intents_of(self, connection: sa.Connection, symbol: str | None = None) -> list[Intent]:
        """Within a transaction: intents of one symbol or of all, in order."""
        query = sa.select(INTENTS).where(INTENTS.c.table_name == self.layout.name)
        query = query.order_by(INTENTS.c.symbol, INTENTS.c.start_utc)
        if symbol is not None:
            query = query.where(INTENTS.c.symbol == symbol)
        return [Intent(self._partition(row), row["temp_path"]) for row in connection.execute(query).mappings()]

    def temp_paths(self) -> list[str]:
        """Staged files that writers of any table of the lake were about to publish, relative to the root."""
        with self.reading() as connection:
            return list(connection.execute(sa.select(INTENTS.c.temp_path)).scalars())

    def write_intents(self, intents: Sequence[Intent]) -> None:
        """Note durably what is about to be published. The caller holds the symbol's writer lock."""
        rows = [
            self._partition_row(intent.partition) | {"status": "STAGED", "temp_path": intent.temp_path}
            for intent in intents
        ]
        with self.engine.writing() as connection:
            connection.execute(sa.insert(INTENTS), rows)

    def drop_intents(self, symbol: str, starts: Iterable[datetime]) -> None:
        """Forget intents that were not published; what was committed before stays. Under the writer lock."""
        with self.engine.writing() as connection:
            for start in starts:
                connection.execute(
                    sa.delete(INTENTS).where(
                        *self.of_symbol(INTENTS, symbol), INTENTS.c.start_utc == self.layout.whole(start)
                    )
                )

    def commit_intents(self, symbol: str, publish: Callable[[], None] | None = None) -> None:
        """As `commit_intents_of`, of one symbol."""
        self.commit_intents_of([symbol], publish)

    def commit_intents_of(self, symbols: Sequence[str], publish: Callable[[], None] | None = None) -> None:
        """In one transaction: the intents become committed, their quarantine is resolved, the watermarks move.

        Compacted files that served these partitions serve only their others from then on. The time of the commit is the
        one in the intents. Under the writer locks.

        Args:
            symbols: whose intents.
            publish: gives the files their final names, durably; None where they have them. It is the last step before
                the end of the transaction, so that waiting for the ledger does not lengthen the moment between the
                two.
        """
        given = [{"of_table": self.layout.name, "of_symbol": symbol} for symbol in symbols]
        with self.engine.writing(self.rows_of(symbols[0]) if len(symbols) == 1 else None) as connection:
            found = {of["of_symbol"]: connection.execute(_INTENDED, of).all() for of in given}
            given = [of for of in given if found[of["of_symbol"]]]
            if not given:
                return
            for step in (_REPLACED, _IN_PLACE, _INTENDED_NO_MORE):
                connection.execute(step, given)
            for symbol, rows in found.items():
                if rows:
                    at = max(committed_at for _, committed_at in rows)
                    self._told(connection, symbol, [start for start, _ in rows], at)
            if publish is not None:
                publish()

    def commit_decided(self, symbol: str, span: tuple[datetime, datetime], decide: Decide) -> None:
        """In one transaction: read what is committed, decide on it, and put partitions in its place.

        Their quarantine is resolved, compacted files that served them serve only their others, the watermark moves.

        Args:
            symbol: whose partitions.
            span: `[start, end)` that is read for the decision, UTC.
            decide: the files of what it returns are durable under their final names.
        """
        query = self.within(sa.select(PARTITIONS), symbol, *span)
        with self.engine.writing(self.rows_of(symbol)) as connection:
            found = [self._partition(row) for row in connection.execute(query).mappings()]
            accepted = decide({row.start: row for row in found})
            if not accepted:
                return
            rows = [self._partition_row(partition) | {"status": "COMMITTED"} for partition in accepted]
            self.engine.upsert(connection, PARTITIONS, rows)
            starts = [self.layout.whole(partition.start) for partition in accepted]
            self._told(connection, symbol, starts, max(partition.committed_at for partition in accepted))

    def _told(self, connection: sa.Connection, symbol: str, starts: Sequence[datetime], at: datetime) -> None:
        """Within a transaction: what follows from partitions that are committed anew."""
        given = {"of_table": self.layout.name, "of_symbol": symbol}
        for index in range(0, len(starts), 500):
            # What is committed anew has not been compared with the exchange.
            connection.execute(_COMPARED_NO_MORE, given | {"starts": starts[index : index + 500]})
        self.resolve(connection, symbol, starts, at)
        self.take_back(connection, symbol, starts, at)
        self.advance_watermark(connection, symbol, at)

    def _partition_row(self, partition: Partition) -> dict[str, Any]:
        return {
            "table_name": self.layout.name,
            "symbol": partition.symbol,
            "start_utc": self.layout.whole(partition.start),
            "path": partition.path,
            "row_count": partition.row_count,
            "expected_rows": partition.expected_rows,
            "min_ts": partition.min_ts,
            "max_ts": partition.max_ts,
            "schema_hash": partition.schema_hash,
            "content_hash": partition.content_hash,
            "size_bytes": partition.size_bytes,
            "inputs_hash": partition.inputs_hash,
            "complete": partition.complete,
            "sources": sources_to_json(partition.sources),
            "code_version": partition.code_version,
            "checks": partition.checks,
            "committed_at_utc": partition.committed_at,
            "verdict": partition.verdict,
            "verdict_detail": partition.verdict_detail,
        }

    def _partition(self, row: sa.RowMapping) -> Partition:
        return Partition(
            symbol=row["symbol"],
            start=row["start_utc"],
            path=row["path"],
            row_count=row["row_count"],
            expected_rows=row["expected_rows"],
            min_ts=row["min_ts"],
            max_ts=row["max_ts"],
            schema_hash=row["schema_hash"],
            content_hash=row["content_hash"],
            size_bytes=row["size_bytes"],
            inputs_hash=row["inputs_hash"],
            complete=row["complete"],
            sources=sources_from_json(row["sources"]),
            code_version=row["code_version"],
            committed_at=row["committed_at_utc"],
            checks=row["checks"],
            verdict=row["verdict"],
            verdict_detail=row["verdict_detail"],
        )
