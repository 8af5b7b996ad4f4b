"""A process that audits the same lake with its cache and kills itself at work.

Belongs here: what such a process does. Does not belong here: judging what is left.
The processes are forked from a server that has the imports behind it, never from the test process and its threads.
"""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
from contextlib import closing
from multiprocessing.process import BaseProcess
from pathlib import Path

from lake_assets.audit.cache import AuditCache
from lake_assets.audit.scan import audit_partitions
from lake_tests.support.killed_at_step import Step, die_at
from lake_tests.support.sound_hours import FIRST, HOUR, LAG, NOW, SYMBOL, open_files

_CONTEXT = multiprocessing.get_context("forkserver")


def start_auditor(root: Path, hours: int, dies_at: Step) -> BaseProcess:
    """Start a process that audits so many hours from `FIRST` on, with an empty cache and again with a full one.

    It kills itself before that step; exit code 0 where there were not so many.
    """
    _CONTEXT.set_forkserver_preload([__name__])
    process = _CONTEXT.Process(target=_audit, args=(root, hours, dies_at))
    process.start()
    return process


def _audit(root: Path, hours: int, dies_at: Step) -> None:
    store = open_files(root)
    cache = AuditCache(root / "audit.sqlite")
    if cache.path.exists():
        with closing(sqlite3.connect(cache.path)) as connection, connection:
            connection.execute("DELETE FROM file_facts")
    die_at(root, dies_at, looks=True)
    for _ in range(2):
        audit_partitions(store, SYMBOL, FIRST, FIRST + hours * HOUR, now=NOW, lag_minutes=LAG, cache=cache)
    os._exit(0)
