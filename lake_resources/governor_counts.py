"""Where the weight governor counts: its port, and the file that all processes of one host share.

Belongs here: what the governor needs of a place, and SQLite as one. Does not belong here: deciding what is granted
(`governor`), the place that several hosts share (`governor_postgres`).
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from lake_resources.errors import DiskFull, StorageError
from lake_resources.sqlite_file import use_write_ahead_log

LOCK_WAIT_S = 60.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS spent (
    host TEXT, bucket TEXT, minute INTEGER, amount INTEGER NOT NULL, PRIMARY KEY (host, bucket, minute)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS stops (
    host TEXT, kind TEXT, until_ms INTEGER NOT NULL, PRIMARY KEY (host, kind)
) WITHOUT ROWID;
"""


class Counting(Protocol):
    """Counters within one transaction; `host` is the exchange's `host:port`, minutes are of the epoch."""

    def stops(self, host: str) -> dict[str, int]:
        """Until when a host must not be called, epoch ms by kind (`ban`, `pause`)."""

    def stop(self, host: str, kind: str, until_ms: int) -> None:
        """Note such an end; a later one that is known stays."""

    def spent(self, host: str, bucket: str, oldest: int, newest: int) -> int:
        """What is counted in these minutes, both included."""

    def add(self, host: str, bucket: str, minute: int, cost: int) -> bool:
        """Count; True when the minute was known already."""

    def raise_to(self, host: str, bucket: str, minute: int, amount: int) -> None:
        """Make a minute's counter at least so much."""

    def forget(self, host: str, bucket: str, before: int) -> None:
        """Drop the counters of minutes before one."""


class Counts(Protocol):
    """A place where counters are kept."""

    def transaction(self, *, durable: bool = False) -> AbstractContextManager[Counting]:
        """One transaction that excludes all others from its start, so that what is read in it stays true.

        Args:
            durable: it must outlive a loss of power.

        Raises:
            StorageError: the place cannot be used.
        """

    def close(self) -> None:
        """Close connections; the next transaction opens them again."""


class FileCounts:
    """Counters in a SQLite file.

    Args:
        path: one per host; created when absent.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._pid = 0

    @contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[Counting]:
        """The file's write lock is taken first."""
        with self._lock, self._errors():
            db = self._connection()
            if durable:
                db.execute("PRAGMA synchronous = FULL")
            try:
                db.execute("BEGIN IMMEDIATE")
                try:
                    yield _InFile(db)
                except BaseException:
                    db.execute("ROLLBACK")
                    raise
                db.execute("COMMIT")
            finally:
                if durable:
                    db.execute("PRAGMA synchronous = NORMAL")

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._db is not None and self._pid == os.getpid():
                self._db.close()
            self._db = None

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            what = f"weight governor {self._path}: {error}"
            if error.sqlite_errorcode in {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}:
                raise StorageError(
                    what, remedy="Remove the file: it holds the requests of the last minutes, and bans that still last"
                ) from error
            if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                raise DiskFull(what, remedy="Free space there, then materialize the partition again") from error
            raise StorageError(
                what, remedy="Check the file, its directory (LAKE_GOVERNOR_PATH) and `ulimit -a`"
            ) from error

    def _connection(self) -> sqlite3.Connection:
        """The connection of this process; one inherited through a fork must not be used."""
        if self._db is None or self._pid != os.getpid():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            db = sqlite3.connect(self._path, timeout=LOCK_WAIT_S, isolation_level=None, check_same_thread=False)
            use_write_ahead_log(db, LOCK_WAIT_S)
            db.execute("PRAGMA synchronous = NORMAL")
            db.executescript(_SCHEMA)
            self._db, self._pid = db, os.getpid()
        return self._db


class _InFile:
    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def stops(self, host: str) -> dict[str, int]:
        return dict(self._db.execute("SELECT kind, until_ms FROM stops WHERE host = ?", (host,)).fetchall())

    def stop(self, host: str, kind: str, until_ms: int) -> None:
        self._db.execute(
            "INSERT INTO stops VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET until_ms = max(until_ms, excluded.until_ms)",
            (host, kind, until_ms),
        )

    def spent(self, host: str, bucket: str, oldest: int, newest: int) -> int:
        row = self._db.execute(
            "SELECT coalesce(sum(amount), 0) FROM spent WHERE host = ? AND bucket = ? AND minute BETWEEN ? AND ?",
            (host, bucket, oldest, newest),
        ).fetchone()
        return int(row[0])

    def add(self, host: str, bucket: str, minute: int, cost: int) -> bool:
        key = (host, bucket, minute)
        changed = self._db.execute(
            "UPDATE spent SET amount = amount + ? WHERE host = ? AND bucket = ? AND minute = ?", (cost, *key)
        ).rowcount
        if not changed:
            self._db.execute("INSERT INTO spent VALUES (?, ?, ?, ?)", (*key, cost))
        return bool(changed)

    def raise_to(self, host: str, bucket: str, minute: int, amount: int) -> None:
        self._db.execute(
            "INSERT INTO spent VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET amount = max(amount, excluded.amount)",
            (host, bucket, minute, amount),
        )

    def forget(self, host: str, bucket: str, before: int) -> None:
        self._db.execute("DELETE FROM spent WHERE host = ? AND bucket = ? AND minute < ?", (host, bucket, before))
