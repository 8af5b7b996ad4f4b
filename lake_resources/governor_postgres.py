"""The weight governor's counters in Postgres, for hosts that reach the exchange by one address.

Belongs here: the tables, the lock of one address, what the driver's errors mean. Does not belong here: deciding what is
granted (`governor`), the ledger, which may lie in the same database.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
import sqlalchemy as sa

from lake_resources.errors import StorageError
from lake_resources.governor_counts import LOCK_WAIT_S, Counting

_SCHEMA = """
CREATE TABLE IF NOT EXISTS governor_spent (
    egress text, host text, bucket text, minute bigint, amount bigint NOT NULL,
    PRIMARY KEY (egress, host, bucket, minute)
);
CREATE TABLE IF NOT EXISTS governor_stops (
    egress text, host text, kind text, until_ms bigint NOT NULL, PRIMARY KEY (egress, host, kind)
);
"""
_HOLD = (
    "SELECT set_config('synchronous_commit', %s, true),"
    " pg_advisory_xact_lock(hashtextextended(current_schema() || '/governor ' || %s, 0))"
)


class ServerCounts:
    """Counters of one address in a Postgres database.

    Args:
        url: SQLAlchemy URL, `postgresql+psycopg://user@host/database`.
        egress_id: name of the address; each has counters of its own.
    """

    def __init__(self, url: str, egress_id: str) -> None:
        parsed = sa.make_url(url)
        self._shown = parsed.render_as_string(hide_password=True)
        self._options: dict[str, Any] = {
            **parsed.translate_connect_args(username="user", database="dbname"),
            **parsed.query,
            "connect_timeout": 10,
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
        }
        self._egress_id = egress_id
        self._lock = threading.Lock()
        self._db: psycopg.Connection | None = None
        self._pid = 0

    @contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[Counting]:
        """An advisory lock of the address is taken first."""
        with self._lock, self._errors():
            db = self._begun(durable=durable)
            try:
                yield _OnServer(db, self._egress_id)
            except BaseException:
                with suppress(psycopg.Error):
                    db.rollback()
                raise
            db.commit()

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._drop()

    def _begun(self, *, durable: bool) -> psycopg.Connection:
        """The connection, in a transaction that holds the lock; a server that was restarted is connected to anew."""
        hold = ("on" if durable else "off", self._egress_id)
        if self._db is not None and self._pid == os.getpid():
            try:
                self._db.execute(_HOLD, hold)
            except psycopg.OperationalError as error:
                if error.sqlstate == "55P03":  # waited too long for the lock, the connection is sound
                    self._db.rollback()
                    raise
                self._drop()
            else:
                return self._db
        db = psycopg.connect(**self._options)
        try:
            db.execute(f"SET lock_timeout = {int(LOCK_WAIT_S * 1000)}")
            db.commit()
            db.execute(_HOLD, ("on", ""))
            db.execute(_SCHEMA)
            db.commit()
            db.execute(_HOLD, hold)
        except BaseException:
            db.close()
            raise
        self._db, self._pid = db, os.getpid()
        weakref.finalize(self, _close, db, self._pid)
        return db

    def _drop(self) -> None:
        if self._db is not None and self._pid == os.getpid():
            self._db.close()
        self._db = None

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            found = str(error).strip().partition("\n")[0][:300]
            raise StorageError(
                f"weight governor of {self._egress_id} in {self._shown}: {found}",
                remedy="Check that Postgres answers and that the role may create tables (LAKE_LEDGER_URL, "
                "LAKE_EGRESS_ID)",
            ) from error


def _close(db: psycopg.Connection, pid: int) -> None:
    if os.getpid() == pid:  # a forked child must not end its parent's session
        db.close()


class _OnServer:
    def __init__(self, db: psycopg.Connection, egress_id: str) -> None:
        self._db = db
        self._egress = egress_id

    def stops(self, host: str) -> dict[str, int]:
        query = "SELECT kind, until_ms FROM governor_stops WHERE egress = %s AND host = %s"
        return dict(self._db.execute(query, (self._egress, host)).fetchall())

    def stop(self, host: str, kind: str, until_ms: int) -> None:
        self._db.execute(
            "INSERT INTO governor_stops AS known VALUES (%s, %s, %s, %s) ON CONFLICT (egress, host, kind)"
            " DO UPDATE SET until_ms = greatest(known.until_ms, excluded.until_ms)",
            (self._egress, host, kind, until_ms),
        )

    def spent(self, host: str, bucket: str, oldest: int, newest: int) -> int:
        row = self._db.execute(
            "SELECT coalesce(sum(amount), 0)::bigint FROM governor_spent"
            " WHERE egress = %s AND host = %s AND bucket = %s AND minute BETWEEN %s AND %s",
            (self._egress, host, bucket, oldest, newest),
        ).fetchone()
        return 0 if row is None else int(row[0])

    def add(self, host: str, bucket: str, minute: int, cost: int) -> bool:
        row = self._db.execute(
            "INSERT INTO governor_spent AS known VALUES (%s, %s, %s, %s, %s) ON CONFLICT (egress, host, bucket, minute)"
            " DO UPDATE SET amount = known.amount + excluded.amount RETURNING amount",
            (self._egress, host, bucket, minute, cost),
        ).fetchone()
        return row is not None and int(row[0]) > cost

    def raise_to(self, host: str, bucket: str, minute: int, amount: int) -> None:
        self._db.execute(
            "INSERT INTO governor_spent AS known VALUES (%s, %s, %s, %s, %s) ON CONFLICT (egress, host, bucket, minute)"
            " DO UPDATE SET amount = greatest(known.amount, excluded.amount)",
            (self._egress, host, bucket, minute, amount),
        )

    def forget(self, host: str, bucket: str, before: int) -> None:
        self._db.execute(
            "DELETE FROM governor_spent WHERE egress = %s AND host = %s AND bucket = %s AND minute < %s",
            (self._egress, host, bucket, before),
        )
