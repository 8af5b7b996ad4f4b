"""Raw inputs in the ledger: Vision archives and REST captures, every vintage of them.

Belongs here: rows of `archives` and `captures`. Does not belong here: fetching, parsing, publishing their files.
A re-published archive or a repeated capture gets a row and a file of its own; exactly one vintage is current.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from lake_resources.storage.catalog import floor_hour, utc, whole_hour
from lake_resources.storage.ledger.table_rows import TableRows, keyed
from lake_resources.storage.ledger.tables import ARCHIVES, CAPTURES


@dataclass(frozen=True)
class Archive:
    """One vintage of one Vision file.

    Attributes:
        period: `YYYY-MM-DD`, or `YYYY-MM` of a monthly stream.
        sha256: of the zip.
        url: where it came from.
        path: its typed rows, relative to the lake's root.
        content_hash: sha256 of the typed file.
        size_bytes: size of the zip.
        checksum_verdict: `verified`, or why it could not be.
        fetched_at: UTC.
        is_current: False once a re-publication replaced it.
    """

    symbol: str
    stream: str
    period: str
    sha256: str
    url: str
    path: str
    row_count: int
    min_ts: datetime | None
    max_ts: datetime | None
    content_hash: str
    size_bytes: int
    checksum_verdict: str
    fetched_at: datetime
    is_current: bool = True


@dataclass(frozen=True)
class Capture:
    """One vintage of what REST returned for one hour of one stream.

    Attributes:
        hour: start of the hour, UTC.
        path: its rows, relative to the lake's root.
        window_start: first instant asked for, UTC.
        window_end: first instant not asked for, UTC.
        complete: the answer covers the whole hour.
        request: what was asked, as a URL path and query without secrets.
        content_hash: sha256 of the file.
        captured_at: UTC.
        is_current: False once a later capture that is not less complete replaced it.
    """

    symbol: str
    stream: str
    hour: datetime
    path: str
    row_count: int
    window_start: datetime
    window_end: datetime
    complete: bool
    request: str
    content_hash: str
    captured_at: datetime
    is_current: bool = True


_Hour = tuple[str, str, datetime]
"""Symbol, stream and start of an hour."""


class SourceRows(TableRows):
    """Statements on `archives` and `captures`."""

    def record_archive(self, archive: Archive) -> None:
        """Add a vintage and make it the current one; recording the same zip again updates its row."""
        with self.engine.writing(f"{self.layout.market}/{archive.symbol}") as connection:
            key = self._key(symbol=archive.symbol, stream=archive.stream, period=archive.period)
            _supersede(connection, ARCHIVES, key)
            self.engine.upsert(connection, ARCHIVES, [_archive_row(archive) | key | {"is_current": True}])

    def archive(self, symbol: str, stream: str, period: str) -> Archive | None:
        """The current vintage, or None."""
        key = self._key(symbol=symbol, stream=stream, period=period)
        with self.reading() as connection:
            row = connection.execute(_ARCHIVE, key).mappings().one_or_none()
        return None if row is None else _archive(row)

    def archive_vintages(self, symbol: str, stream: str, period: str) -> list[Archive]:
        """All vintages, oldest first."""
        key = self._key(symbol=symbol, stream=stream, period=period)
        query = sa.select(ARCHIVES).where(*_is(ARCHIVES, key)).order_by(ARCHIVES.c.fetched_at_utc, ARCHIVES.c.sha256)
        with self.reading() as connection:
            return [_archive(row) for row in connection.execute(query).mappings()]

    def archives_between(self, symbol: str, stream: str, start: datetime, end: datetime) -> list[Archive]:
        """Current vintages of the days (or months) that overlap `[start, end)`, in order."""
        first, last = utc(start), utc(end) - timedelta(microseconds=1)
        # As text a month is less than each of its days, so the month of the start is the lower bound for both.
        given = self._key(symbol=symbol, stream=stream) | {"first": f"{first:%Y-%m}", "last": f"{last:%Y-%m-%d}"}
        with self.reading() as connection:
            return of_days(
                [_archive(row) for row in connection.execute(_ARCHIVES_BETWEEN, given).mappings()], start, end
            )

    def archives_of(self, symbols: Sequence[str], start: datetime, end: datetime) -> list[Archive]:
        """Current vintages of all streams of some symbols whose periods may overlap `[start, end)`, by period."""
        first, last = utc(start), utc(end) - timedelta(microseconds=1)
        query = sa.select(ARCHIVES).where(
            self.of_market(ARCHIVES),
            ARCHIVES.c.symbol.in_(symbols),
            ARCHIVES.c.period >= f"{first:%Y-%m}",
            ARCHIVES.c.period <= f"{last:%Y-%m-%d}",
            ARCHIVES.c.is_current,
        )
        with self.reading() as connection:
            return [_archive(row) for row in connection.execute(query.order_by(ARCHIVES.c.period)).mappings()]

    def archives_from(self, directory: str) -> list[Archive]:
        """All vintages whose address lies in a directory of the exchange's archives, e.g. `spot`."""
        query = sa.select(ARCHIVES).where(
            self.of_market(ARCHIVES), ARCHIVES.c.url.contains(f"/data/{directory}/", autoescape=True)
        )
        with self.reading() as connection:
            return [_archive(row) for row in connection.execute(query).mappings()]

    def move_archive(self, archive: Archive, market: str, path: str) -> None:
        """Give a vintage to another market, under whose name it is current where nothing else of its period is.

        The newest one that stays becomes current where it was this one. Moving it again changes nothing.

        Args:
            archive: a vintage of this market.
            market: the market that it is of.
            path: where its file lies now, relative to the lake's root.
        """
        here = self._key(symbol=archive.symbol, stream=archive.stream, period=archive.period)
        there = here | {"market": market}
        with self.engine.writing() as connection:
            held = connection.execute(sa.select(ARCHIVES.c.sha256, ARCHIVES.c.is_current).where(*_is(ARCHIVES, there)))
            known = {row.sha256: row.is_current for row in held}
            if archive.sha256 not in known:
                row = _archive_row(archive) | there | {"path": path, "is_current": not any(known.values())}
                self.engine.upsert(connection, ARCHIVES, [row])
            connection.execute(sa.delete(ARCHIVES).where(*_is(ARCHIVES, here | {"sha256": archive.sha256})))
            if archive.is_current:
                newest = sa.select(ARCHIVES.c.sha256).where(*_is(ARCHIVES, here))
                left = connection.execute(newest.order_by(ARCHIVES.c.fetched_at_utc.desc()).limit(1)).scalar()
                one = _is(ARCHIVES, here | {"sha256": left})
                connection.execute(sa.update(ARCHIVES).where(*one).values(is_current=True))

    def record_captures(self, captures: Iterable[Capture]) -> None:
        """Add vintages in one transaction; each becomes current unless the current one alone covers the whole hour."""
        captures = list(captures)
        if not captures:
            return
        symbols = {capture.symbol for capture in captures}
        key = f"{self.layout.market}/{next(iter(symbols))}" if len(symbols) == 1 else None
        with self.engine.writing(key) as connection:
            held, current = self._current(connection, captures), dict[_Hour, int]()
            for index, capture in enumerate(captures):
                hour = _hour_of(capture)
                whole, content_hash = held.get(hour, (False, ""))
                if capture.complete or not whole or content_hash == capture.content_hash:
                    held[hour], current[hour] = (capture.complete, capture.content_hash), index
            if current:
                names = ("b_symbol", "b_stream", "b_hour")
                given = [{"b_market": self.layout.market, **dict(zip(names, hour, strict=True))} for hour in current]
                connection.execute(_SUPERSEDE_CAPTURES, given)
            rows = [
                _capture_row(capture)
                | {"market": self.layout.market, "is_current": current.get(_hour_of(capture)) == i}
                for i, capture in enumerate(captures)
            ]
            self.engine.upsert(connection, CAPTURES, rows)

    def _current(self, connection: sa.Connection, captures: Sequence[Capture]) -> dict[_Hour, tuple[bool, str]]:
        """Within a transaction: of the hours of these vintages whether the current one is whole, and its hash."""
        c, hours = CAPTURES.c, {_hour_of(capture) for capture in captures}
        query = sa.select(c.symbol, c.stream, c.hour, c.complete, c.content_hash).where(
            self.of_market(CAPTURES),
            *(
                column.in_(sorted({hour[at] for hour in hours}))
                for at, column in enumerate((c.symbol, c.stream, c.hour))
            ),
            c.is_current,
        )
        found = connection.execute(query).all()
        return {(row[0], row[1], row[2]): (row[3], row[4]) for row in found if (row[0], row[1], row[2]) in hours}

    def capture_vintages(self, symbol: str, stream: str, hour: datetime) -> list[Capture]:
        """All vintages of one hour, oldest first."""
        key = self._key(symbol=symbol, stream=stream, hour=whole_hour(hour))
        query = (
            sa.select(CAPTURES).where(*_is(CAPTURES, key)).order_by(CAPTURES.c.captured_at_utc, CAPTURES.c.content_hash)
        )
        with self.reading() as connection:
            return [_capture(row) for row in connection.execute(query).mappings()]

    def captures_between(self, symbol: str, stream: str, start: datetime, end: datetime) -> list[Capture]:
        """Current vintages of the hours that overlap `[start, end)`, in order."""
        given = self._key(symbol=symbol, stream=stream) | {"first": floor_hour(start), "last": utc(end)}
        with self.reading() as connection:
            return [_capture(row) for row in connection.execute(_CAPTURES_BETWEEN, given).mappings()]

    def captures_of(
        self, symbols: Sequence[str], start: datetime, end: datetime, *, unfinished: bool = False
    ) -> list[Capture]:
        """Current vintages of all streams of some symbols, of the hours that overlap `[start, end)`, by hour.

        Args:
            symbols: of the market.
            start: first instant, UTC.
            end: first instant after the window, UTC.
            unfinished: only those that were taken before their hour was over and settled.
        """
        query = sa.select(*_IN_ORDER).where(
            self.of_market(CAPTURES),
            CAPTURES.c.symbol.in_(symbols),
            CAPTURES.c.hour >= floor_hour(start),
            CAPTURES.c.hour < utc(end),
            CAPTURES.c.is_current,
        )
        if unfinished:
            query = query.where(sa.not_(CAPTURES.c.complete))
        with self.reading() as connection:
            return [Capture(*row) for row in connection.execute(query.order_by(CAPTURES.c.hour))]

    def unfinished_captures(self, symbol: str, start: datetime, end: datetime) -> list[Capture]:
        """Current vintages, of all streams, that were taken before their hour was over and settled."""
        query = sa.select(CAPTURES).where(
            *_is(CAPTURES, self._key(symbol=symbol)),
            CAPTURES.c.hour >= floor_hour(start),
            CAPTURES.c.hour < utc(end),
            CAPTURES.c.is_current,
            sa.not_(CAPTURES.c.complete),
        )
        with self.reading() as connection:
            return [_capture(row) for row in connection.execute(query.order_by(CAPTURES.c.hour)).mappings()]

    def captures_since(self, instant: datetime) -> int:
        """How many answers of REST were kept since an instant."""
        query = sa.select(sa.func.count()).where(self.of_market(CAPTURES), CAPTURES.c.captured_at_utc >= utc(instant))
        with self.reading() as connection:
            return connection.execute(query).scalar_one()

    def superseded_captures(self, before: datetime, limit: int) -> list[Capture]:
        """Vintages of unfinished hours that a later one replaced, taken before an instant; oldest first."""
        query = (
            sa.select(CAPTURES)
            .where(
                self.of_market(CAPTURES),
                sa.not_(CAPTURES.c.is_current),
                sa.not_(CAPTURES.c.complete),
                CAPTURES.c.captured_at_utc < utc(before),
            )
            .order_by(CAPTURES.c.captured_at_utc)
            .limit(limit)
        )
        with self.reading() as connection:
            return [_capture(row) for row in connection.execute(query).mappings()]

    def forget_captures(self, captures: Iterable[Capture]) -> None:
        """Drop the rows of vintages that no committed hour refers to; their files are the caller's."""
        with self.engine.writing() as connection:
            for capture in captures:
                key = self._key(
                    symbol=capture.symbol,
                    stream=capture.stream,
                    hour=whole_hour(capture.hour),
                    content_hash=capture.content_hash,
                )
                connection.execute(sa.delete(CAPTURES).where(*_is(CAPTURES, key), sa.not_(CAPTURES.c.is_current)))

    def _key(self, **key: Any) -> dict[str, Any]:
        """The columns that identify a row of the market's streams, with their values."""
        return {"market": self.layout.market, **key}


def of_days(archives: Iterable[Archive], start: datetime, end: datetime) -> list[Archive]:
    """Those whose day (or month) overlaps `[start, end)`, in their order."""
    first, last = utc(start), utc(end) - timedelta(microseconds=1)
    months, days = (f"{first:%Y-%m}", f"{last:%Y-%m}"), (f"{first:%Y-%m-%d}", f"{last:%Y-%m-%d}")
    bounds = {len(each[0]): each for each in (months, days)}
    return [each for each in archives if (of := bounds[len(each.period)])[0] <= each.period <= of[1]]


def _is(table: sa.Table, key: Mapping[str, Any]) -> list[sa.ColumnElement[bool]]:
    return [table.c[name] == value for name, value in key.items()]


# Asked for each stream of each hour that is built: making a statement costs more than executing it.
_ARCHIVE = sa.select(ARCHIVES).where(*keyed(ARCHIVES, "market", "symbol", "stream", "period"), ARCHIVES.c.is_current)
_ARCHIVES_BETWEEN = (
    sa.select(ARCHIVES)
    .where(
        *keyed(ARCHIVES, "market", "symbol", "stream"),
        ARCHIVES.c.period >= sa.bindparam("first", type_=ARCHIVES.c.period.type),
        ARCHIVES.c.period <= sa.bindparam("last", type_=ARCHIVES.c.period.type),
        ARCHIVES.c.is_current,
    )
    .order_by(ARCHIVES.c.period)
)
_IN_ORDER = [CAPTURES.c["captured_at_utc" if field.name == "captured_at" else field.name] for field in fields(Capture)]
"""Columns in the order of the fields of a `Capture`: a turn of the builder reads thousands of them."""
_CAPTURES_BETWEEN = (
    sa.select(CAPTURES)
    .where(
        *keyed(CAPTURES, "market", "symbol", "stream"),
        CAPTURES.c.hour >= sa.bindparam("first", type_=CAPTURES.c.hour.type),
        CAPTURES.c.hour < sa.bindparam("last", type_=CAPTURES.c.hour.type),
        CAPTURES.c.is_current,
    )
    .order_by(CAPTURES.c.hour)
)


_SUPERSEDE_CAPTURES = (
    sa.update(CAPTURES)
    .where(
        *(
            CAPTURES.c[n] == sa.bindparam(f"b_{n}", type_=CAPTURES.c[n].type)
            for n in ("market", "symbol", "stream", "hour")
        ),
        CAPTURES.c.is_current,
    )
    .values(is_current=False)
)


def _hour_of(capture: Capture) -> _Hour:
    return capture.symbol, capture.stream, whole_hour(capture.hour)


def _supersede(connection: sa.Connection, table: sa.Table, key: Mapping[str, Any]) -> None:
    connection.execute(sa.update(table).where(*_is(table, key), table.c.is_current).values(is_current=False))


def _archive_row(archive: Archive) -> dict[str, Any]:
    row = dict(vars(archive))
    row["fetched_at_utc"] = row.pop("fetched_at")
    return row


def _archive(row: sa.RowMapping) -> Archive:
    values = dict(row)
    del values["market"]
    return Archive(fetched_at=values.pop("fetched_at_utc"), **values)


def _capture_row(capture: Capture) -> dict[str, Any]:
    row = dict(vars(capture))
    row["hour"] = whole_hour(capture.hour)
    row["captured_at_utc"] = row.pop("captured_at")
    return row


def _capture(row: sa.RowMapping) -> Capture:
    values = dict(row)
    del values["market"]
    return Capture(captured_at=values.pop("captured_at_utc"), **values)
