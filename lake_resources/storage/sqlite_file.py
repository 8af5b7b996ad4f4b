"""Reading a file of SQLite in which this process may write nothing.

Belongs here: whether it may, and a connection that writes not even beside the file. Does not belong here: any table,
whose file it is.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

LOOK_WAIT_S = 5.0
"""How long a look waits for one who locks all of a file."""


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
