"""Connections and transactions of the ledger.

Belongs here: the engine (SQLite by default, Postgres by URL), its durability settings, how a write transaction starts,
and the translation of database errors. Does not belong here: any table's statements.
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
from sqlalchemy.dialects import postgresql, sqlite

from lake_resources.errors import LedgerError, PartitionBusy, StorageError
from lake_resources.storage.disk import disk_errors, disk_full
from lake_resources.storage.ledger.tables import LEDGER_VERSION, METADATA, VERSION

BUSY_TIMEOUT_MS = 60_000
_WRITES = "lake_writes"


class LedgerEngine:
    """The ledger's database.

    Args:
        url: SQLAlchemy URL, `sqlite:////absolute/path` or `postgresql+psycopg2://...`.
        busy_ms: how long a write waits for another process's (SQLite); default `BUSY_TIMEOUT_MS`.
    """

    def __init__(self, url: str, busy_ms: int | None = None) -> None:
        self.url = url
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
        with self._read() as connection:
            return int(connection.scalar(sa.select(sa.func.max(VERSION.c.version))) or 0)

    @contextmanager
    def _read(self) -> Iterator[sa.Connection]:
        """A connection for one SELECT."""
        with self._errors(), self._connected().connect() as connection:
            yield connection

    @contextmanager
    def _write(self) -> Iterator[sa.Connection]:
        """A transaction that holds the database's write lock from its start, so that what it reads stays true."""
        with (
            self._errors(),
            self._connected().connect().execution_options(**{_WRITES: True}) as connection,
            connection.begin(),
        ):
            yield connection

    def _insert(self, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
        """INSERT with ON CONFLICT, which both databases know but generic SQL does not."""
        return postgresql.insert(table) if self._connected().dialect.name == "postgresql" else sqlite.insert(table)

    def _connected(self) -> sa.Engine:
        # A forked child must not use (nor close) its parent's connections.
        engine = self._engine
        if engine is not None and self._pid == os.getpid():
            return engine
        with self._opening:
            if self._engine is None or self._pid != os.getpid():
                self.close()
                engine = _open(self.url, self._busy_ms)
                _create(engine)
                self._engine, self._pid = engine, os.getpid()
            return self._engine

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.DBAPIError as error:
            raise self._translated(error) from error

    def _translated(self, error: sa.exc.DBAPIError) -> StorageError:
        found = str(error.orig)
        shown = sa.make_url(self.url).render_as_string(hide_password=True)
        if "disk is full" in found or "No space left" in found:
            return disk_full(f"ledger {shown}")
        if "database is locked" in found:
            return PartitionBusy(
                f"ledger {shown}: another process kept it locked for {self._busy_ms / 1000:g} s",
                remedy="Let the other process finish, then materialize the partition again",
            )
        return LedgerError(f"ledger {shown}: {found}", remedy="See the runbook, section 'The ledger is damaged'")


def _open(url: str, busy_ms: int) -> sa.Engine:
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "postgresql":
        return sa.create_engine(url, pool_pre_ping=True)
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database == ":memory:":
        raise LedgerError(
            f"ledger {parsed.render_as_string(hide_password=True)}: neither a SQLite file nor Postgres",
            remedy="Set LAKE_LEDGER_URL to sqlite:////path/ledger.sqlite or postgresql+psycopg2://host/database",
        )
    with disk_errors(f"ledger {parsed.database}"):
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(url, connect_args={"timeout": busy_ms / 1000})
    sa.event.listen(engine, "connect", partial(_configure_sqlite, busy_ms))
    sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _create(engine: sa.Engine) -> None:
    present = set(sa.inspect(engine).get_table_names())
    if present.issuperset(METADATA.tables):
        return
    with engine.connect().execution_options(**{_WRITES: True}) as connection, connection.begin():
        if connection.dialect.name == "postgresql":  # two first users at once
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(7130662)"))
        METADATA.create_all(connection)
        if connection.scalar(sa.select(sa.func.count()).select_from(VERSION)) == 0:
            connection.execute(sa.insert(VERSION).values(version=LEDGER_VERSION))


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
