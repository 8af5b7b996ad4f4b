"""The ledger in a SQLite file of this machine.

Belongs here: opening the file, its durability settings, its write lock, what its errors mean, lock files beside it.
Does not belong here: any table's statements, what an old version becomes (`versions`).
"""

from __future__ import annotations

import sqlite3
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from lake_resources.errors import LedgerError, PartitionBusy, SettingsError, StorageError
from lake_resources.sqlite_file import LOOK_WAIT_S, connect_to_read, may_only_read, use_write_ahead_log
from lake_resources.storage.disk import disk_errors, disk_full, of_sqlite
from lake_resources.storage.ledger import identity, versions
from lake_resources.storage.ledger.database import LEDGER_URLS, shown
from lake_resources.storage.locks import writer_lock

if TYPE_CHECKING:
    from lake_resources.storage.file_store import FileStore

WRITES = "lake_writes"
"""Execution option of a connection whose transaction takes the write lock when it begins."""
_PRIMARY = 0xFF
"""Bits of a SQLite error code that say its kind; those above say where it came from."""


class SqliteDatabase:
    """A file of SQLite.

    Args:
        url: `sqlite:////absolute/path`.
        busy_ms: how long a write waits for another process's, milliseconds.

    Raises:
        SettingsError: the URL names no file.
    """

    is_shared = False

    def __init__(self, url: str, busy_ms: int) -> None:
        self._url = url
        self._busy_ms = busy_ms
        parsed = sa.make_url(url)
        if not parsed.database or parsed.database == ":memory:":
            raise SettingsError(f"ledger {shown(url)} names no file", remedy=LEDGER_URLS)
        self._path = Path(parsed.database)

    def open(self, files: FileStore | None, *, anew: bool) -> sa.Engine:
        """Connect to the file, which is made where it is absent."""
        lake = self._path.parent if files is None else files.root
        if not anew:
            identity.refuse_lost(self._path, lake)
        engine = self._open()
        if not may_only_read(self._path):
            identity.note_exchange(engine, self.insert, lake)
        return engine

    def hold(self, connection: sa.Connection, key: str | None) -> None:
        """The lock is that of the file, and was taken when the transaction began."""

    def insert(self, table: sa.Table) -> sqlite.Insert:
        """INSERT with ON CONFLICT."""
        return sqlite.insert(table)

    def locked(self, engine: sa.Engine, path: Path, timeout_s: float) -> AbstractContextManager[None]:  # noqa: ARG002
        """A lock file, which all processes of this machine respect."""
        return writer_lock(path, timeout_s=timeout_s)

    def translated(self, error: sa.exc.DBAPIError) -> StorageError:
        """By SQLite's own codes."""
        where = f"ledger {shown(self._url)}"
        kind = getattr(error.orig, "sqlite_errorcode", 0) & _PRIMARY
        if kind == sqlite3.SQLITE_FULL:
            return disk_full(where)
        if kind in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return PartitionBusy(
                f"{where}: another process kept it locked for {self._busy_ms / 1000:g} s",
                remedy="Let the other process finish, then materialize the partition again",
            )
        if kind == sqlite3.SQLITE_READONLY:
            return StorageError(f"{where}: it may be read here, not written", remedy="Write where the lake is writable")
        if kind in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN):
            remedy = "Check the disk, the permissions and the limits of this process (`ulimit -a`), then repeat"
            return of_sqlite(where, error, self._path.parent, remedy)
        return LedgerError(f"{where}: {error.orig}", remedy="See the runbook, section 'The ledger is damaged'")

    def _open(self) -> sa.Engine:
        path = self._path
        with disk_errors(f"ledger {path}"):
            path.parent.mkdir(parents=True, exist_ok=True)
        if may_only_read(path):
            versions.require_current(path)
            return sa.create_engine("sqlite://", creator=partial(connect_to_read, path), poolclass=sa.pool.NullPool)
        versions.refuse_newer(path, min(LOOK_WAIT_S, self._busy_ms / 1000))
        engine = sa.create_engine(self._url, connect_args={"timeout": self._busy_ms / 1000})
        sa.event.listen(engine, "connect", partial(_configure, self._busy_ms))
        sa.event.listen(engine, "begin", _begin)
        if not versions.is_current(engine):
            with engine.connect().execution_options(**{WRITES: True}) as connection, connection.begin():
                versions.bring_up_to_date(connection, path)
        return engine


def _configure(busy_ms: int, connection: Any, _record: object) -> None:
    # The driver's own implicit BEGIN would start write transactions as readers, which then fail instead of waiting.
    connection.isolation_level = None
    for pragma in (f"busy_timeout={busy_ms}", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}").close()
    use_write_ahead_log(connection, busy_ms / 1000)


def _begin(connection: sa.Connection) -> None:
    if connection.get_execution_options().get(WRITES):
        connection.exec_driver_sql("BEGIN IMMEDIATE")
