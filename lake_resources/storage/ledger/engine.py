"""Connections and transactions of the ledger.

Belongs here: one engine per process, how a write transaction starts, and where a database's errors are translated.
Does not belong here: any table's statements, what is peculiar to one database (`in_sqlite`, `in_postgres`).
One engine per process: SQLAlchemy's pool and its cache of compiled statements are what keep a look-up fast.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from lake_resources.errors import SettingsError
from lake_resources.storage.ledger.database import database_of
from lake_resources.storage.ledger.in_sqlite import WRITES
from lake_resources.storage.ledger.tables import VERSION
from lake_resources.storage.locks import DEFAULT_TIMEOUT_S

if TYPE_CHECKING:
    from lake_resources.storage.file_store import FileStore

BUSY_TIMEOUT_MS = 60_000


class LedgerEngine:
    """The ledger's database.

    Args:
        url: SQLAlchemy URL, `sqlite:////absolute/path` or `postgresql+psycopg://user@host/database`.
        busy_ms: how long a write waits for another process's; default `BUSY_TIMEOUT_MS`.
        files: the files of the lake that the ledger is about, default those beside a ledger in a file. A ledger that is
            gone while hours lie there is told instead of begun anew, and the ledger notes whose data the lake holds.
        anew: it is begun although hours lie there, because it is filled from them.

    Raises:
        SettingsError: the files lie in an object store, and the ledger in a file of one host.
    """

    def __init__(
        self, url: str, busy_ms: int | None = None, *, files: FileStore | None = None, anew: bool = False
    ) -> None:
        self.url = url
        self._anew = anew
        self._files = files
        self._database = database_of(url, BUSY_TIMEOUT_MS if busy_ms is None else busy_ms)
        if files is not None and files.needs_server and not self.is_shared:
            raise SettingsError(
                "files in an object store need a ledger that hosts share, and the ledger is a file of SQLite",
                remedy="Set LAKE_LEDGER_URL to postgresql+psycopg://user@host/database, or leave LAKE_STORE_URL empty",
            )
        self._engine: sa.Engine | None = None
        self._pid = 0
        self._opening = Lock()
        self._upserts: dict[tuple[str, ...], Any] = {}

    @property
    def is_shared(self) -> bool:
        """Whether writers of several hosts may use it, so that files become visible by a transaction alone."""
        return self._database.is_shared

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
    def writing(self, key: str | None = None) -> Iterator[sa.Connection]:
        """A transaction that holds the write lock from its start, so that what it reads stays true.

        Args:
            key: what it writes, where the database can let writers of other keys work meanwhile; None is all of it.
        """
        with (
            self._errors(),
            self._connected().connect().execution_options(**{WRITES: True}) as connection,
            connection.begin(),
        ):
            self._database.hold(connection, key)
            yield connection

    @contextmanager
    def locked(self, path: Path, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> Iterator[None]:
        """Hold a lock that every writer of the lake respects, on whatever host; it is not re-entrant.

        Args:
            path: the lock's file; its name is the lock's name where locks are no files.
            timeout_s: how long to wait for another holder, seconds.

        Raises:
            PartitionBusy: another writer held it all that time.
        """
        with self._database.locked(self._connected(), path, timeout_s):
            yield

    def insert(self, table: sa.Table) -> Any:
        """INSERT with ON CONFLICT, which generic SQL does not know."""
        return self._database.insert(table)

    def upsert(self, connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows of the same columns, each in place of the one that has its key."""
        names = (table.name, *rows[0])
        statement = self._upserts.get(names)
        if statement is None:  # making one costs more than executing it
            key = [column.name for column in table.primary_key]
            insert = self.insert(table)
            changed = {name: insert.excluded[name] for name in rows[0] if name not in key}
            statement = insert.on_conflict_do_update(index_elements=key, set_=changed)
            self._upserts[names] = statement
        connection.execute(statement, rows)

    def _connected(self) -> sa.Engine:
        # A forked child must not use (nor close) its parent's connections.
        engine = self._engine
        if engine is not None and self._pid == os.getpid():
            return engine
        with self._opening:
            if self._engine is None or self._pid != os.getpid():
                self.close()
                with self._errors():
                    self._engine, self._pid = self._database.open(self._files, anew=self._anew), os.getpid()
            return self._engine

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.DBAPIError as error:
            raise self._database.translated(error) from error
