"""Waiting for conditions, never for seconds, and what processes and ports are free or gone.

Belongs here: what tests with processes of their own ask of the machine. Does not belong here: what they prove.
"""

from __future__ import annotations

import itertools
import os
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any


def wait_until(
    ready: Callable[[], object],
    what: str = "it",
    *,
    seconds: float = 120,
    every_s: float = 0.02,
    meanwhile: Callable[[], object] = lambda: None,
) -> None:
    """Return when `ready()` is true. The time is for machines with other work: no test depends on less of it.

    Raises:
        AssertionError: it did not come within so many seconds; names what.
    """
    deadline = time.monotonic() + seconds
    while not ready():
        meanwhile()
        assert time.monotonic() < deadline, f"{what} did not come within {seconds:.0f} s"
        time.sleep(every_s)


def in_parallel(*works: Callable[[], Any]) -> list[Any]:
    """All works at the same moment, each in a thread; their results, in order."""
    gate = threading.Barrier(len(works))

    def started(work: Callable[[], Any]) -> Any:
        gate.wait()
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return [each.result() for each in [pool.submit(started, work) for work in works]]


def gone(process_id: int) -> bool:
    """Whether a process has ended; one that nobody has asked for its exit code yet has."""
    try:
        stat = Path(f"/proc/{process_id}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(")")[2].split()[0] in "ZX"


def group_gone(group: int) -> bool:
    """The same of every process of a group."""
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            state, _parent, its_group = (directory / "stat").read_text().rpartition(")")[2].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(its_group) == group and state not in "ZX":
            return False
    return True


# Below those that Linux gives to connections: one of them, open or ended in the last minute, would refuse the process
# that is to listen there some seconds after the port was picked.
_FIRST_PORT, _PORTS_EACH = 12_000, 1_000
_turns = itertools.count(os.getpid() % _PORTS_EACH)


def free_port() -> int:
    """A port on loopback that nothing listens on, and that neither a connection nor another worker will take."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 16
    for turn in itertools.islice(_turns, _PORTS_EACH):
        port = _FIRST_PORT + _PORTS_EACH * worker + turn % _PORTS_EACH
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise AssertionError("no port is free")
