"""Seconds of CPU that processes and all that they started have spent, by part.

Belongs here: reading them from /proc. Does not belong here: what the parts are.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

_PER_S = os.sysconf("SC_CLK_TCK")


def cpu_spent(parts: Mapping[str, int]) -> dict[str, float]:
    """User and system seconds of each part, with those of its children, living or waited for.

    Args:
        parts: process ids by name; a process counts for the nearest of them among itself and its parents.
    """
    parents: dict[int, int] = {}
    spent: dict[int, float] = {}
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            fields = (directory / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        number = int(directory.name)
        parents[number] = int(fields[1])
        # utime, stime, and those of children that ended and were waited for.
        spent[number] = sum(int(field) for field in fields[11:15]) / _PER_S
    names = {number: name for name, number in parts.items()}
    found = dict.fromkeys(parts, 0.0)
    for number, seconds in spent.items():
        at = number
        while at not in names and at in parents:
            at = parents[at]
        if at in names:
            found[names[at]] += seconds
    return found
