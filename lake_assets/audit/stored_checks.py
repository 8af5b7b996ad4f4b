"""The checks that need only what is stored, on committed partitions, without a rebuild.

Belongs here: reading a partition's rows back and judging them. Does not belong here: comparisons of sources, which a
build makes; what Dagster makes of an outcome; writing anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from lake_assets.at_rest import LakeAtRest
from lake_assets.inputs.excuses import holes_known
from lake_assets.validation.gate import PartitionWindow, gate
from lake_assets.validation.hour_verdict import EVIDENCE, verdict_of, verdict_outcome
from lake_assets.validation.outcome import GATE_CHECKS, CheckOutcome
from lake_resources.storage.reader import read_partition

STORED_CHECKS = (*GATE_CHECKS, EVIDENCE)
"""Checks that say something of stored rows alone. `evidence` tells the verdict that the ledger has now."""
NEWEST = 24
"""Partitions that are checked where none is named."""


def newest_partitions(lake: LakeAtRest, symbol: str) -> list[datetime]:
    """Starts of the newest committed partitions, in order."""
    layout, now = lake.store.layout, lake.clock()
    held = lake.ledger.partition_facts(symbol, now - 2 * NEWEST * layout.step, now + layout.step)
    return [row.start for row in held[-NEWEST:]]


def stored_outcomes(lake: LakeAtRest, symbol: str, starts: Sequence[datetime]) -> dict[datetime, list[CheckOutcome]]:
    """What `STORED_CHECKS` say of committed partitions as they lie on the disk; partitions that are not are left out.

    Raises:
        StorageError: a file is gone or does not read.
    """
    table, layout, found = lake.table, lake.store.layout, dict[datetime, list[CheckOutcome]]()
    for start in sorted({layout.whole(start) for start in starts}):
        row = lake.ledger.partition(symbol, start)
        if row is None:
            continue
        rows = read_partition(lake.store, row)
        # Provisional rows of an open partition are as good as what had to exist.
        until = start + row.expected_rows * layout.grain
        if row.max_ts is not None:
            until = max(until, row.max_ts + layout.grain)
        holes = holes_known(lake.ledger, symbol, start, start + layout.step)
        judged = gate(table, rows, [PartitionWindow(start, until)], holes)[start]
        if row.verdict is not None:
            judged = [*judged, verdict_outcome(verdict_of(row.verdict, row.verdict_detail))]
        found[start] = judged
    return found
