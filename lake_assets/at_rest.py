"""The lake at rest: a table of it and the clock, without the clients of the exchange.

Belongs here: opening it for commands that read what is there. Does not belong here: anything that asks the exchange
(`lake`), any work with it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from lake_assets.schema.table import Table
from lake_assets.tables.um_minute import UM_MINUTE
from lake_resources.clock import Clock, system_clock
from lake_resources.errors import SettingsError
from lake_resources.settings import LakeSettings
from lake_resources.storage.catalog import Catalog
from lake_resources.storage.file_store import FileStore, open_files
from lake_resources.storage.ledger.engine import LedgerEngine
from lake_resources.storage.ledger.ledger import Ledger
from lake_resources.storage.root import require_lake
from lake_resources.storage.store import Store


@dataclass(frozen=True)
class TableStore(Store):
    """A table of one lake with all that is declared of it: what it means, and where it lies.

    Attributes:
        table: the declaration; `layout` is its layout.
    """

    table: Table

    def beginning(self) -> TableStore:
        """The same table over a ledger that is made anew from its files: that it is empty is no loss."""
        engine = LedgerEngine(self.engine.url, files=self.files, anew=True)
        return TableStore(self.root, engine, self.layout, self.table, files=self.files)

    def beside(self, table: Table) -> TableStore:
        """Another table of the same lake, over the same connections."""
        return TableStore(self.root, self.engine, table.layout, table, files=self.files)


@dataclass(frozen=True)
class LakeAtRest:
    """What reading a table of a lake needs.

    Attributes:
        store: the table: its files, its rows in the ledger, its layout.
        clock: the only source of the current time.
        safety_lag_minutes: a minute is built once it is closed for this long.
    """

    store: TableStore
    clock: Clock
    safety_lag_minutes: int

    @property
    def table(self) -> Table:
        """The table that the work is on."""
        return self.store.table

    @property
    def catalog(self) -> Catalog:
        """Where the files of the table, and of the raw inputs of its market, lie."""
        return self.store.catalog

    @property
    def files(self) -> FileStore:
        """The files that the ledger names, wherever they lie."""
        return self.store.files

    @property
    def ledger(self) -> Ledger:
        """What the ledger says of the table, and of the raw inputs of its market."""
        return self.store.ledger

    def of(self, table: Table) -> Self:
        """The same lake for work on another table, which may be one of another market."""
        return replace(self, store=self.store.beside(table))

    def close(self) -> None:
        """Close connections; the lake on the disk is not touched."""
        self.store.close()


def store_of(settings: LakeSettings, table: Table = UM_MINUTE) -> TableStore:
    """A table of the lake of the settings; nothing is opened or created before the first use."""
    return table_store(settings.lake_root, settings.resolved_ledger_url, table, settings.store_url)


def table_store(root: Path, ledger_url: str, table: Table, store_url: str = "") -> TableStore:
    """A table of the lake at `root`; nothing is opened or created before the first use.

    Args:
        root: directory of the lake.
        ledger_url: SQLAlchemy URL of its ledger, `sqlite:////absolute/path`.
        table: which table.
        store_url: URL of an object store for its files, `s3://bucket/prefix`; empty: they lie in `root`.
    """
    files = open_files(root, store_url)
    return TableStore(root, LedgerEngine(ledger_url, files=files), table.layout, table, files=files)


def local_ledger(settings: LakeSettings) -> Path:
    """The ledger's file, for commands that copy it or put another in its place.

    Raises:
        SettingsError: the ledger is on a server.
    """
    if settings.ledger_file is None:
        raise SettingsError(
            "the ledger is in Postgres, this command works on a ledger in a file",
            remedy="Copy and restore it with pg_dump and pg_restore, the database before the files of LAKE_ROOT",
        )
    return settings.ledger_file


def open_at_rest(settings: LakeSettings, table: Table = UM_MINUTE, *, clock: Clock = system_clock) -> LakeAtRest:
    """Open a table of a lake that is there: a mistyped root is not created by looking at it.

    Raises:
        SettingsError: there is none, or it belongs to another exchange.
    """
    require_lake(settings.lake_root, settings.exchange, settings.ledger_file)
    return LakeAtRest(store_of(settings, table), clock, settings.safety_lag_minutes)
