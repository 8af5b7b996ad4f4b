"""The ledger: what the lake holds of a table, where it came from, what is missing.

Belongs here: the one class the rest of the project uses. Statements live by concern beside it: `partition_rows`,
`watermark_rows`, `fact_rows`, `compacted_rows`, `restored_rows`, `event_rows` for the table, `source_rows`,
`listing_rows` for the streams of its market, `known_rows` for many symbols at once; tables in `tables`, connections in
`engine`, old versions in `versions`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from lake_resources.layout import TableLayout
from lake_resources.storage.catalog import LakePaths
from lake_resources.storage.ledger.compacted_rows import CompactedFile, PartitionFile
from lake_resources.storage.ledger.engine import LedgerEngine
from lake_resources.storage.ledger.event_rows import (
    ANY_SYMBOL,
    MissingSource,
    QuarantineEntry,
    Revision,
)
from lake_resources.storage.ledger.fact_rows import PartitionFacts
from lake_resources.storage.ledger.known_rows import KnownRows
from lake_resources.storage.ledger.listing_rows import Listing
from lake_resources.storage.ledger.parity_rows import ComparedPartition, NewVerdict, ParityRows
from lake_resources.storage.ledger.partition_rows import Intent, Partition
from lake_resources.storage.ledger.published import as_published
from lake_resources.storage.ledger.restored_rows import RestoredRows
from lake_resources.storage.ledger.source_rows import Archive, Capture
from lake_resources.storage.ledger.tables import ARCHIVES, CAPTURES, MISSING_SOURCES, PARTITIONS, QUARANTINE

__all__ = [
    "ANY_SYMBOL",
    "Archive",
    "Capture",
    "CompactedFile",
    "ComparedPartition",
    "Intent",
    "Ledger",
    "Listing",
    "MissingSource",
    "NewVerdict",
    "Partition",
    "PartitionFacts",
    "PartitionFile",
    "QuarantineEntry",
    "Revision",
]


class Ledger(KnownRows, RestoredRows, ParityRows):
    """All statements on the ledger, as one table sees it; safe to share between threads, and after a fork.

    What a writer has published and not noted yet is read as committed.

    Args:
        engine: connections to the database; tables are created, or migrated, at the first use.
        layout: the table whose partitions, quarantine, revisions and watermark it speaks of, and whose market's
            archives, captures, missing sources, listings and known holes.
        root: directory of the lake, whose files say which intents are published.
    """

    def __init__(self, engine: LedgerEngine, layout: TableLayout, root: Path) -> None:
        super().__init__(engine, layout)
        self._paths = LakePaths(root)

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A connection for one SELECT."""
        with super().reading() as connection, as_published(connection, self, self._paths):
            yield connection

    def is_known(self, symbol: str) -> bool:
        """Whether the ledger has heard of a symbol: a partition, a raw input, or a source that had nothing."""
        tables = [(PARTITIONS, self.layout.name, "table_name"), (QUARANTINE, self.layout.name, "table_name")]
        tables += [(table, self.layout.market, "market") for table in (ARCHIVES, CAPTURES, MISSING_SOURCES)]
        with self.reading() as connection:
            return any(
                connection.scalar(
                    sa.select(sa.literal(1)).where(table.c[key] == value, table.c.symbol == symbol).limit(1)
                )
                for table, value, key in tables
            )

    def schema_version(self) -> int:
        """Version of the tables that the ledger was made with, to be compared with `LEDGER_VERSION`."""
        return self.engine.schema_version()

    def close(self) -> None:
        """Close the pooled connections; the next call opens new ones."""
        self.engine.close()
