"""A table of a lake in a test's directory, without settings or clients."""

from pathlib import Path

from lake_assets.tables.um_minute import UM_MINUTE
from lake_resources.layout import TableLayout
from lake_resources.storage.store import Store, open_store


def store_at(root: Path, layout: TableLayout = UM_MINUTE.layout) -> Store:
    """The table of the lake at `root`, its ledger beside its files as the settings have it."""
    return open_store(root, f"sqlite:///{root / 'ledger.sqlite'}", layout)
