"""Compacted files in the ledger: which partitions are read from which day or month file.

Belongs here: rows of `compacted_files`, and the transactions that let a file serve partitions and take them back.
Does not belong here: files (`compaction` writes and removes them), which partitions are closed (`lake_assets` decides).
A partition is served by at most one compacted file; one that none serves is read from its own file. Committing a
partition takes it back in the same transaction, so a reader never sees old rows of it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa

from lake_resources.layout import Tier
from lake_resources.storage.catalog import utc
from lake_resources.storage.ledger.table_rows import TableRows
from lake_resources.storage.ledger.tables import COMPACTED_FILES, PARTITIONS, instant_of, utc_text

LONGEST = timedelta(days=31)


class PartitionFile(NamedTuple):
    """What compaction needs to know of a committed partition; `sources` is the ledger's JSON.

    Attributes:
        start: start of the partition, UTC.
        path: its file, relative to the lake's root; gone once a compacted file took over and the grace is up.
        content_hash: sha256 of that file.
    """

    start: datetime
    path: str
    row_count: int
    content_hash: str
    size_bytes: int
    schema_hash: str
    code_version: str
    complete: bool
    sources: str


@dataclass(frozen=True)
class CompactedFile:
    """A file of many partitions.

    Attributes:
        path: relative to the lake's root.
        start, end: the day or month, half-open, UTC.
        step: length of a partition.
        serves: bitmap of the partitions that are read from it; bit n is the n-th partition from `start`.
        holds: bitmap of the partitions whose rows are in it.
        content_hash: sha256 of the file.
        rows_hash: hash of its rows, equal to that of the files it was made from.
        compacted_at: when it took over, UTC.
        superseded_at: since when it serves no partition, or None.
        cleared_at: when the files it was made from were removed, or None.
    """

    symbol: str
    path: str
    tier: Tier
    start: datetime
    end: datetime
    step: timedelta
    serves: int
    holds: int
    row_count: int
    content_hash: str
    rows_hash: str
    size_bytes: int
    schema_hash: str
    compacted_at: datetime
    superseded_at: datetime | None = None
    cleared_at: datetime | None = None

    @property
    def served(self) -> list[datetime]:
        """Starts of the partitions it serves, in order."""
        return [at for start, end in self.runs() for at in _between(start, end, self.step)]

    def runs(self) -> Iterator[tuple[datetime, datetime]]:
        """The partitions it serves as maximal stretches `[start, end)`."""
        return runs(self.start, self.serves, self.step)

    def is_serving(self, start: datetime) -> bool:
        """Whether the partition that starts there is read from this file."""
        return self.start <= start < self.end and bool(self.serves >> ((start - self.start) // self.step) & 1)


class Served(NamedTuple):
    """What a reader needs of a compacted file, and no more: years of them are looked up at once."""

    path: str
    start: datetime
    serves: int
    holds: int


def runs(start: datetime, bits: int, step: timedelta) -> Iterator[tuple[datetime, datetime]]:
    """The partitions of a bitmap, each `step` long, as maximal stretches `[start, end)`."""
    index = 0
    while bits:
        empty = (bits & -bits).bit_length() - 1
        bits >>= empty
        length = (~bits & (bits + 1)).bit_length() - 1
        yield start + (index + empty) * step, start + (index + empty + length) * step
        bits >>= length
        index += empty + length


def bitmap(start: datetime, partitions: Iterable[datetime], step: timedelta) -> int:
    """Bitmap of partitions by their starts, bit n being the n-th from `start`."""
    bits = 0
    for at in partitions:
        bits |= 1 << ((at - start) // step)
    return bits


class CompactedRows(TableRows):
    """Statements on `compacted_files`, and the view of `partitions` that compaction needs."""

    def compacted_files(
        self, symbol: str, start: datetime | None = None, end: datetime | None = None, *, superseded: bool = False
    ) -> list[CompactedFile]:
        """Files that serve partitions, all or those that overlap `[start, end)`; if wanted, those that do not serve."""
        query = sa.select(COMPACTED_FILES).where(*self.of_symbol(COMPACTED_FILES, symbol))
        query = query.order_by(COMPACTED_FILES.c.start_utc, COMPACTED_FILES.c.path)
        if start is not None and end is not None:
            query = query.where(*_overlap(start, end))
        if not superseded:
            query = query.where(COMPACTED_FILES.c.superseded_at_utc.is_(None))
        with self.reading() as connection:
            return [self._compacted(row) for row in connection.execute(query)]

    def serving(self, symbol: str, start: datetime, end: datetime) -> list[Served]:
        """The compacted files that serve partitions and overlap `[start, end)`, in order."""
        start, end = utc(start), utc(end)
        window: dict[str, str | datetime] = {"table": self.layout.name, "symbol": symbol}
        window |= {"start": start, "end": end, "from": start - LONGEST}
        with self.reading() as connection:
            found = None if self.engine.is_shared else _served_by_driver(connection, window)
            if found is None:
                found = [(*row,) for row in connection.execute(_SERVING, window)]
        return [Served(path, first, int(serves, 16), int(holds, 16)) for path, first, serves, holds in found]

    def compacted_file_of(self, symbol: str, start: datetime) -> CompactedFile | None:
        """The compacted file that serves a partition, or None where it is read from its own file."""
        start = self.layout.whole(start)
        with self.reading() as connection:
            found = self._overlapping(connection, symbol, start, start + self.layout.step)
        return next((file for file in found if file.is_serving(start)), None)

    def partitions_by_day(self, symbol: str) -> dict[str, int]:
        """Number of committed partitions by day (`YYYY-MM-DD`), in order."""
        day = sa.func.substr(PARTITIONS.c.start_utc, 1, 10, type_=sa.String)
        query = sa.select(day, sa.func.count()).where(*self.of_symbol(PARTITIONS, symbol)).group_by(day).order_by(day)
        with self.reading() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def partition_files(self, symbol: str, start: datetime, end: datetime) -> list[PartitionFile]:
        """Committed partitions that overlap `[start, end)`, in order."""
        c = PARTITIONS.c
        columns = sa.select(
            c.start_utc, c.path, c.row_count, c.content_hash, c.size_bytes, c.schema_hash, c.code_version, c.complete,
            c.sources,
        )  # fmt: skip
        with self.reading() as connection:
            rows = connection.execute(self.within(columns, symbol, start, end)).all()
        return [*map(PartitionFile._make, rows)]

    def activate(self, file: CompactedFile, partitions: Mapping[datetime, str]) -> bool:
        """Let a file serve its partitions, and no other any of them, in one transaction. Under the writer lock.

        Args:
            file: it already lies under its final name.
            partitions: content hash of each partition that went into it, by start.

        Returns:
            False, and nothing is changed, where a partition was committed anew (or a new one appeared) since it was
            read.
        """
        c = PARTITIONS.c
        now = self.within(sa.select(c.start_utc, c.content_hash), file.symbol, file.start, file.end)
        with self.engine.writing(self.rows_of(file.symbol)) as connection:
            if {row.start_utc: row.content_hash for row in connection.execute(now)} != dict(partitions):
                return False
            for other in self._overlapping(connection, file.symbol, file.start, file.end):
                if other.path != file.path:
                    self._take_back(connection, other, _moved(file, other), file.compacted_at)
            self.engine.upsert(connection, COMPACTED_FILES, [self._row(file)])
        return True

    def mark_cleared(self, file: CompactedFile, *, at: datetime) -> None:
        """Note that the files a compacted file was made from are gone."""
        with self.engine.writing() as connection:
            connection.execute(sa.update(COMPACTED_FILES).where(*self._is(file)).values(cleared_at_utc=at))

    def forget_compacted(self, file: CompactedFile) -> None:
        """Drop the row of a superseded file that is gone."""
        superseded = COMPACTED_FILES.c.superseded_at_utc.is_not(None)
        with self.engine.writing() as connection:
            connection.execute(sa.delete(COMPACTED_FILES).where(*self._is(file), superseded))

    def take_back(self, connection: sa.Connection, symbol: str, starts: Sequence[datetime], at: datetime) -> None:
        """Within a transaction: partitions are read from their own files from now on, not from compacted ones."""
        step = self.layout.step
        for file in self._overlapping(connection, symbol, min(starts), max(starts) + step):
            inside = [start for start in starts if file.start <= start < file.end]
            self._take_back(connection, file, bitmap(file.start, inside, step), at)

    def _overlapping(
        self, connection: sa.Connection, symbol: str, start: datetime, end: datetime
    ) -> list[CompactedFile]:
        start, end = utc(start), utc(end)
        given = {"table": self.layout.name, "symbol": symbol, "start": start, "end": end, "from": start - LONGEST}
        return [self._compacted(row) for row in connection.execute(_SERVING_FILES, given)]

    def _take_back(self, connection: sa.Connection, file: CompactedFile, partitions: int, at: datetime) -> None:
        left = file.serves & ~partitions
        if left == file.serves:
            return
        changed = replace(file, serves=left, superseded_at=None if left else at)
        connection.execute(sa.update(COMPACTED_FILES).where(*self._is(file)).values(**self._row(changed)))

    def _is(self, file: CompactedFile) -> list[sa.ColumnElement[bool]]:
        return [*self.of_symbol(COMPACTED_FILES, file.symbol), COMPACTED_FILES.c.path == file.path]

    def _row(self, file: CompactedFile) -> dict[str, Any]:
        return {
            "table_name": self.layout.name,
            "symbol": file.symbol,
            "path": file.path,
            "tier": file.tier,
            "start_utc": file.start,
            "end_utc": file.end,
            "serves": f"{file.serves:x}",
            "holds": f"{file.holds:x}",
            "row_count": file.row_count,
            "content_hash": file.content_hash,
            "rows_hash": file.rows_hash,
            "size_bytes": file.size_bytes,
            "schema_hash": file.schema_hash,
            "compacted_at_utc": file.compacted_at,
            "superseded_at_utc": file.superseded_at,
            "cleared_at_utc": file.cleared_at,
        }

    def _compacted(self, row: sa.Row[Any]) -> CompactedFile:
        return CompactedFile(
            row.symbol,
            row.path,
            row.tier,
            row.start_utc,
            row.end_utc,
            self.layout.step,
            int(row.serves, 16),
            int(row.holds, 16),
            row.row_count,
            row.content_hash,
            row.rows_hash,
            row.size_bytes,
            row.schema_hash,
            row.compacted_at_utc,
            row.superseded_at_utc,
            row.cleared_at_utc,
        )


def _serving(*columns: sa.Column[Any]) -> sa.Select[Any]:
    c = COMPACTED_FILES.c
    return (
        sa.select(*columns)
        .where(c.table_name == sa.bindparam("table"), c.symbol == sa.bindparam("symbol"))
        .where(c.superseded_at_utc.is_(None))
        .where(c.start_utc < sa.bindparam("end"), c.start_utc > sa.bindparam("from"))
        .where(c.end_utc > sa.bindparam("start"))
        .order_by(c.start_utc, c.path)
    )


_SERVING = _serving(*(COMPACTED_FILES.c[name] for name in ("path", "start_utc", "serves", "holds")))
_SERVING_FILES = _serving(*COMPACTED_FILES.columns)
"""Built once: every read and every commit asks them, and putting one together takes as long as the answer."""
_SERVING_IN_SQLITE = (
    "SELECT path, start_utc, serves, holds FROM compacted_files WHERE table_name = :table AND symbol = :symbol"
    " AND superseded_at_utc IS NULL AND start_utc < :end AND start_utc > :from AND end_utc > :start"
    " ORDER BY start_utc, path"
)


def _served_by_driver(
    connection: sa.Connection, window: Mapping[str, str | datetime]
) -> list[tuple[str, datetime, str, str]] | None:
    """What `_SERVING` finds, by the driver of SQLite itself: every read asks it, and so it costs a third.

    Returns:
        None where something is wrong with the ledger, which is told in the one way that readers know.
    """
    given = {name: utc_text(value) if isinstance(value, datetime) else value for name, value in window.items()}
    with suppress(sqlite3.Error), closing(connection.connection.cursor()) as cursor:
        cursor.execute(_SERVING_IN_SQLITE, given)
        return [(path, instant_of(first), serves, holds) for path, first, serves, holds in cursor.fetchall()]
    return None


def _overlap(start: datetime, end: datetime) -> list[sa.ColumnElement[bool]]:
    # The lower bound lets the index skip the years before; no compacted file is longer than a month.
    c = COMPACTED_FILES.c
    return [c.start_utc < utc(end), c.start_utc > utc(start) - LONGEST, c.end_utc > utc(start)]


def _moved(source: CompactedFile, target: CompactedFile) -> int:
    """The partitions that one file serves, as a bitmap of another file."""
    shift = (target.start - source.start) // source.step
    return source.serves >> shift if shift >= 0 else source.serves << -shift


def _between(start: datetime, end: datetime, step: timedelta) -> Iterator[datetime]:
    while start < end:
        yield start
        start += step
