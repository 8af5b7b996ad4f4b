"""Rows of a lost ledger, put back from what the files say.

Belongs here: writing partitions and compacted files that are committed already, and the watermark over them.
Does not belong here: reading files, the commit of something new (`partition_rows`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from lake_resources.storage.ledger.compacted_rows import CompactedFile
from lake_resources.storage.ledger.partition_rows import Partition, PartitionRows
from lake_resources.storage.ledger.tables import COMPACTED_FILES, PARTITIONS

LOST = "lost with the ledger"
"""What stands where no file says what the ledger said."""


class RestoredRows(PartitionRows):
    """Statements that put rows back; the caller is the only writer."""

    def restore_partitions(self, partitions: Sequence[Partition]) -> None:
        """Add or replace rows of partitions whose files lie under their final names."""
        rows = [self._partition_row(partition) | {"status": "COMMITTED"} for partition in partitions]
        if rows:
            with self.engine.writing() as connection:
                self.engine.upsert(connection, PARTITIONS, rows)

    def restore_compacted(self, files: Sequence[CompactedFile]) -> None:
        """Add or replace rows of day and month files."""
        rows = [self._row(file) for file in files]
        if rows:
            with self.engine.writing() as connection:
                self.engine.upsert(connection, COMPACTED_FILES, rows)

    def restore_watermark(self, symbol: str, at: datetime) -> None:
        """Move the watermark over all that is committed or in quarantine since the symbol's first partition."""
        with self.engine.writing() as connection:
            self.advance_watermark(connection, symbol, at)
