"""What it means to declare a check of a partition.

Belongs here: the record. Does not belong here: which checks there are, what a check says (`validation.outcome`), which
of them a table has (`lake_assets.tables`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warn"]


@dataclass(frozen=True)
class CheckSpec:
    """A check of a partition.

    Attributes:
        name: its name in the UI and the ledger.
        severity: of a failure.
        gate: True where a failure keeps the partition from being committed.
        text: what it asserts; `{row}`, `{span}` and `{required}` stand for the table's word for a row, the length
            of its partitions, and how many of its columns are required.
        counts: numbers of its metadata that say how much it looked at; where all of them are 0 it compared nothing.
    """

    name: str
    severity: Severity
    gate: bool
    text: str
    counts: tuple[str, ...] = ()
