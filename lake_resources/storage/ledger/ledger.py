"""The ledger: what the lake holds, where it came from, what is missing.

Belongs here: the one class the rest of the project uses. Statements live by concern in `ledger_partitions`,
`ledger_segments`, `ledger_archives`, `ledger_events` and `ledger_listings`, tables in `ledger_tables`, connections in
`ledger_engine`.
"""

from __future__ import annotations

from lake_resources.storage.ledger.compacted_rows import HourFile, Segment, SegmentRows
from lake_resources.storage.ledger.event_rows import (
    ANY_SYMBOL,
    EventRows,
    KnownHole,
    MissingSource,
    QuarantineEntry,
    Revision,
)
from lake_resources.storage.ledger.hour_rows import FactRows, PartitionFacts
from lake_resources.storage.ledger.listing_rows import Listing, ListingRows
from lake_resources.storage.ledger.partition_rows import Intent, Partition, PartitionRows
from lake_resources.storage.ledger.source_rows import Archive, Capture, SourceRows

__all__ = [
    "ANY_SYMBOL",
    "Archive",
    "Capture",
    "HourFile",
    "Intent",
    "KnownHole",
    "Ledger",
    "Listing",
    "MissingSource",
    "Partition",
    "PartitionFacts",
    "QuarantineEntry",
    "Revision",
    "Segment",
]


class Ledger(PartitionRows, SegmentRows, FactRows, SourceRows, EventRows, ListingRows):
    """All statements on the ledger; safe to share between threads, and after a fork.

    Args:
        url: SQLAlchemy URL; tables are created at the first use.
    """
