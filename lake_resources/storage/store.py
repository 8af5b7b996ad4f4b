"""One table of a lake: its files, its rows in the ledger, and how it is cut into partitions.

Belongs here: the one object that functions on a table take. Does not belong here: any work on files or rows (`commit`,
`compaction`, `reader`), what a table's columns mean, finding a lake by its settings (`lake_assets.at_rest`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from lake_resources.layout import TableLayout
from lake_resources.storage.catalog import Catalog
from lake_resources.storage.file_store import FileStore
from lake_resources.storage.ledger.engine import LedgerEngine
from lake_resources.storage.ledger.ledger import Ledger


@dataclass(frozen=True)
class Store:
    """A table of one lake.

    Attributes:
        root: directory of the lake.
        engine: connections to the ledger's database; the stores of all tables of a lake share one.
        layout: which table, and its grain, partitions and place.
        files: where the Parquet files lie that the ledger names; the stores of all tables of a lake share it.
    """

    root: Path
    engine: LedgerEngine
    layout: TableLayout
    files: FileStore = field(kw_only=True)

    @cached_property
    def catalog(self) -> Catalog:
        """Where the files of the table, and of the raw inputs of its market, lie."""
        return Catalog(self.root, self.layout)

    @cached_property
    def ledger(self) -> Ledger:
        """Rows of the table, and of the raw inputs of its market, in the ledger."""
        return Ledger(self.engine, self.layout, self.root)

    def of(self, layout: TableLayout) -> Store:
        """Another table of the same lake, over the same connections."""
        return Store(self.root, self.engine, layout, files=self.files)

    def close(self) -> None:
        """Close the connections; the next call of any store of the lake opens new ones."""
        self.engine.close()
