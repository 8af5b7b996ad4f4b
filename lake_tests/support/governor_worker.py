"""A process of its own that uses a shared governor file; prints what it saw as JSON.

Belongs here: the two loops of test_governor_processes.py. Does not belong here: any assertion.
Run as a script: `python governor_worker.py REPOSITORY hammer|call FILE ...`.
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import struct
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, sys.argv[1])

from lake_resources.governor import WeightGovernor

EPOCH = datetime(2026, 2, 15, 12, 0, tzinfo=UTC)
_RUNS, _ENDED = -1.0, float("inf")


class CommonTime:
    """One time for several processes, in seconds: it moves on, to the first of them, when all of them wait."""

    def __init__(self, path: Path, processes: int) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT)
        with self._locked():
            if not os.fstat(self._file).st_size:
                os.pwrite(self._file, struct.pack(f"{processes + 2}d", 0.0, 0.0, *[_RUNS] * processes), 0)
            self._held = mmap.mmap(self._file, 0)
            self._told = memoryview(self._held).cast("d")
            self._mine = 2 + int(self._told[1])
            self._told[1] += 1

    def now(self) -> datetime:
        """The time, which stands while this process is at work."""
        return EPOCH + timedelta(seconds=self._told[0])

    def sleep(self, pause_s: float) -> None:
        """Wait for so long in that time."""
        until = self._told[0] + pause_s
        self._wait(until)
        while self._told[0] < until:
            time.sleep(0.001)
        self._told[self._mine] = _RUNS

    def end(self) -> None:
        """This process takes no time any more."""
        self._wait(_ENDED)

    def _wait(self, until: float) -> None:
        with self._locked():
            self._told[self._mine] = until
            first = min(self._told[2:])
            if first != _ENDED:
                self._told[0] = max(self._told[0], first)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)


def hammer(path: Path, share: float, processes: int, minutes: int) -> None:
    """Acquire as fast as it goes; tell how much was granted in each minute."""
    common = CommonTime(path.with_name("time"), processes)
    governor = WeightGovernor(path, common.now, share, common.sleep)
    granted: Counter[int] = Counter()
    while common.now() < EPOCH + timedelta(minutes=minutes):
        governor.acquire("exchange", "weight_1m", 5)
        granted[int((common.now() - EPOCH).total_seconds() // 60)] += 5
    common.end()
    json.dump(granted, sys.stdout)


def call(path: Path, base_url: str, calls: int) -> None:
    """Ask for the time until a ban; tell how it ended and how many calls went through."""
    from lake_resources.binance.rest.rest_client import BinanceRest
    from lake_resources.errors import Banned

    rest = BinanceRest(base_url, governor=WeightGovernor(path), sleep=lambda _: None)
    done = 0
    try:
        for _ in range(calls):
            rest.server_time()
            done += 1
    except Banned:
        json.dump(["banned", done], sys.stdout)
    else:
        json.dump(["done", done], sys.stdout)


if __name__ == "__main__":
    if sys.argv[2] == "hammer":
        hammer(Path(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5]), int(sys.argv[6]))
    else:
        call(Path(sys.argv[3]), sys.argv[4], int(sys.argv[5]))
