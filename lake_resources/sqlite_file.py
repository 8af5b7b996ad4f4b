"""Files of SQLite that several processes open.

Belongs here: whether one may be written, a connection that writes not even beside the file, the write-ahead log.
Does not belong here: any table, whose file it is.
"""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path

LOOK_WAIT_S = 5.0
"""How long a look waits for one who locks all of a file."""
_PAUSE_S = 0.005


def may_only_read(path: Path) -> bool:
    """Whether this process can read the file, but not write it: a read-only mount, or another user's file."""
    return path.is_file() and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK))


def connect_to_read(path: Path, wait_s: float = LOOK_WAIT_S) -> sqlite3.Connection:
    """A connection that writes nothing, not even beside the file, and waits so long for one who locks it.

    While a writer has the database open, its log lies beside the file and is read too. Without it, all is in the file.
    """
    live = path.with_name(f"{path.name}-wal").exists()
    mode = "mode=ro" if live else "mode=ro&immutable=1"
    return sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True, isolation_level=None, timeout=wait_s)


def use_write_ahead_log(connection: sqlite3.Connection, wait_s: float) -> None:
    """Let a file keep a write-ahead log, waiting so long for another who opens the same new file.

    SQLite itself does not wait when two first users switch a new file at once: one of them is refused.

    Raises:
        sqlite3.OperationalError: it was locked all that time, or cannot be written.
    """
    deadline = time.monotonic() + wait_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL").close()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE_S)
        else:
            return
