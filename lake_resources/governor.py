"""The weight governor: one budget of exchange requests for all processes of a host, and the memory of bans.

Belongs here: counting, waiting, bans; all state in one SQLite file so that it survives restarts.
Does not belong here: the limits and what a request costs (`binance.market`), what an answer means (`answers`).
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from lake_resources.binance.market import BUCKETS
from lake_resources.clock import Clock, system_clock
from lake_resources.errors import Banned, DiskFull, SettingsError, StorageError

MINUTE_MS = 60_000
LOCK_WAIT_S = 60.0
# An answer that left the exchange this shortly before now belongs to the minute that just ended.
EDGE_MS = 2_500


_SCHEMA = """
CREATE TABLE IF NOT EXISTS spent (
    host TEXT, bucket TEXT, minute INTEGER, amount INTEGER NOT NULL, PRIMARY KEY (host, bucket, minute)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS stops (
    host TEXT, kind TEXT, until_ms INTEGER NOT NULL, PRIMARY KEY (host, kind)
) WITHOUT ROWID;
"""


class WeightGovernor:
    """Grants requests so that all processes sharing `path` together stay below `share` of each limit.

    The host's clock must be kept by NTP: windows follow the UTC clock minute, as the exchange's do.

    Args:
        path: SQLite file, one per host; created when absent.
        clock: the current instant.
        share: part of each limit that may be used, in (0, 1].
        sleep: takes seconds.
    """

    def __init__(
        self,
        path: Path,
        clock: Clock = system_clock,
        share: float = 0.8,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._path = path
        self._clock = clock
        self._sleep = sleep
        self._allowed = {name: int(bucket.capacity * share) for name, bucket in BUCKETS.items()}
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._pid = 0

    def acquire(self, host: str, bucket: str, cost: int) -> None:
        """Count `cost` against `bucket`, sleeping until it fits.

        Args:
            host: `host:port` of the exchange.
            bucket: name of one of the markets' buckets.
            cost: weight of the request (or 1, for the buckets that count requests).

        Raises:
            Banned: a ban of this host has not ended.
            SettingsError: the share is too small for this request ever to fit.
        """
        allowed = self._allowed[bucket]
        if cost > allowed:
            raise SettingsError(
                f"A request of cost {cost} never fits into {allowed} of bucket {bucket}",
                remedy="Raise LAKE_WEIGHT_SHARE",
            )
        awake_ms = 0
        while True:
            wake_ms = self._try_acquire(host, bucket, cost, allowed, awake_ms)
            if wake_ms is None:
                return
            now_ms = max(self._now_ms(), awake_ms)
            self._sleep(max(wake_ms - now_ms, 1) / 1000)
            # A clock that stands still in a test must not hang: what was slept has passed.
            awake_ms = max(wake_ms, now_ms)

    def _try_acquire(self, host: str, bucket: str, cost: int, allowed: int, awake_ms: int) -> int | None:
        """None when granted, else the epoch ms at which to try again."""
        with self._transaction() as db:
            # Read under the lock, so that two processes cannot enter their minutes in the wrong order.
            now_ms = max(self._now_ms(), awake_ms)
            stops = dict(db.execute("SELECT kind, until_ms FROM stops WHERE host = ?", (host,)).fetchall())
            ban_ms, pause_ms = stops.get("ban", 0), stops.get("pause", 0)
            if ban_ms > now_ms:
                raise Banned(host, f"banned until {_iso(ban_ms)}", until_ms=ban_ms)
            if pause_ms > now_ms:
                return int(pause_ms)
            minute = now_ms // MINUTE_MS
            oldest = minute - BUCKETS[bucket].minutes + 1
            if self._sum(db, host, bucket, oldest, minute) + cost > allowed:
                return (minute + 1) * MINUTE_MS
            if not self._add(db, host, bucket, minute, cost):
                db.execute("DELETE FROM spent WHERE host = ? AND bucket = ? AND minute < ?", (host, bucket, oldest))
            return None

    def observe(self, host: str, bucket: str, used_weight: int, answered_at: datetime | None = None) -> None:
        """Raise the counter of the running minute to what the exchange says was used.

        Args:
            host: `host:port` of the exchange.
            bucket: name of a market's budget of request weight.
            used_weight: header `X-MBX-USED-WEIGHT-1M`.
            answered_at: the answer's `Date`. An answer of the minute that just ended says nothing of this one.
        """
        with self._transaction() as db:
            now_ms = self._now_ms()
            minute = now_ms // MINUTE_MS
            if answered_at is not None:
                answered_ms = _ms(answered_at)
                if answered_ms // MINUTE_MS == minute - 1 and now_ms - answered_ms < EDGE_MS:
                    return
            db.execute(
                "INSERT INTO spent VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET amount = max(amount, excluded.amount)",
                (host, bucket, minute, used_weight),
            )

    def pause(self, host: str, until_ms: int) -> None:
        """Let nobody call `host` before `until_ms` (after a 429); acquire waits."""
        self._stop(host, "pause", until_ms)

    def ban(self, host: str, until_ms: int) -> None:
        """Remember on disk that `host` banned this address until `until_ms`; acquire raises."""
        self._stop(host, "ban", until_ms)

    def banned_until(self, host: str) -> int | None:
        """End of the running ban in epoch ms, or None."""
        with self._transaction() as db:
            row = db.execute("SELECT until_ms FROM stops WHERE host = ? AND kind = 'ban'", (host,)).fetchone()
            return int(row[0]) if row and row[0] > self._now_ms() else None

    def used(self, host: str, bucket: str) -> int:
        """What is counted in the running window of `bucket`."""
        with self._transaction() as db:
            minute = self._now_ms() // MINUTE_MS
            return self._sum(db, host, bucket, minute - BUCKETS[bucket].minutes + 1, minute)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._db is not None and self._pid == os.getpid():
                self._db.close()
            self._db = None

    def _stop(self, host: str, kind: str, until_ms: int) -> None:
        with self._transaction(durable=True) as db:
            db.execute(
                "INSERT INTO stops VALUES (?, ?, ?) "
                "ON CONFLICT DO UPDATE SET until_ms = max(until_ms, excluded.until_ms)",
                (host, kind, until_ms),
            )

    @staticmethod
    def _sum(db: sqlite3.Connection, host: str, bucket: str, oldest: int, minute: int) -> int:
        # Up to one minute ahead: the clock may have stepped back since another process counted.
        row = db.execute(
            "SELECT coalesce(sum(amount), 0) FROM spent WHERE host = ? AND bucket = ? AND minute BETWEEN ? AND ?",
            (host, bucket, oldest, minute + 1),
        ).fetchone()
        return int(row[0])

    @staticmethod
    def _add(db: sqlite3.Connection, host: str, bucket: str, minute: int, cost: int) -> bool:
        """True when the minute was known already."""
        key = (host, bucket, minute)
        changed = db.execute(
            "UPDATE spent SET amount = amount + ? WHERE host = ? AND bucket = ? AND minute = ?", (cost, *key)
        ).rowcount
        if not changed:
            db.execute("INSERT INTO spent VALUES (?, ?, ?, ?)", (*key, cost))
        return bool(changed)

    @contextmanager
    def _transaction(self, *, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """One write transaction; the write lock is taken first, so what is read stays true."""
        with self._lock, self._errors():
            db = self._connection()
            if durable:
                db.execute("PRAGMA synchronous = FULL")
            try:
                db.execute("BEGIN IMMEDIATE")
                try:
                    yield db
                except BaseException:
                    db.execute("ROLLBACK")
                    raise
                db.execute("COMMIT")
            finally:
                if durable:
                    db.execute("PRAGMA synchronous = NORMAL")

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
            raise StorageError(what, remedy="Check the file and its directory (LAKE_GOVERNOR_PATH)") from error

    def _connection(self) -> sqlite3.Connection:
        """The connection of this process; one inherited through a fork must not be used."""
        if self._db is None or self._pid != os.getpid():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            db = sqlite3.connect(self._path, timeout=LOCK_WAIT_S, isolation_level=None, check_same_thread=False)
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.executescript(_SCHEMA)
            self._db, self._pid = db, os.getpid()
        return self._db

    def _now_ms(self) -> int:
        return _ms(self._clock())


def _ms(instant: datetime) -> int:
    return int(instant.timestamp() * 1000)


def _iso(epoch_ms: int) -> str:
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).isoformat(timespec="seconds")
