"""Which version a ledger's file has, and how one of the version before becomes one of today.

Belongs here: looking at a file without writing to it, refusing newer ones, the one transaction that migrates, the
backup before it. Does not belong here: the tables of today (`tables`), connections of everyday (`engine`).

A migration touches the ledger alone: no Parquet file is rewritten. All of it is one transaction under the database's
write lock, so a kill leaves the old version, and of two processes that open the lake at once one waits and finds it
done. The backup is complete under its name or not there.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import sqlalchemy as sa

from lake_resources.clock import system_clock
from lake_resources.errors import LedgerError, LedgerVersion
from lake_resources.layout import FIRST_MARKET, FIRST_TABLE
from lake_resources.sqlite_file import LOOK_WAIT_S, connect_to_read
from lake_resources.storage.disk import disk_errors, fsync_dirs, fsync_file
from lake_resources.storage.ledger.tables import LEDGER_VERSION, METADATA, VERSION

_ASIDE = "version_1_"
_START = "day || 'T' || printf('%02d', hour) || ':00:00.000000Z'"
_OF_TABLE = {"table_name": f"'{FIRST_TABLE}'"}
_OF_MARKET = {"market": f"'{FIRST_MARKET}'"}
_FROM_1: dict[str, tuple[str, dict[str, str]]] = {
    "watermark": ("watermark", _OF_TABLE | {"last_complete_utc": "last_complete_minute_utc"}),
    "partitions": ("partitions", _OF_TABLE | {"start_utc": _START}),
    "intents": ("intents", _OF_TABLE | {"start_utc": _START}),
    "compacted_files": ("segments", _OF_TABLE),
    "quarantine": ("quarantine", _OF_TABLE | {"start_utc": "hour"}),
    "revisions": ("revisions", _OF_TABLE),
    "archives": ("archives", _OF_MARKET),
    "captures": ("captures", _OF_MARKET),
    "missing_sources": ("missing_sources", _OF_MARKET),
    "listings": ("listings", _OF_MARKET),
    "known_holes": ("known_holes", _OF_MARKET),
    "collector_connections": ("collector_connections", _OF_MARKET),
    "collector_trade_gaps": ("collector_trade_gaps", _OF_MARKET),
    "collector_known_ids": ("collector_known_ids", _OF_MARKET),
}
"""Table of today → table of version 1, and how the columns that it had under another name, or not at all, are made."""


def version_of(path: Path, wait_s: float = LOOK_WAIT_S) -> int | None:
    """Version of a ledger's file, None where there is none yet. Writes nothing, waits so long for one who locks it.

    Raises:
        LedgerError: the file is a database of something else.
        sqlite3.DatabaseError: it does not read.
    """
    if not path.is_file() or not path.stat().st_size:
        return None
    with closing(connect_to_read(path, wait_s)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if VERSION.name in tables:
            found = connection.execute(f"SELECT max(version) FROM {VERSION.name}").fetchone()  # noqa: S608 - a name
            return None if found[0] is None else int(found[0])
    if tables:
        raise LedgerError(
            f"ledger {path}: it is a database of something else", remedy="Set LAKE_LEDGER_URL to the lake's own ledger"
        )
    return None


def refuse_newer(path: Path, wait_s: float = LOOK_WAIT_S) -> None:
    """Refuse the ledger of a newer version before anything is written to it.

    One that stays locked for `wait_s` is not looked at: who opens it then waits himself.

    Raises:
        LedgerError: the file is a database of something else.
        LedgerVersion: newer code made it.
    """
    # Another first user may be at the file's very first page; what is damaged is told by the first statement.
    with suppress(sqlite3.DatabaseError):
        _refuse_newer(path, version_of(path, wait_s))


def _refuse_newer(path: Path | str, found: int | None) -> None:
    if found is not None and found > LEDGER_VERSION:
        raise LedgerVersion(
            f"ledger {path} has version {found}, this code knows versions up to {LEDGER_VERSION}",
            remedy="Install the version of minute-lake that made it, or a newer one; nothing was changed",
        )


def require_current(path: Path) -> None:
    """Refuse a ledger that cannot be read as it is, where it cannot be migrated either.

    Raises:
        LedgerError: the file does not read, or is a database of something else.
        LedgerVersion: it has another version.
    """
    try:
        found = version_of(path)
    except sqlite3.DatabaseError as error:
        raise LedgerError(
            f"ledger {path}: {error}", remedy="See the runbook, section 'The ledger is damaged'"
        ) from error
    _refuse_newer(path, found)
    if found != LEDGER_VERSION:
        raise LedgerVersion(
            f"ledger {path} has version {found or 0}, is read-only here and must become {LEDGER_VERSION} first",
            remedy="Run any `lake` command, e.g. `lake init-state`, where the lake is writable: it migrates in place",
        )


def is_current(engine: sa.Engine) -> bool:
    """Whether all tables of today are there, with today's version, and what makes a second current row impossible."""
    found = sa.inspect(engine)
    if not set(found.get_table_names()).issuperset(METADATA.tables):
        return False
    for table in METADATA.tables.values():
        wanted = {index.name for index in table.indexes if index.unique}
        if wanted and not wanted <= {index["name"] for index in found.get_indexes(table.name)}:
            return False
    with engine.connect() as connection:
        return bool(connection.scalar(sa.select(sa.func.max(VERSION.c.version))) == LEDGER_VERSION)


def bring_up_to_date(connection: sa.Connection, path: Path) -> None:
    """Create what is absent, migrate what is old. In a transaction that holds the write lock.

    Raises:
        DiskFull: no space for the backup; nothing was changed.
        LedgerError: a ledger of today lost a table.
        LedgerVersion: another process has made it newer than this code.
    """
    present = set(sa.inspect(connection).get_table_names())
    held = connection.scalar(sa.select(sa.func.max(VERSION.c.version))) if VERSION.name in present else None
    _refuse_newer(path, held)
    if held == 1:
        _back_up(path, held)
        _migrate_from_1(connection, present)
        held = 0
    _complete(connection, METADATA, held)


def make_current(connection: sa.Connection, tables: sa.MetaData, where: str) -> None:
    """Create what is absent in a database that has no versions of before. In a transaction that holds the write lock.

    Args:
        connection: to that database.
        tables: those of today, as this database has them.
        where: the ledger, for people.

    Raises:
        LedgerError: a ledger of today lost a table.
        LedgerVersion: newer code made it.
    """
    is_there = sa.inspect(connection).has_table(VERSION.name)
    held = connection.scalar(sa.select(sa.func.max(VERSION.c.version))) if is_there else None
    _refuse_newer(where, held)
    _complete(connection, tables, held)


def _complete(connection: sa.Connection, tables: sa.MetaData, held: int | None) -> None:
    """Tables and indexes that are absent, and the version of today.

    Raises:
        LedgerError: a table is gone without which no ledger of today was ever made: an empty one would say that nothing
            is there.
    """
    if held == LEDGER_VERSION:
        lost = set(_FROM_1).intersection(tables.tables).difference(sa.inspect(connection).get_table_names())
        if lost:
            raise LedgerError(
                f"the ledger lost its table {', '.join(sorted(lost))}; no empty one is begun",
                remedy="`lake rebuild-ledger` makes it anew; see the runbook, section 'The ledger is damaged'",
            )
    tables.create_all(connection)
    for table in tables.tables.values():
        for index in table.indexes:  # of a table that was there already, none was created above
            index.create(connection, checkfirst=True)
    if held != LEDGER_VERSION:
        connection.execute(sa.delete(VERSION))
        connection.execute(sa.insert(VERSION).values(version=LEDGER_VERSION))


def _migrate_from_1(connection: sa.Connection, present: set[str]) -> None:
    """Old tables aside, new ones made, rows copied by the names of their columns, old tables gone."""
    old_columns: dict[str, set[str]] = {}
    for old, _ in _FROM_1.values():
        if old in present:
            old_columns[old] = {column["name"] for column in sa.inspect(connection).get_columns(old)}
            connection.exec_driver_sql(f'ALTER TABLE "{old}" RENAME TO "{_ASIDE}{old}"')
    # An index keeps its name when its table gets another.
    for name in ("segments_start", "quarantine_hour"):
        connection.exec_driver_sql(f"DROP INDEX IF EXISTS {name}")
    METADATA.create_all(connection)
    for new, (old, made) in _FROM_1.items():
        if old not in present:
            continue
        names = [
            column.name for column in METADATA.tables[new].columns if column.name in old_columns[old] | made.keys()
        ]
        values = ", ".join(made.get(name, f'"{name}"') for name in names)
        into = ", ".join(f'"{name}"' for name in names)
        connection.exec_driver_sql(f'INSERT INTO "{new}" ({into}) SELECT {values} FROM "{_ASIDE}{old}"')  # noqa: S608 - names of tables and columns
        connection.exec_driver_sql(f'DROP TABLE "{_ASIDE}{old}"')


def _back_up(path: Path, version: int) -> Path:
    """A copy of the ledger beside it, as it was committed last; its name says version and time."""
    target = path.with_name(f"{path.name}.version-{version}.{system_clock():%Y%m%dT%H%M%S.%fZ}")
    partial = target.with_name(f"{target.name}.partial")
    for left in path.parent.glob(f"{path.name}.version-*.partial"):
        left.unlink(missing_ok=True)  # of a process that was killed; the write lock is ours
    with disk_errors(f"backup of the ledger {target}"):
        try:
            with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(partial)) as copy:
                source.backup(copy)
        except sqlite3.OperationalError as error:
            raise OSError(str(error)) from error
        fsync_file(partial)
        partial.rename(target)
        fsync_dirs([path.parent])
    return target
