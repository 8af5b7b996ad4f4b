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


def peak_mib(process_id: int | None = None) -> float:
    """Largest resident set of a process, MiB, by default of this one; `ru_maxrss` would count its parent, too."""
    status = Path(f"/proc/{process_id or 'self'}/status").read_text()
    (peak_kib,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(peak_kib) / 1024
