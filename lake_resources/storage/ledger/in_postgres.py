"""The ledger in Postgres, which writers of several hosts share.

Belongs here: opening it, its locks, what its errors mean, and that it belongs to one set of files. Does not belong
here: any table's statements. A transaction that writes begins with an advisory lock: one reads, decides and writes at
a time, as over a file of SQLite, but writers of different symbols do not wait for each other.
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from lake_resources.backoff import Backoff
from lake_resources.errors import LedgerError, LedgerUnreachable, PartitionBusy, SettingsError, StorageError
from lake_resources.storage.disk import disk_full
from lake_resources.storage.ledger import identity, versions
from lake_resources.storage.ledger.database import LEDGER_URLS, shown
from lake_resources.storage.ledger.tables import METADATA, VERSION, UtcText

if TYPE_CHECKING:
    from lake_resources.storage.file_store import FileStore

_POLLED = Backoff(0.005, 0.25)
_BUSY = {"40001", "40P01", "55P03"}
"""Serialization failure, deadlock, lock not available: what a later try can do."""
_GONE = {"57P01", "57P02", "57P03", "57P05"}
"""The server stops, crashed, starts, or ended an idle session."""
_ALIVE = {"connect_timeout": 10, "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
_KEY = "hashtextextended(current_schema() || '/' || :key, 0)"
"""Locks are of a database; several lakes may share one, each in a schema of its own."""
_ALL = sa.text(f"SELECT pg_advisory_xact_lock({_KEY})")
_ALL_SHARED = sa.text(f"SELECT pg_advisory_xact_lock_shared({_KEY})")
_TRY = sa.text(f"SELECT pg_try_advisory_lock({_KEY})")
_FREE = sa.text(f"SELECT pg_advisory_unlock({_KEY})")


class PostgresDatabase:
    """A schema of a Postgres database, version 12 or newer.

    Args:
        url: `postgresql+psycopg://user@host/database`; a server in between must not pool by transaction, for a
            writer's lock is that of its session.
        busy_ms: how long a write waits for another's, milliseconds.

    Raises:
        SettingsError: its driver is not psycopg, or that is not installed; or it has an option that Postgres does not
            know.
    """

    is_shared = True

    def __init__(self, url: str, busy_ms: int) -> None:
        parsed = sa.make_url(url)
        if parsed.drivername == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        if parsed.drivername != "postgresql+psycopg" or not parsed.database:
            raise SettingsError(f"ledger {shown(url)} is no database by psycopg", remedy=LEDGER_URLS)
        try:
            from psycopg import ProgrammingError
            from psycopg.conninfo import make_conninfo
        except ImportError as error:
            raise SettingsError(
                f"ledger {shown(url)}: the driver of Postgres is not installed",
                remedy="Install what several machines need: pip install 'minute-lake[scale]'",
            ) from error
        try:
            make_conninfo(**dict.fromkeys(parsed.query, ""))
        except ProgrammingError as error:
            raise SettingsError(f"ledger {shown(url)}: {str(error).strip()}", remedy=LEDGER_URLS) from error
        self._url = parsed
        self._busy_ms = busy_ms

    def open(self, files: FileStore | None, *, anew: bool) -> sa.Engine:
        """Connect, and create the tables that are absent."""
        engine = sa.create_engine(
            self._url, isolation_level="READ COMMITTED", pool_pre_ping=True, connect_args=dict(_ALIVE)
        )
        sa.event.listen(engine, "connect", partial(_configure, self._busy_ms))
        try:
            self._prepare(engine, files, anew=anew)
        except BaseException:
            engine.dispose()
            raise
        # The server hears of the end of each session, also of a ledger that nobody closed.
        weakref.finalize(self, _dispose, engine, os.getpid())
        return engine

    def hold(self, connection: sa.Connection, key: str | None) -> None:
        """An advisory lock until the end of the transaction: of a key, which all of the ledger excludes, or of all."""
        if key is None:
            connection.execute(_ALL, {"key": "ledger"})
        else:
            connection.execute(_ALL_SHARED, {"key": "ledger"})
            connection.execute(_ALL, {"key": f"rows {key}"})

    def insert(self, table: sa.Table) -> postgresql.Insert:
        """INSERT with ON CONFLICT."""
        return postgresql.insert(table)

    @contextmanager
    def locked(self, engine: sa.Engine, path: Path, timeout_s: float) -> Iterator[None]:
        """An advisory lock of a session: the server frees it when the holder's connection ends, however it ends.

        A holder whose connection was cut goes on without it, so what it commits is decided again in a transaction.
        """
        key = {"key": f"lock {path.stem}"}
        with self._errors():
            connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        try:
            with self._errors():
                self._wait(connection, key, path.stem, timeout_s)
            yield
        finally:
            with suppress(sa.exc.DBAPIError):  # of a connection that was cut the lock is free already
                connection.execute(_FREE, key)
            connection.close()

    def translated(self, error: sa.exc.DBAPIError) -> StorageError:
        """By SQLSTATE; an error of the connection itself has none."""
        where = f"ledger {shown(str(self._url))}"
        state = str(getattr(error.orig, "sqlstate", None) or "")
        lost = error.connection_invalidated or (not state and isinstance(error, sa.exc.OperationalError))
        if lost or state.startswith("08") or state in _GONE:
            return LedgerUnreachable(
                f"{where} cannot be reached: {_first_line(error)}",
                remedy="Nothing was committed by this call; it can be repeated once the database answers. "
                "Where it never did, correct host, database, user or password in LAKE_LEDGER_URL",
            )
        if state in _BUSY:
            return PartitionBusy(
                f"{where}: another writer was at the same rows ({state})",
                remedy="Let the other process finish, then materialize the partition again",
            )
        if state == "53100":
            return disk_full(where)
        if state in {"25006", "42501"}:
            return StorageError(f"{where}: it may be read here, not written", remedy="Use a role that may write")
        return LedgerError(f"{where}: {_first_line(error)}", remedy="See the runbook, section 'The ledger is damaged'")

    def _prepare(self, engine: sa.Engine, files: FileStore | None, *, anew: bool) -> None:
        if not versions.is_current(engine):
            with engine.connect() as connection, connection.begin():
                self.hold(connection, None)
                is_new = not sa.inspect(connection).has_table(VERSION.name)
                if is_new and files is not None and not anew:
                    identity.refuse_begun(f"ledger {shown(str(self._url))}", files)
                versions.make_current(connection, _as_made_here(), shown(str(self._url)))
        if files is not None:
            identity.require_same_files(engine, self.insert, files)

    def _wait(self, connection: sa.Connection, key: dict[str, str], name: str, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        tries = 0
        while not connection.scalar(_TRY, key):
            if time.monotonic() >= deadline:
                raise PartitionBusy(
                    f"lock {name} in {shown(str(self._url))}: another writer held it for {timeout_s:g} s",
                    remedy="Let the other run finish, then materialize this partition again",
                )
            tries += 1
            time.sleep(_POLLED.after_s(tries))

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.DBAPIError as error:
            raise self.translated(error) from error


def _dispose(engine: sa.Engine, pid: int) -> None:
    if os.getpid() == pid:  # a forked child must not end its parent's sessions
        engine.dispose()


def _configure(busy_ms: int, connection: Any, _record: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SET lock_timeout = {busy_ms}")
        # A host that lost its power keeps its locks until the server notices.
        for name, seconds in (("idle", 30), ("interval", 10), ("count", 3)):
            cursor.execute(f"SET tcp_keepalives_{name} = {seconds}")
    connection.commit()


def _as_made_here() -> sa.MetaData:
    """The tables with texts that are compared byte by byte, as SQLite does, whatever the database's language."""
    made = sa.MetaData()
    for table in METADATA.sorted_tables:
        copy = table.to_metadata(made)
        for column in copy.columns:
            if isinstance(column.type, sa.String | UtcText):
                length = column.type.impl.length if isinstance(column.type, UtcText) else column.type.length
                column.type = sa.String(length, collation="C") if length else sa.Text(collation="C")
    return made


def _first_line(error: sa.exc.DBAPIError) -> str:
    return str(error.orig).strip().partition("\n")[0][:300]
