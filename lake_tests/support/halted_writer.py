"""A writer that is halted in the middle of publishing two hours: before, between or after the renames of their files.

Belongs here: the process and the other end of it. Does not belong here: any assertion.
The interpreter itself tells of each rename (`sys.addaudithook`), so nothing of the project is replaced.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

from lake_assets.tables.um_minute import UM_MINUTE
from lake_resources.storage.commit import commit_partitions
from lake_tests.support.halted_process import halted_process
from lake_tests.support.sound_hours import FIRST, HOUR, NOW, SYMBOL, candidate, open_files, sound_rows

HELD_ROWS = 59
"""Rows of the first hour before the writer came; it commits 60 of that hour and the whole hour after it."""
STREAMS = tuple(UM_MINUTE.uses)


def halted_writer(root: Path, how: signal.Signals, renames: int) -> AbstractContextManager[subprocess.Popen[str]]:
    """A writer that has renamed so many of its two files and was then stopped or killed; it ends with the block."""
    command = [sys.executable, "-m", "lake_tests.support.halted_writer", str(root), str(int(how)), str(renames)]
    return halted_process(command)


def _halt_after(renames: int, how: int) -> None:
    """Send this process a signal once so many of its two files have their names."""
    done = 0

    def look(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal done
        renaming = event == "os.rename" and str(arguments[1]).endswith("part.parquet")
        # The event comes before what it tells of: with all files renamed, the next is the opening of a directory.
        if done == renames and (renaming or (event == "open" and done == 2)):
            done = 3  # once is enough
            os.kill(os.getpid(), how)
        done += renaming

    sys.addaudithook(look)


def main() -> None:
    """`halted_writer ROOT SIGNAL RENAMES`: commit the two hours, halted on the way."""
    root, how, renames = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    store = open_files(root)
    rows = sound_rows(FIRST, 3)
    parts = [candidate(FIRST + n * HOUR, rows.slice(60 * n, 60), streams=STREAMS) for n in (1, 2)]
    _halt_after(renames, how)
    commit_partitions(store, SYMBOL, parts, clock=lambda: NOW)


if __name__ == "__main__":
    main()
