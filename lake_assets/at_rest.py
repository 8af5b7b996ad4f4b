"""The lake at rest: a table of it and the clock, without the clients of the exchange.

Belongs here: opening it for commands that read what is there. Does not belong here: anything that asks the exchange
(`lake`), any work with it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from lake_assets.schema.table import Table
from lake_assets.tables.um_minute import UM_MINUTE
from lake_resources.clock import Clock, system_clock
from lake_resources.settings import LakeSettings
from lake_resources.storage.catalog import Catalog
from lake_resources.storage.ledger.ledger import Ledger
from lake_resources.storage.root import require_lake
from lake_resources.storage.store import Store, open_store


@dataclass(frozen=True)
class LakeAtRest:
    """What reading a table of a lake needs.

    Attributes:
        store: the table: its files, its rows in the ledger, its layout.
        clock: the only source of the current time.
        safety_lag_minutes: a minute is built once it is closed for this long.
    """

    store: Store
    clock: Clock
    safety_lag_minutes: int

    @property
    def catalog(self) -> Catalog:
        """Where the files of the table, and of the raw inputs of its market, lie."""
        return self.store.catalog

    @property
    def ledger(self) -> Ledger:
        """What the ledger says of the table, and of the raw inputs of its market."""
        return self.store.ledger

    def of(self, table: Table) -> Self:
        """The same lake for work on another table of the same market."""
        return replace(self, store=self.store.of(table.layout))

    def close(self) -> None:
        """Close connections; the lake on the disk is not touched."""
        self.store.close()


def store_of(settings: LakeSettings, table: Table = UM_MINUTE) -> Store:
    """A table of the lake of the settings; nothing is opened or created before the first use."""
    return open_store(settings.lake_root, settings.resolved_ledger_url, table.layout)


def open_at_rest(settings: LakeSettings, *, clock: Clock = system_clock) -> LakeAtRest:
    """Open a lake that is there: a mistyped root is not created by looking at it.

    Raises:
        SettingsError: there is none, or it belongs to another exchange.
    """
    require_lake(settings.lake_root, settings.exchange)
    return LakeAtRest(store_of(settings), clock, settings.safety_lag_minutes)
