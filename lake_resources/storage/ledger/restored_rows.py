"""Rows of a lost ledger, put back from what the files say.

Belongs here: writing partitions and compacted files that are committed already, and the watermark over them.
Does not belong here: reading files, the commit of something new (`partition_rows`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from lake_resources.storage.ledger.compacted_rows import CompactedFile
from lake_resources.storage.ledger.partition_rows import Partition, PartitionRows
from lake_resources.storage.ledger.tables import COMPACTED_FILES, PARTITIONS

LOST = "lost with the ledger"
"""What stands where no file says what the ledger said."""


class RestoredRows(PartitionRows):
    """Statements that put rows back, or say anew what stands in them."""

    def restore_partitions(self, partitions: Sequence[Partition]) -> None:
        """Add or replace rows of partitions whose files lie under their final names; the caller is the only writer."""
        rows = [self._partition_row(partition) | {"status": "COMMITTED"} for partition in partitions]
        if rows:
            with self.engine.writing() as connection:
                self.engine.upsert(connection, PARTITIONS, rows)

    def restate_partitions(self, symbol: str, said: Sequence[tuple[str, Partition]], at: datetime) -> set[datetime]:
        """In one transaction: put rows in place of those of the same bytes that were looked at.

        Args:
            symbol: whose partitions.
            said: the new rows, each with the content hash that stood in the old one.
            at: when, UTC.

        Returns:
            Starts of the rows that were put; the others were committed anew meanwhile.
        """
        if not said:
            return set()
        starts = [partition.start for _, partition in said]
        columns = sa.select(PARTITIONS.c.start_utc, PARTITIONS.c.content_hash)
        query = self.within(columns, symbol, min(starts), max(starts) + self.layout.step)
        with self.engine.writing(self.rows_of(symbol)) as connection:
            held = {row.start_utc: row.content_hash for row in connection.execute(query)}
            mine = [partition for content_hash, partition in said if held.get(partition.start) == content_hash]
            if mine:
                rows = [self._partition_row(partition) | {"status": "COMMITTED"} for partition in mine]
                self.engine.upsert(connection, PARTITIONS, rows)
                self.advance_watermark(connection, symbol, at)
        return {partition.start for partition in mine}

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
