"""Which lake a ledger is about: the exchange whose data it holds, and whether it is the one that the files belong to.

Belongs here: the table `identity`, and telling a lost ledger from a new lake. Does not belong here: the file `EXCHANGE`
(`storage.root`), rebuilding a lost ledger.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa

from lake_resources.errors import LedgerError
from lake_resources.storage.disk import disk_errors
from lake_resources.storage.ledger import versions
from lake_resources.storage.ledger.tables import IDENTITY

EXCHANGE_FILE = "EXCHANGE"
"""In the root of a lake: the exchange whose data it holds."""
REBUILD = "`lake rebuild-ledger` makes it anew from the files; see the runbook, section 'The ledger is damaged'"
_EXCHANGE = "exchange"
_WITHOUT_ROWS = {"dagster_home", "feed", "live", "live_records", "logs", "reports", "slices"}
"""Directories of a root whose files the ledger does not know one by one, some of them with very many."""


def refuse_lost(path: Path, root: Path) -> None:
    """Refuse to begin a new ledger where hours of an older one lie: an empty one would say that nothing is there.

    Args:
        path: the ledger's file.
        root: directory of the lake.

    Raises:
        LedgerError: the ledger is not there, or empty, and the lake has files that a ledger knew.
    """
    if path.is_file() and path.stat().st_size:
        return
    found = next(_known_files(root), None)
    # A first user may have made the ledger, and its first hour, since the look above.
    if found is not None and not (path.is_file() and path.stat().st_size):
        state = "is empty" if path.is_file() else "is gone"
        raise LedgerError(
            f"ledger {path} {state}, but the lake holds data ({found.relative_to(root)}); no empty one is begun",
            remedy=f"Put the ledger back, or {REBUILD}",
        )


def _known_files(root: Path) -> Iterator[Path]:
    """Files of which a ledger has a row: partitions, archives, answers of REST. All lie below a symbol's directory."""
    if not root.is_dir():
        return
    with disk_errors(f"read {root}"):
        tops = [path for path in root.iterdir() if path.is_dir() and path.name not in _WITHOUT_ROWS]
        for top in sorted(top for top in tops if not top.name.startswith(".")):
            for folder, directories, names in os.walk(top):
                if EXCHANGE_FILE in names:  # another lake's root, such as that of testing mode
                    directories.clear()
                elif "/symbol=" in folder:
                    yield from (Path(folder, name) for name in names if name.endswith(".parquet"))


def note_exchange(engine: sa.Engine, root: Path) -> None:
    """Let the ledger know whose data its lake holds, from the file that says so, unless it knows."""
    with engine.connect() as connection:
        known = connection.scalar(sa.select(IDENTITY.c.value).where(IDENTITY.c.name == _EXCHANGE))
    marker = root / EXCHANGE_FILE
    if known is not None or not marker.is_file():
        return
    exchange = marker.read_text(encoding="utf-8", errors="replace").strip()
    with engine.connect() as connection, connection.begin():
        row = sa.insert(IDENTITY).prefix_with("OR IGNORE").values(name=_EXCHANGE, value=exchange)
        connection.execute(row)
        connection.commit()


def exchange_of(path: Path) -> str | None:
    """The exchange that a ledger's file names, None where there is no ledger, or it does not say. Writes nothing."""
    if not path.is_file() or not path.stat().st_size:
        return None
    query = f"SELECT value FROM {IDENTITY.name} WHERE name = ?"  # noqa: S608 - the name of a table
    try:
        with closing(versions.connect_to_read(path)) as connection:
            found = connection.execute(query, (_EXCHANGE,)).fetchone()
    except sqlite3.DatabaseError:
        return None  # damaged, or older than the table: who opens it will tell
    return None if found is None else str(found[0])
