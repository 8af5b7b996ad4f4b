"""A process of its own that uses a shared governor file; prints what it saw as JSON.

Belongs here: the two loops of test_governor_processes.py. Does not belong here: any assertion.
Run as a script: `python governor_worker.py REPOSITORY hammer|call FILE ...`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, sys.argv[1])

from lake_resources.governor import WeightGovernor

# Time runs 20 times faster here: a minute of the exchange lasts 3 s.
SPEED = 20
EPOCH = datetime(2026, 2, 15, 12, 0, tzinfo=UTC)


def hammer(path: Path, share: float, processes: int, seconds: float) -> None:
    """Acquire as fast as it goes, once so many are there; tell how much was granted in each minute since then."""
    (path.parent / f"here-{os.getpid()}").touch()
    while len(here := list(path.parent.glob("here-*"))) < processes:
        time.sleep(0.01)
    began = max(each.stat().st_mtime for each in here)

    def clock() -> datetime:
        return EPOCH + timedelta(seconds=(time.time() - began) * SPEED)

    governor = WeightGovernor(path, clock, share, lambda pause_s: time.sleep(pause_s / SPEED))
    granted: Counter[int] = Counter()
    while time.time() < began + seconds:
        asked = clock()
        governor.acquire("exchange", "weight_1m", 5)
        # A grant that came across the edge of a minute belongs to the later one: it was waited for.
        granted[int((clock() - EPOCH).total_seconds() // 60)] += 5
        assert clock() >= asked
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
        hammer(Path(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5]), float(sys.argv[6]))
    else:
        call(Path(sys.argv[3]), sys.argv[4], int(sys.argv[5]))
