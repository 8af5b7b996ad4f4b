"""One table of a lake: its files, its rows in the ledger, and how it is cut into partitions.

Belongs here: the one object that functions on a table take, opening it. Does not belong here: any work on files or rows
(`commit`, `compaction`, `reader`), what a table's columns mean.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from lake_resources.layout import TableLayout
from lake_resources.storage.catalog import Catalog
from lake_resources.storage.file_store import FileStore, open_files
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


def open_store(root: Path, ledger_url: str, layout: TableLayout, store_url: str = "") -> Store:
    """A table of the lake at `root`; nothing is opened or created before the first use.

    Args:
        root: directory of the lake.
        ledger_url: SQLAlchemy URL of its ledger, `sqlite:////absolute/path`.
        layout: which table.
        store_url: URL of an object store for its files, `s3://bucket/prefix`; empty: they lie in `root`.
    """
    files = open_files(root, store_url)
    return Store(root, LedgerEngine(ledger_url, files=files), layout, files=files)
