"""Slices of raw answers in the ledger: where each stands, and where its answer lies.

Belongs here: rows of `slices` and `slice_origins`. Does not belong here: what an answer is worth, files (`raw_store`).
A status change is one row. The manifest of people is written from these rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from lake_resources.storage.ledger.engine import LedgerEngine
from lake_resources.storage.ledger.tables import ORIGINS, SLICES


class SliceSet(NamedTuple):
    """The slices of one endpoint, symbol and interval: one directory, one manifest."""

    endpoint: str
    symbol: str
    interval: str


@dataclass(frozen=True)
class SliceRow:
    """One slice as the ledger knows it.

    Attributes:
        start: first instant, epoch ms, or first id.
        record_limit: records at most.
        status, reason: where it stands, and why.
        path, sha256, size_bytes: its answer's file relative to the data root, its bytes; None and 0 without one.
        http_status: of the last request, None where no answer came.
        n_items, first_ts, last_ts: records of the answer that is kept, their first and last position.
        requested_url: of the last request.
        requested_at_utc, completed_at_utc: when it was asked and answered last.
        error: what the exchange or the network said, None where all was well.
        fetches: requests so far.
        missing: positions that the answer lacks, as text, comma separated.
        lacking_since_utc: since when the same positions are lacking, None where none are.
    """

    start: int
    record_limit: int
    status: str
    reason: str
    path: str | None = None
    sha256: str | None = None
    size_bytes: int = 0
    http_status: int | None = None
    n_items: int = 0
    first_ts: int | None = None
    last_ts: int | None = None
    requested_url: str | None = None
    requested_at_utc: datetime | None = None
    completed_at_utc: datetime | None = None
    error: str | None = None
    fetches: int = 0
    missing: str = ""
    lacking_since_utc: datetime | None = None


_AT_ONCE = 2_000
"""Rows that are read together where all are."""
_NAMES = tuple(field.name for field in fields(SliceRow))
_COLUMNS = [SLICES.c[name] for name in _NAMES]


class Standing(NamedTuple):
    """What the diff needs of a slice."""

    start: int
    status: str
    reason: str
    completed_at_utc: datetime | None


class SliceRows(LedgerEngine):
    """Statements on slices.

    Args:
        url: SQLAlchemy URL of the ledger that lies with the answers.
    """

    def put_slices(self, of: SliceSet, rows: Iterable[SliceRow]) -> None:
        """Note where slices stand now, in one transaction."""
        values = [of._asdict() | {name: getattr(row, name) for name in _NAMES} for row in rows]
        if not values:
            return
        insert = self.insert(SLICES)
        update = {column.name: column for column in insert.excluded if not SLICES.c[column.name].primary_key}
        statement = insert.on_conflict_do_update(index_elements=list(SLICES.primary_key), set_=update)
        with self.writing() as connection:
            connection.execute(statement, values)

    def slice_rows(
        self, of: SliceSet, starts: tuple[int, int] | None = None, *, but: Sequence[str] = ()
    ) -> list[SliceRow]:
        """All slices, or those that start in `[first, end)`, in order, without those of some statuses."""
        query = sa.select(*_COLUMNS).where(_of(of), _within(starts)).order_by(SLICES.c.start)
        if but:
            query = query.where(SLICES.c.status.not_in(but))
        with self.reading() as connection:
            return [SliceRow(*row) for row in connection.execute(query)]

    def each_row(self, of: SliceSet) -> Iterator[SliceRow]:
        """All slices, in order, read as they are taken: a symbol of seconds has 190,000."""
        query = sa.select(*_COLUMNS).where(_of(of)).order_by(SLICES.c.start)
        with self.reading() as connection:
            for rows in connection.execution_options(yield_per=_AT_ONCE).execute(query).partitions():
                for row in rows:
                    yield SliceRow(*row)

    def standings(self, of: SliceSet, *, but: Sequence[str] = ()) -> list[Standing]:
        """Where slices stand, in order, without those of some statuses: what the diff needs and no more."""
        c = SLICES.c
        query = sa.select(c.start, c.status, c.reason, c.completed_at_utc).where(_of(of)).order_by(c.start)
        if but:
            query = query.where(c.status.not_in(but))
        with self.reading() as connection:
            return [Standing(*row) for row in connection.execute(query)]

    def starts(self, of: SliceSet, status: str, starts: tuple[int, int] | None = None) -> set[int]:
        """Where the slices of a status start, all or those in `[first, end)`."""
        query = sa.select(SLICES.c.start).where(_of(of), _within(starts), SLICES.c.status == status)
        with self.reading() as connection:
            return set(connection.execute(query).scalars().all())

    def all_starts(self, of: SliceSet) -> set[int]:
        """Where all slices start."""
        with self.reading() as connection:
            return set(connection.execute(sa.select(SLICES.c.start).where(_of(of))).scalars().all())

    def counts(self, of: SliceSet) -> dict[tuple[str, str], int]:
        """Slices by status and reason."""
        c = SLICES.c
        query = sa.select(c.status, c.reason, sa.func.count()).where(_of(of)).group_by(c.status, c.reason)
        with self.reading() as connection:
            return {(status, reason): count for status, reason, count in connection.execute(query)}

    def slice_sets(self) -> list[SliceSet]:
        """Endpoints, symbols and intervals of which there are slices."""
        c = SLICES.c
        query = sa.select(c.endpoint, c.symbol, c.interval).distinct().order_by(c.endpoint, c.symbol, c.interval)
        with self.reading() as connection:
            return [SliceSet(*row) for row in connection.execute(query)]

    def forget_slices(self, of: SliceSet, starts: Sequence[int]) -> None:
        """Forget slices that do not lie on the lattice; their answers stay on the disk."""
        with self.writing() as connection:
            for start in starts:
                connection.execute(sa.delete(SLICES).where(_of(of), SLICES.c.start == start))

    def origin(self, of: SliceSet) -> int | None:
        """Where the lattice starts: the position of the first record, as the exchange said it once."""
        c = ORIGINS.c
        query = sa.select(c.first).where(c.endpoint == of.endpoint, c.symbol == of.symbol, c.interval == of.interval)
        with self.reading() as connection:
            return connection.execute(query).scalar()

    def keep_origin(self, of: SliceSet, first: int, at: datetime) -> int:
        """Keep where the lattice starts; one that is known already stays, and is returned."""
        values = of._asdict() | {"first": first, "said_at_utc": at}
        with self.writing() as connection:
            connection.execute(self.insert(ORIGINS).on_conflict_do_nothing().values(values))
        found = self.origin(of)
        return first if found is None else found


def _of(of: SliceSet) -> sa.ColumnElement[bool]:
    c = SLICES.c
    return sa.and_(c.endpoint == of.endpoint, c.symbol == of.symbol, c.interval == of.interval)


def _within(starts: tuple[int, int] | None) -> sa.ColumnElement[bool]:
    return sa.true() if starts is None else sa.and_(SLICES.c.start >= starts[0], SLICES.c.start < starts[1])
