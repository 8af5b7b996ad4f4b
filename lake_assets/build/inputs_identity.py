"""The hash of everything that the rows of a partition depend on.

Belongs here: that one hash, and finding from it what a partition's file does not say. Does not belong here: the sources
themselves (`inputs`), comparing a partition with what is committed (`hours`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from lake_resources.layout import TableLayout

_MOST_TRIED = 60


@dataclass(frozen=True)
class Identity:
    """What a partition was built from.

    Attributes:
        code_version: of the transforms.
        schema_hash: of the table.
        max_ffill_minutes: how long slow series were carried forward.
        start: of the partition, UTC.
        sources: by stream, as canonical JSON.
    """

    code_version: str
    schema_hash: str
    max_ffill_minutes: int
    start: datetime
    sources: str

    def inputs_hash(self, expected_end: datetime, end: datetime) -> str:
        """The hash, for rows that are required until `expected_end` and taken until `end`, both UTC."""
        told = [
            self.code_version,
            self.schema_hash,
            self.max_ffill_minutes,
            self.start.isoformat(),
            expected_end.isoformat(),
            self.sources,
            *([end.isoformat()] if end > expected_end else []),
        ]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()

    def expected_rows(self, inputs_hash: str, layout: TableLayout) -> int | None:
        """How many rows were required of the partition that has this hash; None where the hash does not tell."""
        for expected_end, end in _ends(self.start, layout):
            if self.inputs_hash(expected_end, end) == inputs_hash:
                return (expected_end - self.start) // layout.grain
        return None


def _ends(start: datetime, layout: TableLayout) -> Iterator[tuple[datetime, datetime]]:
    """What the ends of a partition may have been, the likeliest first: nearly all partitions are closed."""
    whole = start + layout.step
    yield whole, whole
    if layout.rows_per_partition <= _MOST_TRIED:
        for required in range(layout.rows_per_partition - 1, -1, -1):
            expected_end = start + required * layout.grain
            for taken in range(required, layout.rows_per_partition + 1):
                yield expected_end, start + taken * layout.grain
