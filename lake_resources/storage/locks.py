"""One writer at a time.

Belongs here: the lock file that all processes of a host respect, with a time-out.
Does not belong here: what is done under the lock. A lake written from several hosts needs another lock.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lake_resources.backoff import Backoff
from lake_resources.errors import PartitionBusy
from lake_resources.storage.disk import disk_errors

DEFAULT_TIMEOUT_S = 120.0
_POLLED = Backoff(0.001, 0.05)


@contextmanager
def writer_lock(path: Path, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> Iterator[None]:
    """Hold the lock of `path`; the kernel releases it when the process dies, however it dies.

    The lock belongs to one opening of the file, so threads of one process exclude each other too; it is not re-entrant.

    Args:
        path: the lock file, created where absent and never removed.
        timeout_s: how long to wait for another holder, seconds.

    Raises:
        PartitionBusy: another writer held it all that time.
        DiskFull: the lock file could not be created.
    """
    with disk_errors(f"lock {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        _wait(descriptor, path, timeout_s)
        yield
    finally:
        os.close(descriptor)


def is_held(path: Path) -> bool:
    """Whether a process holds the lock of `path` now; nothing is created, and reading the file is enough to ask."""
    with disk_errors(f"lock {path}"):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _wait(descriptor: int, path: Path, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    tries = 0
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise PartitionBusy(
                    f"lock {path}: another writer held it for {timeout_s:g} s",
                    remedy="Let the other run finish, then materialize this partition again",
                ) from None
            tries += 1
            time.sleep(_POLLED.after_s(tries))
        else:
            return
