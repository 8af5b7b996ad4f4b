"""Starts the writer processes of `commit_worker` for tests.

Belongs here: the other end of its protocol. Does not belong here: any assertion.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lake_tests.support.killed_at_step import Step

REPOSITORY = Path(__file__).resolve().parents[2]
WORKER = Path(__file__).with_name("commit_worker.py")
IN_A_COMMIT = (
    (Step("/.tmp/"), False),
    (Step("/.tmp/", 2), False),
    (Step("INSERT INTO intents"), False),
    (Step("COMMIT"), False),
    (Step("BEGIN IMMEDIATE", 2), True),
    (Step("/part.parquet"), True),
    (Step("/part.parquet", 2), True),
    (Step("COMMIT", 2), True),
    (Step("BEGIN IMMEDIATE", 3), False),
)
"""Steps of a commit by rename, in their order, and whether one that dies before the step leaves an intent: staging, the
intents, the names with the rows in a transaction that is open, the rows, the next commit."""


class Nursery:
    """One process with its imports behind it, which forks writers."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def start(self, *tasks: list[Any]) -> list[int]:
        """Fork one writer per task, all at once; returns their process ids.

        A task is its name, its root and its further arguments; those of a writer that is to die end with a `Step`.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([_flat(task) for task in tasks]) + "\n")
        self._process.stdin.flush()
        return list(json.loads(self._line()))

    def wait(self) -> list[int]:
        """Exit codes of the writers of the last `start`; a killed one has minus its signal."""
        return list(json.loads(self._line()))

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


def _flat(task: list[Any]) -> list[Any]:
    return [*task[:-1], *task[-1]] if isinstance(task[-1], Step) else task


@contextmanager
def nursery() -> Iterator[Nursery]:
    """A nursery that ends with the block."""
    command = [sys.executable, str(WORKER), str(REPOSITORY)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "ready\n"
        yield Nursery(process)
        process.stdin.close()
        process.wait(timeout=240)


def acknowledged(root: Path) -> tuple[dict[int, int], int]:
    """Newest version of each hour whose commit had returned, and the newest version of all."""
    log = root / "acknowledged"
    newest: dict[int, int] = {}
    last = 0
    for line in log.read_text().splitlines() if log.exists() else []:
        version, hours = json.loads(line)
        newest |= dict.fromkeys(hours, version)
        last = version
    return newest, last
