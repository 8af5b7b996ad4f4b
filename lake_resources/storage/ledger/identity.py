"""Which lake a ledger is about: the exchange whose data it holds, and whether it is the one that the files belong to.

Belongs here: the table `identity`, and telling a lost ledger from a new lake. Does not belong here: the file `EXCHANGE`
(`storage.root`), rebuilding a lost ledger.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import sqlalchemy as sa

from lake_resources.errors import LedgerError, SettingsError
from lake_resources.sqlite_file import connect_to_read
from lake_resources.storage.disk import disk_errors
from lake_resources.storage.ledger.tables import IDENTITY

if TYPE_CHECKING:
    from lake_resources.storage.file_store import FileStore

EXCHANGE_FILE = "EXCHANGE"
"""In the root of a lake: the exchange whose data it holds."""
REBUILD = "`lake rebuild-ledger` makes it anew from the files; see the runbook, section 'The ledger is damaged'"
_EXCHANGE = "exchange"
MARK_FILE = "LEDGER"
"""Beside the files of a lake whose ledger is on a server: the mark by which both know each other."""
_ROOT = "root"
Insert = Callable[[sa.Table], Any]
"""Makes an INSERT with ON CONFLICT for a table."""
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
    found = next(known_files(root), None)
    # A first user may have made the ledger, and its first hour, since the look above.
    if found is not None and not (path.is_file() and path.stat().st_size):
        state = "is empty" if path.is_file() else "is gone"
        raise LedgerError(
            f"ledger {path} {state}, but the lake holds data ({found.relative_to(root)}); no empty one is begun",
            remedy=f"Put the ledger back, or {REBUILD}",
        )


def refuse_begun(where: str, files: FileStore) -> None:
    """Refuse to begin a ledger in an empty database where hours of an older one lie.

    Args:
        where: the ledger, for people.
        files: files of the lake.

    Raises:
        LedgerError: the lake has files that a ledger knew.
    """
    found = files.holding()
    if found is not None:
        raise LedgerError(
            f"{where} is empty, but the lake holds data ({found}); no empty one is begun",
            remedy="Name the ledger that this lake had, or another LAKE_ROOT or LAKE_STORE_URL: files of a ledger in a "
            "file are not taken over by a server",
        )


def known_files(root: Path) -> Iterator[Path]:
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


def require_same_files(engine: sa.Engine, insert: Insert, files: FileStore) -> None:
    """Let a shared ledger and a lake's files know each other, and refuse any other pair.

    Two hosts with a directory each, over one ledger, would take each other's rows for lost files. The first writer
    marks both; who comes without the mark, or with another one, sees other files.

    Args:
        engine: connections to the ledger.
        insert: makes an INSERT with ON CONFLICT.
        files: files of the lake.

    Raises:
        SettingsError: the ledger is that of other files, or of another exchange's data, or the files lie where two
            writers would replace each other's.
    """
    with engine.connect() as connection:
        known = {row.name: row.value for row in connection.execute(sa.select(IDENTITY))}
    mark = _mark_of(files, make=_ROOT not in known)
    if mark is not None and known.get(_ROOT) is None:
        with engine.connect() as connection, connection.begin():
            connection.execute(insert(IDENTITY).values(name=_ROOT, value=mark).on_conflict_do_nothing())
            known[_ROOT] = connection.scalar(sa.select(IDENTITY.c.value).where(IDENTITY.c.name == _ROOT)) or ""
    if known.get(_ROOT) != mark:
        raise SettingsError(
            f"the ledger is that of other files than those in {files.uri('').rstrip('/')}",
            remedy="All hosts of one ledger need one LAKE_STORE_URL, or one LAKE_ROOT that they share (a network file "
            "system): check the bucket, or what is mounted there",
        )
    root = files.root
    note_exchange(engine, insert, root)
    marker = root / EXCHANGE_FILE
    if _EXCHANGE in known and marker.is_file() and _text(marker) != known[_EXCHANGE]:
        raise SettingsError(
            f"the ledger is that of the exchange {known[_EXCHANGE]!r}, {root} holds data of {_text(marker)!r}",
            remedy="Give each exchange a ledger of its own: another database, or another schema of it",
        )


def _mark_of(files: FileStore, *, make: bool) -> str | None:
    """What a lake's files are known by; None where they have no mark and none is made."""
    found = files.read(MARK_FILE)
    if found is None:
        if not make:
            return None
        files.create(MARK_FILE, f"{uuid4().hex}\n".encode())
        found = files.read(MARK_FILE)  # two first users at once: both read what stands there
    if found is None:
        return None
    files.require_conditions(MARK_FILE, found.data)
    return found.data.decode(errors="replace").strip()


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace").strip()


def note_exchange(engine: sa.Engine, insert: Insert, root: Path) -> None:
    """Let the ledger know whose data its lake holds, from the file that says so, unless it knows."""
    with engine.connect() as connection:
        known = connection.scalar(sa.select(IDENTITY.c.value).where(IDENTITY.c.name == _EXCHANGE))
    marker = root / EXCHANGE_FILE
    if known is not None or not marker.is_file():
        return
    with engine.connect() as connection, connection.begin():
        row = insert(IDENTITY).values(name=_EXCHANGE, value=_text(marker))
        connection.execute(row.on_conflict_do_nothing())


def exchange_of(path: Path) -> str | None:
    """The exchange that a ledger's file names, None where there is no ledger, or it does not say. Writes nothing."""
    if not path.is_file() or not path.stat().st_size:
        return None
    query = f"SELECT value FROM {IDENTITY.name} WHERE name = ?"  # noqa: S608 - the name of a table
    try:
        with closing(connect_to_read(path)) as connection:
            found = connection.execute(query, (_EXCHANGE,)).fetchone()
    except sqlite3.DatabaseError:
        return None  # damaged, or older than the table: who opens it will tell
    return None if found is None else str(found[0])
