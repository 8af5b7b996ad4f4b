"""A process that kills itself right before a step of its own, on the disk or in the ledger.

Belongs here: what a step is, counting them, the kill. Does not belong here: what the process does, any assertion.
The interpreter tells of each name that is given, taken away or opened for writing (`sys.addaudithook`), and SQLAlchemy
of each statement that writes: nothing of the project is replaced, nothing sleeps, and where a kill falls depends on no
machine's speed. Both are for the life of the process, so only one that is to die calls `die_at`.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa

_NAMES = {"os.mkdir": 0, "os.remove": 0, "os.rename": 1, "os.link": 1}
"""Events of a name that appears or goes, and which of their arguments is the name."""
_WRITES = os.O_WRONLY | os.O_RDWR


class Step(NamedTuple):
    """The `number`th step, counted from 1, of those whose text has `of` in it.

    Texts are `os.rename /lake/…/part.parquet` (its new name), `open /lake/.tmp/…`, `INSERT INTO intents …`, `COMMIT`;
    of one that looks also `read /lake/…/part.parquet` and `audit.sqlite: INSERT …`.
    """

    of: str = ""
    number: int = 1


def die_at(root: Path, step: Step, *, looks: bool = False) -> None:
    """From now on count the steps below `root` and of every ledger, and send this process SIGKILL before that one.

    With `looks` steps are also files that are opened to be read, and the statements of SQLite files that are no ledger.
    """
    below, met = str(root), count(1)

    def take(text: str) -> None:
        if step.of in text and next(met) == step.number:
            os.kill(os.getpid(), signal.SIGKILL)

    def heard(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _NAMES:
            name = str(arguments[_NAMES[event]])
        elif event == "open" and isinstance(arguments[2], int) and (looks or arguments[2] & _WRITES):
            name = str(arguments[0])
            event = event if arguments[2] & _WRITES else "read"
        else:
            return
        if name.startswith(below):
            take(f"{event} {name}")

    def executes(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        text = statement.lstrip()
        if not text.startswith(("SELECT", "PRAGMA", "WITH")):
            take(text)

    def commits(_connection: Any) -> None:
        take("COMMIT")

    def connect(database: Any, *given: Any, **named: Any) -> sqlite3.Connection:
        connection = connects(database, *given, **named)
        connection.set_trace_callback(lambda statement: take(f"{Path(database).name}: {statement.lstrip()}"))
        return connection

    connects = sqlite3.connect
    if looks:
        # SQLAlchemy has its own name of it, so that a ledger's statements are not told twice.
        sqlite3.connect = connect  # type: ignore[assignment]
    sys.addaudithook(heard)
    sa.event.listen(sa.Engine, "before_cursor_execute", executes)
    sa.event.listen(sa.Engine, "commit", commits)
