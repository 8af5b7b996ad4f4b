"""The ledger: what the lake holds, where it came from, what is missing.

Belongs here: the one class the rest of the project uses. Statements live by concern in `ledger_partitions`,
`ledger_segments`, `ledger_archives`, `ledger_events` and `ledger_listings`, tables in `ledger_tables`, connections in
`ledger_engine`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from lake_resources.storage.catalog import Catalog
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
from lake_resources.storage.ledger.published import as_published
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
        root: directory of the lake, whose files say which intents are published: those are read as committed. None
            reads the rows alone, for ledgers without files.
        busy_ms: how long a write waits for another process's (SQLite).
    """

    def __init__(self, url: str, root: Path | None = None, *, busy_ms: int | None = None) -> None:
        super().__init__(url, busy_ms)
        self._catalog = None if root is None else Catalog(root)

    @contextmanager
    def _read(self) -> Iterator[sa.Connection]:
        with super()._read() as connection:
            if self._catalog is None:
                yield connection
            else:
                with as_published(connection, self._catalog):
                    yield connection
