"""Connections and transactions of the ledger.

Belongs here: the engine of the SQLite file, its durability settings, how a write transaction starts, and the
translation of database errors. Does not belong here: any table's statements, what an old version becomes (`versions`).
One engine per process: SQLAlchemy's pool and its cache of compiled statements are what keep a look-up fast.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from lake_resources.errors import LedgerError, PartitionBusy, SettingsError, StorageError
from lake_resources.storage.disk import disk_errors, disk_full
from lake_resources.storage.ledger import identity, versions
from lake_resources.storage.ledger.tables import VERSION

BUSY_TIMEOUT_MS = 60_000
_WRITES = "lake_writes"
_PRIMARY = 0xFF
"""Bits of a SQLite error code that say its kind; those above say where it came from."""


class LedgerEngine:
    """The ledger's database.

    Args:
        url: SQLAlchemy URL, `sqlite:////absolute/path`.
        busy_ms: how long a write waits for another process's; default `BUSY_TIMEOUT_MS`.
        root: directory of the lake that the ledger is about, default that of the ledger. A ledger that is gone while
            hours lie there is told instead of begun anew, and the ledger notes whose data the lake holds.
        anew: it is begun although hours lie there, because it is filled from them.
    """

    def __init__(self, url: str, busy_ms: int | None = None, *, root: Path | None = None, anew: bool = False) -> None:
        self.url = url
        self._anew = anew
        self._root = root
        self._busy_ms = BUSY_TIMEOUT_MS if busy_ms is None else busy_ms
        self._engine: sa.Engine | None = None
        self._pid = 0
        self._opening = Lock()

    def close(self) -> None:
        """Close the pooled connections; the next call opens new ones."""
        if self._engine is not None:
            self._engine.dispose(close=self._pid == os.getpid())
            self._engine = None

    def schema_version(self) -> int:
        """Version of the tables that the ledger was made with, to be compared with `LEDGER_VERSION`."""
        with self.reading() as connection:
            return int(connection.scalar(sa.select(sa.func.max(VERSION.c.version))) or 0)

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A connection for one SELECT."""
        with self._errors(), self._connected().connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction that holds the database's write lock from its start, so that what it reads stays true."""
        with (
            self._errors(),
            self._connected().connect().execution_options(**{_WRITES: True}) as connection,
            connection.begin(),
        ):
            yield connection

    def insert(self, table: sa.Table) -> sqlite.Insert:
        """INSERT with ON CONFLICT, which generic SQL does not know."""
        return sqlite.insert(table)

    def _connected(self) -> sa.Engine:
        # A forked child must not use (nor close) its parent's connections.
        engine = self._engine
        if engine is not None and self._pid == os.getpid():
            return engine
        with self._opening:
            if self._engine is None or self._pid != os.getpid():
                self.close()
                if not self._anew:
                    identity.refuse_lost(sqlite_file(self.url), self._lake_root())
                self._engine, self._pid = _open(self.url, self._busy_ms), os.getpid()
                if not versions.may_only_read(sqlite_file(self.url)):
                    identity.note_exchange(self._engine, self._lake_root())
            return self._engine

    def _lake_root(self) -> Path:
        return sqlite_file(self.url).parent if self._root is None else self._root

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.DBAPIError as error:
            raise self._translated(error) from error

    def _translated(self, error: sa.exc.DBAPIError) -> StorageError:
        found = str(error.orig)
        shown = _shown(self.url)
        kind = getattr(error.orig, "sqlite_errorcode", 0) & _PRIMARY
        if kind == sqlite3.SQLITE_FULL:
            return disk_full(f"ledger {shown}")
        if kind in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return PartitionBusy(
                f"ledger {shown}: another process kept it locked for {self._busy_ms / 1000:g} s",
                remedy="Let the other process finish, then materialize the partition again",
            )
        if kind == sqlite3.SQLITE_READONLY:
            return StorageError(
                f"ledger {shown}: it may be read here, not written", remedy="Write where the lake is writable"
            )
        return LedgerError(f"ledger {shown}: {found}", remedy="See the runbook, section 'The ledger is damaged'")


def _shown(url: str) -> str:
    return sa.make_url(url).render_as_string(hide_password=True)


def sqlite_file(url: str) -> Path:
    """The file of a ledger URL.

    Raises:
        SettingsError: it is no file of SQLite. Other databases are refused: the commit protocol is safe over one host's
            file locks alone, and over Postgres concurrent writers would lose rows.
    """
    try:
        parsed = sa.make_url(url)
        backend = parsed.get_backend_name()
    except sa.exc.ArgumentError as error:
        raise SettingsError("the ledger's URL is no URL", remedy=_REMEDY) from error
    if backend != "sqlite":
        raise SettingsError(
            f"ledger {_shown(url)}: concurrent writers over {backend} would lose committed rows", remedy=_REMEDY
        )
    if not parsed.database or parsed.database == ":memory:":
        raise SettingsError(f"ledger {_shown(url)} names no file", remedy=_REMEDY)
    return Path(parsed.database)


_REMEDY = "Leave LAKE_LEDGER_URL empty, or set it to sqlite:////path/ledger.sqlite on a local disk"


def _open(url: str, busy_ms: int) -> sa.Engine:
    path = sqlite_file(url)
    with disk_errors(f"ledger {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
    if versions.may_only_read(path):
        versions.require_current(path)
        return sa.create_engine(
            "sqlite://", creator=partial(versions.connect_to_read, path), poolclass=sa.pool.NullPool
        )
    versions.refuse_newer(path, min(versions.LOOK_WAIT_S, busy_ms / 1000))
    engine = sa.create_engine(url, connect_args={"timeout": busy_ms / 1000})
    sa.event.listen(engine, "connect", partial(_configure_sqlite, busy_ms))
    sa.event.listen(engine, "begin", _begin_sqlite)
    if not versions.is_current(engine):
        with engine.connect().execution_options(**{_WRITES: True}) as connection, connection.begin():
            versions.bring_up_to_date(connection, path)
    return engine


def _configure_sqlite(busy_ms: int, connection: Any, _record: object) -> None:
    # The driver's own implicit BEGIN would start write transactions as readers, which then fail instead of waiting.
    connection.isolation_level = None
    for pragma in (f"busy_timeout={busy_ms}", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}").close()
    # SQLite does not wait when two first users switch a new file to WAL at once: one of them is refused.
    deadline = time.monotonic() + busy_ms / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL").close()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.005)
        else:
            return


def _begin_sqlite(connection: sa.Connection) -> None:
    if connection.get_execution_options().get(_WRITES):
        connection.exec_driver_sql("BEGIN IMMEDIATE")
