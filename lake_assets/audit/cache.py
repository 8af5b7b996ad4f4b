"""Facts of files that were read before: a file of the same size and time of change is not read again.

Belongs here: a SQLite file of its own beside the ledger. It holds nothing that cannot be found out again, so it may be
deleted at any time. Does not belong here: what the facts mean.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from lake_assets.audit.files import FileFacts
from lake_assets.schema.table import Table
from lake_resources.errors import StorageError
from lake_resources.known_hole import KnownHole

AUDIT_VERSION = "3"
"""Raised by hand when the same file would get other codes."""
_TABLES = """
DROP TABLE IF EXISTS facts;  -- of earlier versions
DROP TABLE IF EXISTS hour_facts;
CREATE TABLE IF NOT EXISTS file_facts (
  name TEXT, symbol TEXT, start INTEGER, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, version TEXT NOT NULL,
  content_hash TEXT NOT NULL, row_count INTEGER NOT NULL, present INTEGER NOT NULL, first INTEGER,
  last INTEGER, codes TEXT NOT NULL,
  PRIMARY KEY (name, symbol, start)
) WITHOUT ROWID;
"""
_BUSY_S = 60.0


@dataclass(frozen=True)
class Stamp:
    """By what a changed file is known: size in bytes, time of the last change in nanoseconds."""

    size: int
    mtime_ns: int


def rules_version(table: Table, holes: Sequence[KnownHole]) -> str:
    """Identity of everything that a verdict on an unchanged file of an hour depends on; `holes` touch that hour."""
    known = sorted(f"{h.stream}|{h.symbol}|{h.start}|{h.end}" for h in holes)
    return hashlib.sha256("\n".join((AUDIT_VERSION, table.schema_hash, *known)).encode()).hexdigest()[:16]


class AuditCache:
    """Facts by table, symbol and partition.

    Args:
        path: the SQLite file; created at the first use. Who may not write there reads every file again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(
        self, table: Table, symbol: str, start: datetime, end: datetime
    ) -> dict[datetime, tuple[str, Stamp, FileFacts]]:
        """Facts of hours in `[start, end)`, each with the version of the rules under which they were found."""
        query = (
            "SELECT start, version, size, mtime_ns, content_hash, row_count, present, first, last, codes"
            " FROM file_facts WHERE name = ? AND symbol = ? AND start >= ? AND start < ?"
        )
        bounds = (table.name, symbol, int(start.timestamp()), int(end.timestamp()))
        with self._connected() as connection:
            rows = connection.execute(query, bounds).fetchall()
        return {
            _instant(hour): (
                version,
                Stamp(size, mtime_ns),
                FileFacts(
                    digest, count, minutes, _maybe(first), _maybe(last), tuple(json.loads(codes)) if codes else ()
                ),
            )
            for hour, version, size, mtime_ns, digest, count, minutes, first, last, codes in rows
        }

    def store(self, table: Table, symbol: str, found: Mapping[datetime, tuple[str, Stamp, FileFacts]]) -> None:
        """Keep facts, in one transaction."""
        rows = [
            (
                table.name, symbol, int(hour.timestamp()), stamp.size, stamp.mtime_ns, version, facts.content_hash,
                facts.row_count, facts.minutes, _seconds(facts.first), _seconds(facts.last),
                json.dumps(facts.codes) if facts.codes else "",
            )
            for hour, (version, stamp, facts) in found.items()
        ]  # fmt: skip
        with self._connected() as connection:
            connection.executemany("INSERT OR REPLACE INTO file_facts VALUES (?,?,?,?,?,?,?,?,?,?,?,?)", rows)

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        try:
            connection = sqlite3.connect(self.path if self._is_writable() else ":memory:", timeout=_BUSY_S)
            try:
                connection.executescript(_TABLES)
                with connection:
                    yield connection
            finally:
                connection.close()
        except sqlite3.Error as error:
            raise StorageError(
                f"audit cache {self.path}: {error}", remedy="Delete this file: it is only a cache, then audit again"
            ) from error

    def _is_writable(self) -> bool:
        """SQLite writes beside a file, too, so the directory counts."""
        return os.access(self.path.parent, os.W_OK) and (not self.path.exists() or os.access(self.path, os.W_OK))


def _instant(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _maybe(seconds: int | None) -> datetime | None:
    return None if seconds is None else _instant(seconds)


def _seconds(instant: datetime | None) -> int | None:
    return None if instant is None else int(instant.timestamp())
