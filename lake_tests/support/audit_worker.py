"""A process that audits the same lake again and again with its cache, to be killed at any point.

Belongs here: that loop. Does not belong here: killing it, judging what is left.
The processes are forked from a server that has the imports behind it, never from the test process and its threads.
"""

from __future__ import annotations

import multiprocessing
import sqlite3
from contextlib import closing
from itertools import count
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from lake_assets.audit.cache import AuditCache
from lake_assets.audit.scan import audit_partitions
from lake_tests.support.sound_hours import FIRST, HOUR, LAG, NOW, SYMBOL, open_files

_CONTEXT = multiprocessing.get_context("forkserver")


def start_auditor(root: Path, hours: int) -> BaseProcess:
    """Start a process that audits so many hours from `FIRST` on until it is killed; it is about to begin."""
    _CONTEXT.set_forkserver_preload([__name__])
    ready, says = _CONTEXT.Pipe(duplex=False)
    process = _CONTEXT.Process(target=_audit, args=(says, root, hours))
    process.start()
    says.close()
    ready.recv()
    ready.close()
    return process


def _audit(says: Connection, root: Path, hours: int) -> None:
    """Audit with the cache emptied every other time."""
    store = open_files(root)
    cache = AuditCache(root / "audit.sqlite")
    says.send("ready")
    for number in count():
        if number % 2:
            with closing(sqlite3.connect(cache.path)) as connection, connection:
                connection.execute("DELETE FROM file_facts")
        audit_partitions(store, SYMBOL, FIRST, FIRST + hours * HOUR, now=NOW, lag_minutes=LAG, cache=cache)
