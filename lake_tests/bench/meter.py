"""Measuring a piece of work in a process of its own, and telling the parent.

Belongs here: CPU seconds, wall seconds, peak memory. Does not belong here: what is measured, or judging it. Imports of
the standard library only: the competitors' environment uses it too.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def metered(**further: float) -> Iterator[dict[str, float]]:
    """Measure the block and print it as one JSON line; the block may add figures to the yielded dict."""
    figures: dict[str, float] = dict(further)
    wall, cpu = time.perf_counter(), cpu_s()
    yield figures
    figures |= {"cpu_s": cpu_s() - cpu, "wall_s": time.perf_counter() - wall, "peak_mib": peak_mib()}
    sys.stdout.write(json.dumps(figures) + "\n")


def cpu_s() -> float:
    """User and system seconds of all threads of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def peak_mib() -> float:
    """Largest resident set of this process; `ru_maxrss` would also count the parent before the exec."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
