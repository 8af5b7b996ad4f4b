"""Writer processes for the crash and concurrency tests, forked from one that has its imports behind it.

Belongs here: the loop that a test kills, and the protocol on stdin/stdout: one line in starts a writer, its process id
comes out; its exit status follows. Does not belong here: any assertion.
Run as a script: `python commit_worker.py REPOSITORY`.
"""

from __future__ import annotations

import json
import os
import random
import sys
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

sys.path.insert(0, sys.argv[1])

from lake_resources.storage.commit import commit_partitions
from lake_resources.storage.compaction import clear, compact
from lake_tests.support import compacted_hours, layouts
from lake_tests.support.killed_at_step import Step, die_at
from lake_tests.support.minute_hours import SYMBOL, at, candidate, clock, lake

HOURS = 6


def write_forever(root: Path, seed: int, version: int, *dies_at: Any) -> None:
    """Commit ever newer versions of random hours; a version is noted in `acknowledged` once its commit returned.

    With `dies_at`, the fields of a `Step`, the process dies at that step after its first commit.
    """
    store = lake(root)
    choose = random.Random(seed)
    log = os.open(root / "acknowledged", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for number in count():
        if number == 1 and dies_at:
            die_at(root, Step(*dies_at))
        version += 1
        hours = sorted(choose.sample(range(HOURS), choose.randint(1, HOURS)))
        commit_partitions(store, SYMBOL, [candidate(at(hour), value=version) for hour in hours], clock=clock)
        os.write(log, (json.dumps([version, hours]) + "\n").encode())


def write_once(root: Path, values: list[float]) -> None:
    """Commit a day once per value, and note the outcomes."""
    store = lake(root)
    statuses = []
    for value in values:
        day = [candidate(at(hour), value=value) for hour in range(24)]
        statuses.append([found.status for found in commit_partitions(store, SYMBOL, day, clock=clock)])
    (root / f"outcomes-{os.getpid()}.json").write_text(json.dumps(statuses))


def compact_forever(root: Path, seed: int, version: int, *dies_at: Any) -> None:
    """Commit, compact to days and to the months, and remove what nothing is read from, in random order for ever.

    With `dies_at` it dies at that step after its first commit.
    """
    store = lake(root)
    choose = random.Random(seed)
    log = os.open(root / "acknowledged", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    rows = compacted_hours.all_rows()
    for number in count():
        version += 1
        hours = sorted(choose.sample(range(compacted_hours.COUNT), choose.randint(1, compacted_hours.COUNT)))
        commit_partitions(store, SYMBOL, compacted_hours.candidates(rows, hours, version), clock=clock)
        os.write(log, (json.dumps([version, hours]) + "\n").encode())
        if number == 0 and dies_at:
            die_at(root, Step(*dies_at))
        for period in choose.sample([*compacted_hours.DAYS, *compacted_hours.MONTHS], 4):
            found = store.ledger.partition_files(SYMBOL, period.start, period.end)
            if found:
                compact(store, period, found, clock=clock)
            clear(store, SYMBOL, clock=clock, grace=timedelta(0))


def write_table(root: Path, name: str, version: int, *dies_at: Any) -> None:
    """Commit ever newer versions of three partitions of a table for ever; a version is noted once it is committed.

    With `dies_at` the process dies at that step after its first commit.
    """
    (layout,) = [layout for layout in layouts.LAYOUTS if layout.name == name]
    store = layouts.layout_store(root, layout)
    log = os.open(root / "acknowledged", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for number in count():
        if number == 1 and dies_at:
            die_at(root, Step(*dies_at))
        version += 1
        wanted = layouts.candidates(layout, layouts.starts(layout, 3), version)
        commit_partitions(store, SYMBOL, wanted, clock=layouts.clock)
        os.write(log, f"{version}\n".encode())


def say(line: str) -> None:
    """One line to the test."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


TASKS = {"forever": write_forever, "once": write_once, "compact": compact_forever, "table": write_table}


def main() -> None:
    """Fork one writer per line of JSON on stdin: a list of them is started together."""
    say("ready")
    for line in sys.stdin:
        children = []
        for task, *arguments in json.loads(line):
            child = os.fork()
            if child == 0:
                try:
                    TASKS[task](Path(arguments[0]), *arguments[1:])
                    os._exit(0)
                finally:
                    os._exit(1)
            children.append(child)
        say(json.dumps(children))
        statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        say(json.dumps(statuses))


if __name__ == "__main__":
    main()
