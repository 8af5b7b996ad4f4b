"""Hours of the minute table in the ledger: what is committed, what is about to be, and the watermark.

Belongs here: rows of `partitions`, `intents` and `watermark`, and the transaction that turns one into the next.
Does not belong here: files (`commit` moves them), and any decision on which candidate is better.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import sqlalchemy as sa

from lake_resources.storage.catalog import HOUR, floor_hour, utc, whole_hour
from lake_resources.storage.ledger.compacted_rows import reopen
from lake_resources.storage.ledger.engine import LedgerEngine
from lake_resources.storage.ledger.tables import INTENTS, PARTITIONS, QUARANTINE, WATERMARK
from lake_resources.storage.provenance import SourceRef, sources_from_json, sources_to_json

MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class Partition:
    """One hour of one symbol's minute table.

    Attributes:
        hour: start of the hour, UTC.
        path: its file, relative to the lake's root.
        min_ts: first timestamp, None in an empty file.
        max_ts: last timestamp, None in an empty file.
        expected_rows: minutes from the start of the hour that had to exist; rows after them are provisional.
        content_hash: sha256 of the file.
        inputs_hash: hash of everything the rows were computed from.
        complete: all expected rows of a closed hour are there.
        sources: source by stream.
        committed_at: when it was committed, UTC.
        checks: what the checks said about the rows, as JSON.
    """

    symbol: str
    hour: datetime
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

    @property
    def provisional_from(self) -> datetime | None:
        """The first minute that was not required yet when the hour was committed, if there are such rows."""
        required_end = self.hour + self.expected_rows * MINUTE
        return required_end if self.max_ts is not None and self.max_ts >= required_end else None


@dataclass(frozen=True)
class Intent:
    """A partition that is staged in `temp_path` (relative to the root) and about to be published."""

    partition: Partition
    temp_path: str


class PartitionRows(LedgerEngine):
    """Statements on `partitions`, `intents` and `watermark`."""

    def partition(self, symbol: str, hour: datetime) -> Partition | None:
        """The committed hour, or None."""
        hour = whole_hour(hour)
        found = self.partitions(symbol, hour, hour + HOUR)
        return found[0] if found else None

    def partitions(self, symbol: str, start: datetime, end: datetime) -> list[Partition]:
        """Committed hours that overlap `[start, end)`, in order."""
        query = _hours_of(sa.select(PARTITIONS), PARTITIONS, symbol, start, end)
        with self._read() as connection:
            return [_partition(row) for row in connection.execute(query).mappings()]

    def partition_paths(self, symbol: str, start: datetime, end: datetime) -> list[str]:
        """Paths of the committed hours that overlap `[start, end)`, in order; what a reader needs and no more."""
        query = _hours_of(sa.select(PARTITIONS.c.path), PARTITIONS, symbol, start, end)
        with self._read() as connection:
            return list(connection.execute(query).scalars())

    def missing_hours(self, symbol: str, start: datetime, end: datetime) -> list[datetime]:
        """Hours that overlap `[start, end)` and are not committed, in order."""
        columns = sa.select(PARTITIONS.c.day, PARTITIONS.c.hour)
        with self._read() as connection:
            rows = connection.execute(_hours_of(columns, PARTITIONS, symbol, start, end)).all()
        held = {_hour(row.day, row.hour) for row in rows}
        first, end = floor_hour(start), utc(end)
        count = max(0, -((first - end) // HOUR))
        return [hour for hour in (first + index * HOUR for index in range(count)) if hour not in held]

    def symbols(self) -> list[str]:
        """Symbols with committed hours."""
        with self._read() as connection:
            return list(connection.execute(sa.select(WATERMARK.c.symbol).order_by(WATERMARK.c.symbol)).scalars())

    def watermark(self, symbol: str) -> datetime | None:
        """Last minute up to which every hour since the first commit is committed whole or in quarantine."""
        query = sa.select(WATERMARK.c.last_complete_minute_utc).where(WATERMARK.c.symbol == symbol)
        with self._read() as connection:
            return connection.execute(query).scalar()

    def intents(self, symbol: str | None = None) -> list[Intent]:
        """What a writer was about to publish; empty unless one is at work or died."""
        with self._read() as connection:
            return intents_of(connection, symbol)

    def write_intents(self, intents: Sequence[Intent]) -> None:
        """Note durably what is about to be published. The caller holds the symbol's writer lock."""
        rows = [_row(intent.partition) | {"status": "STAGED", "temp_path": intent.temp_path} for intent in intents]
        with self._write() as connection:
            connection.execute(sa.insert(INTENTS), rows)

    def drop_intents(self, symbol: str, hours: Iterable[datetime]) -> None:
        """Forget intents that were not published; what was committed before stays. Under the writer lock."""
        keys = [(f"{whole_hour(hour):%Y-%m-%d}", utc(hour).hour) for hour in hours]
        with self._write() as connection:
            for day, hour in keys:
                connection.execute(
                    sa.delete(INTENTS).where(INTENTS.c.symbol == symbol, INTENTS.c.day == day, INTENTS.c.hour == hour)
                )

    def commit_intents(self, symbol: str, publish: Callable[[], None] | None = None) -> None:
        """In one transaction: the symbol's intents become committed, their quarantine is resolved, the watermark moves.

        Day and month files that served these hours serve only their others from then on. The time of the commit is the
        one in the intents. Under the writer lock.

        Args:
            symbol: whose intents.
            publish: gives the files their final names, durably; None where they have them. It is the last step before
                the end of the transaction, so that waiting for the ledger does not lengthen the moment between the
                two.
        """
        mine = INTENTS.c.symbol == symbol
        names = [column.name for column in PARTITIONS.columns]
        values = [sa.literal("COMMITTED") if name == "status" else INTENTS.c[name] for name in names]
        keys = sa.select(INTENTS.c.day, INTENTS.c.hour).where(mine)
        with self._write() as connection:
            hours = [
                (_hour(row.day, row.hour), row.committed_at_utc)
                for row in connection.execute(
                    sa.select(INTENTS.c.day, INTENTS.c.hour, INTENTS.c.committed_at_utc).where(mine)
                )
            ]
            if not hours:
                return
            connection.execute(
                sa.delete(PARTITIONS).where(
                    PARTITIONS.c.symbol == symbol, sa.tuple_(PARTITIONS.c.day, PARTITIONS.c.hour).in_(keys)
                )
            )
            connection.execute(sa.insert(PARTITIONS).from_select(names, sa.select(*values).where(mine)))
            connection.execute(sa.delete(INTENTS).where(mine))
            at = max(committed_at for _, committed_at in hours)
            resolve(connection, symbol, [hour for hour, _ in hours], at)
            reopen(connection, symbol, [hour for hour, _ in hours], at)
            advance_watermark(connection, symbol, at)
            if publish is not None:
                publish()


def intents_of(connection: sa.Connection, symbol: str | None = None) -> list[Intent]:
    """Intents of one symbol or of all, in order."""
    query = sa.select(INTENTS).order_by(INTENTS.c.symbol, INTENTS.c.day, INTENTS.c.hour)
    if symbol is not None:
        query = query.where(INTENTS.c.symbol == symbol)
    return [Intent(_partition(row), row["temp_path"]) for row in connection.execute(query).mappings()]


def resolve(connection: sa.Connection, symbol: str, hours: Sequence[datetime], at: datetime) -> None:
    """Close the open quarantine rows of these hours."""
    for index in range(0, len(hours), 500):
        connection.execute(
            sa.update(QUARANTINE)
            .where(
                QUARANTINE.c.symbol == symbol,
                QUARANTINE.c.hour.in_(hours[index : index + 500]),
                QUARANTINE.c.resolved_at_utc.is_(None),
            )
            .values(resolved_at_utc=at)
        )


def advance_watermark(connection: sa.Connection, symbol: str, at: datetime) -> None:
    """Move the watermark over every hour that is now accounted for; it never moves back.

    It starts at the first hour of the symbol's first commit. The hour it stands in is looked at again, so an hour that
    is still open is passed only once it is whole (or in quarantine).
    """
    row = connection.execute(sa.select(WATERMARK).where(WATERMARK.c.symbol == symbol)).one_or_none()
    held = None if row is None else row.last_complete_minute_utc
    hour = _first_hour(connection, symbol) if held is None else floor_hour(held)
    mark, span = held, 24
    while hour is not None:
        reached = _reached(connection, symbol, hour, hour + span * HOUR)
        end = hour + span * HOUR
        while hour < end:
            last, whole = reached.get(hour, (None, False))
            if last is not None and (mark is None or last > mark):
                mark = last
            if not whole:
                break
            hour += HOUR
        if hour < end:
            break
        span = min(2 * span, 2_400)  # a closed gap may have years of committed hours behind it
    if mark is None or mark == held:
        return
    if held is None:
        connection.execute(
            sa.insert(WATERMARK), {"symbol": symbol, "last_complete_minute_utc": mark, "updated_at_utc": at}
        )
    else:
        connection.execute(
            sa.update(WATERMARK)
            .where(WATERMARK.c.symbol == symbol)
            .values(last_complete_minute_utc=mark, updated_at_utc=at)
        )


def _first_hour(connection: sa.Connection, symbol: str) -> datetime | None:
    first = connection.execute(
        sa.select(PARTITIONS.c.day, PARTITIONS.c.hour)
        .where(PARTITIONS.c.symbol == symbol)
        .order_by(PARTITIONS.c.day, PARTITIONS.c.hour)
        .limit(1)
    ).one_or_none()
    return None if first is None else _hour(first.day, first.hour)


def _reached(
    connection: sa.Connection, symbol: str, start: datetime, end: datetime
) -> dict[datetime, tuple[datetime | None, bool]]:
    """By hour: the last minute accounted for, and whether that is all of the hour."""
    reached: dict[datetime, tuple[datetime | None, bool]] = {}
    table = PARTITIONS.c
    columns = sa.select(table.day, table.hour, table.complete, table.max_ts, table.expected_rows)
    for row in connection.execute(_hours_of(columns, PARTITIONS, symbol, start, end)):
        hour = _hour(row.day, row.hour)
        reached[hour] = (hour + HOUR - MINUTE if row.complete else _last_required(hour, row), row.complete)
    open_rows = sa.select(QUARANTINE.c.hour, QUARANTINE.c.accounted_until_utc).where(
        QUARANTINE.c.symbol == symbol,
        QUARANTINE.c.hour >= start,
        QUARANTINE.c.hour < end,
        QUARANTINE.c.resolved_at_utc.is_(None),
    )
    for row in connection.execute(open_rows):
        last, whole = reached.get(row.hour, (None, False))
        until = row.accounted_until_utc - MINUTE
        if until >= row.hour and (last is None or until > last):
            last = until
        reached[row.hour] = (last, whole or row.accounted_until_utc >= row.hour + HOUR)
    return reached


def _last_required(hour: datetime, row: sa.Row[Any]) -> datetime | None:
    """The last minute of an open hour that does not count as provisional."""
    if row.max_ts is None or not row.expected_rows:
        return None
    last: datetime = row.max_ts
    required: int = row.expected_rows
    return min(last, hour + (required - 1) * MINUTE)


def _hours_of(query: sa.Select[Any], table: sa.Table, symbol: str, start: datetime, end: datetime) -> sa.Select[Any]:
    first, last = floor_hour(start), utc(end) - timedelta(microseconds=1)
    day, hour = table.c.day, table.c.hour
    first_day, last_day = f"{first:%Y-%m-%d}", f"{last:%Y-%m-%d}"
    return query.where(
        table.c.symbol == symbol,
        day >= first_day,
        day <= last_day,
        sa.or_(day > first_day, hour >= first.hour),
        sa.or_(day < last_day, hour <= last.hour),
    ).order_by(day, hour)


def _hour(day: str, hour: int) -> datetime:
    return datetime.combine(date.fromisoformat(day), time(hour), UTC)


def _row(partition: Partition) -> dict[str, Any]:
    hour = whole_hour(partition.hour)
    return {
        "symbol": partition.symbol,
        "day": f"{hour:%Y-%m-%d}",
        "hour": hour.hour,
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
    }


def _partition(row: sa.RowMapping) -> Partition:
    return Partition(
        symbol=row["symbol"],
        hour=_hour(row["day"], row["hour"]),
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
        checks=row["checks"],
        committed_at=row["committed_at_utc"],
    )
