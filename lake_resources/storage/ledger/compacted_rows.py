"""Day and month files in the ledger: which hours are read from which of them.

Belongs here: rows of `segments`, and the transactions that let a file serve hours and take them back.
Does not belong here: files (`compaction` writes and removes them), which hours are closed (`lake_assets` decides).
An hour is served by at most one segment; an hour that none serves is read from its own file. Committing an hour takes
it back in the same transaction, so a reader never sees old rows of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa

from lake_resources.storage.catalog import HOUR, utc, whole_hour
from lake_resources.storage.ledger.engine import LedgerEngine
from lake_resources.storage.ledger.tables import PARTITIONS, SEGMENTS

Tier = Literal["day", "month"]
LONGEST = timedelta(days=31)
_KEYS_PER_QUERY = 500


@dataclass(frozen=True)
class HourFile:
    """What compaction needs to know of a committed hour; `sources` is the ledger's JSON.

    Attributes:
        hour: start of the hour, UTC.
        path: its file, relative to the lake's root; gone once a segment took over and the grace is up.
        content_hash: sha256 of that file.
    """

    hour: datetime
    path: str
    row_count: int
    content_hash: str
    size_bytes: int
    schema_hash: str
    code_version: str
    complete: bool
    sources: str


@dataclass(frozen=True)
class Segment:
    """A file of many hours.

    Attributes:
        path: relative to the lake's root.
        start, end: the day or month, half-open, UTC.
        serves: bitmap of the hours that are read from it; bit n is the n-th hour from `start`.
        holds: bitmap of the hours whose rows are in it.
        content_hash: sha256 of the file.
        rows_hash: hash of its rows, equal to that of the files it was made from.
        compacted_at: when it took over, UTC.
        superseded_at: since when it serves no hour, or None.
        cleared_at: when the files it was made from were removed, or None.
    """

    symbol: str
    path: str
    tier: Tier
    start: datetime
    end: datetime
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
    def hours(self) -> list[datetime]:
        """The hours it serves, in order."""
        return [hour for start, end in self.runs() for hour in _between(start, end)]

    def runs(self) -> Iterator[tuple[datetime, datetime]]:
        """The hours it serves as maximal stretches `[start, end)`."""
        return runs(self.start, self.serves)

    def serves_hour(self, hour: datetime) -> bool:
        """Whether that hour is read from this file."""
        return self.start <= hour < self.end and bool(self.serves >> ((hour - self.start) // HOUR) & 1)


class Served(NamedTuple):
    """What a reader needs of a segment, and no more: years of them are looked up at once."""

    path: str
    start: datetime
    serves: int
    holds: int


def runs(start: datetime, bits: int) -> Iterator[tuple[datetime, datetime]]:
    """The hours of a bitmap as maximal stretches `[start, end)`."""
    index = 0
    while bits:
        empty = (bits & -bits).bit_length() - 1
        bits >>= empty
        length = (~bits & (bits + 1)).bit_length() - 1
        yield start + (index + empty) * HOUR, start + (index + empty + length) * HOUR
        bits >>= length
        index += empty + length


def bitmap(start: datetime, hours: Iterable[datetime]) -> int:
    """Bitmap of hours, bit n being the n-th hour from `start`."""
    bits = 0
    for hour in hours:
        bits |= 1 << ((hour - start) // HOUR)
    return bits


class SegmentRows(LedgerEngine):
    """Statements on `segments`, and the view of `partitions` that compaction needs."""

    def segments(
        self, symbol: str, start: datetime | None = None, end: datetime | None = None, *, superseded: bool = False
    ) -> list[Segment]:
        """Segments that serve hours, all or those that overlap `[start, end)`; those that serve none too, if wanted."""
        query = sa.select(SEGMENTS).where(SEGMENTS.c.symbol == symbol)
        query = query.order_by(SEGMENTS.c.start_utc, SEGMENTS.c.path)
        if start is not None and end is not None:
            query = query.where(*_overlap(start, end))
        if not superseded:
            query = query.where(SEGMENTS.c.superseded_at_utc.is_(None))
        with self._read() as connection:
            return [_segment(row) for row in connection.execute(query)]

    def serving(self, symbol: str, start: datetime, end: datetime) -> list[Served]:
        """The segments that serve hours and overlap `[start, end)`, in order."""
        table = SEGMENTS.c
        query = (
            sa.select(table.path, table.start_utc, table.serves, table.holds)
            .where(table.symbol == symbol, table.superseded_at_utc.is_(None), *_overlap(start, end))
            .order_by(table.start_utc, table.path)
        )
        with self._read() as connection:
            found = connection.execute(query).all()
        return [Served(path, first, int(serves, 16), int(holds, 16)) for path, first, serves, holds in found]

    def segment_of(self, symbol: str, hour: datetime) -> Segment | None:
        """The segment that serves an hour, or None where it is read from its own file."""
        hour = whole_hour(hour)
        return next((found for found in self.segments(symbol, hour, hour + HOUR) if found.serves_hour(hour)), None)

    def hours_by_day(self, symbol: str) -> dict[str, int]:
        """Number of committed hours by day (`YYYY-MM-DD`), in order."""
        day = PARTITIONS.c.day
        query = sa.select(day, sa.func.count()).where(PARTITIONS.c.symbol == symbol).group_by(day).order_by(day)
        with self._read() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def hour_files(self, symbol: str, start: datetime, end: datetime) -> list[HourFile]:
        """Committed hours of whole days `[start, end)`, in order."""
        table = PARTITIONS.c
        query = (
            sa.select(
                table.day,
                table.hour,
                table.path,
                table.row_count,
                table.content_hash,
                table.size_bytes,
                table.schema_hash,
                table.code_version,
                table.complete,
                table.sources,
            )
            .where(table.symbol == symbol, table.day >= f"{utc(start):%Y-%m-%d}", table.day < f"{utc(end):%Y-%m-%d}")
            .order_by(table.day, table.hour)
        )
        with self._read() as connection:
            return [HourFile(_hour(day, hour), *row) for day, hour, *row in connection.execute(query)]

    def activate_segment(self, segment: Segment, hours: Mapping[datetime, str]) -> bool:
        """Let a file serve its hours, and no other segment any of them, in one transaction. Under the writer lock.

        Args:
            segment: the file; it already lies under its final name.
            hours: content hash of each hour that went into it.

        Returns:
            False, and nothing is changed, where an hour was committed anew (or a new one appeared) since it was read.
        """
        table = PARTITIONS.c
        days = (f"{segment.start:%Y-%m-%d}", f"{segment.end:%Y-%m-%d}")
        now = sa.select(table.day, table.hour, table.content_hash).where(
            table.symbol == segment.symbol, table.day >= days[0], table.day < days[1]
        )
        with self._write() as connection:
            if {_hour(day, hour): content for day, hour, content in connection.execute(now)} != dict(hours):
                return False
            for other in _overlapping(connection, segment.symbol, segment.start, segment.end):
                if other.path != segment.path:
                    _take_back(connection, other, _moved(segment.serves, segment, other), segment.compacted_at)
            row = _row(segment)
            insert = self._insert(SEGMENTS).values(**row)
            changed: dict[str, Any] = {name: insert.excluded[name] for name in row if name not in ("symbol", "path")}
            connection.execute(insert.on_conflict_do_update(index_elements=["symbol", "path"], set_=changed))
        return True

    def mark_cleared(self, segment: Segment, *, at: datetime) -> None:
        """Note that the files a segment was made from are gone."""
        with self._write() as connection:
            connection.execute(sa.update(SEGMENTS).where(*_is(segment)).values(cleared_at_utc=at))

    def forget_segment(self, segment: Segment) -> None:
        """Drop the row of a superseded segment whose file is gone."""
        with self._write() as connection:
            connection.execute(sa.delete(SEGMENTS).where(*_is(segment), SEGMENTS.c.superseded_at_utc.is_not(None)))


def reopen(connection: sa.Connection, symbol: str, hours: Sequence[datetime], at: datetime) -> None:
    """Take hours back from the segments that serve them: they are read from their own files from now on."""
    for segment in _overlapping(connection, symbol, min(hours), max(hours) + HOUR):
        inside = [hour for hour in hours if segment.start <= hour < segment.end]
        _take_back(connection, segment, bitmap(segment.start, inside), at)


def _overlapping(connection: sa.Connection, symbol: str, start: datetime, end: datetime) -> list[Segment]:
    serving = SEGMENTS.c.superseded_at_utc.is_(None)
    query = sa.select(SEGMENTS).where(SEGMENTS.c.symbol == symbol, serving, *_overlap(start, end))
    return [_segment(row) for row in connection.execute(query)]


def _overlap(start: datetime, end: datetime) -> list[sa.ColumnElement[bool]]:
    # The lower bound lets the index skip the years before; no segment is longer than a month.
    table = SEGMENTS.c
    return [table.start_utc < utc(end), table.start_utc > utc(start) - LONGEST, table.end_utc > utc(start)]


def _take_back(connection: sa.Connection, segment: Segment, hours: int, at: datetime) -> None:
    left = segment.serves & ~hours
    if left == segment.serves:
        return
    changed = replace(segment, serves=left, superseded_at=None if left else at)
    connection.execute(sa.update(SEGMENTS).where(*_is(segment)).values(**_row(changed)))


def _moved(bits: int, source: Segment, target: Segment) -> int:
    """A bitmap of one segment's hours as a bitmap of another's."""
    shift = (target.start - source.start) // HOUR
    return bits >> shift if shift >= 0 else bits << -shift


def _is(segment: Segment) -> list[sa.ColumnElement[bool]]:
    return [SEGMENTS.c.symbol == segment.symbol, SEGMENTS.c.path == segment.path]


def _hour(day: str, hour: int) -> datetime:
    return datetime.fromisoformat(f"{day}T{hour:02}:00:00+00:00")


def _between(start: datetime, end: datetime) -> Iterator[datetime]:
    while start < end:
        yield start
        start += HOUR


def _row(segment: Segment) -> dict[str, Any]:
    return {
        "symbol": segment.symbol,
        "path": segment.path,
        "tier": segment.tier,
        "start_utc": segment.start,
        "end_utc": segment.end,
        "serves": f"{segment.serves:x}",
        "holds": f"{segment.holds:x}",
        "row_count": segment.row_count,
        "content_hash": segment.content_hash,
        "rows_hash": segment.rows_hash,
        "size_bytes": segment.size_bytes,
        "schema_hash": segment.schema_hash,
        "compacted_at_utc": segment.compacted_at,
        "superseded_at_utc": segment.superseded_at,
        "cleared_at_utc": segment.cleared_at,
    }


def _segment(row: sa.Row[Any]) -> Segment:
    return Segment(
        row.symbol,
        row.path,
        row.tier,
        row.start_utc,
        row.end_utc,
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
