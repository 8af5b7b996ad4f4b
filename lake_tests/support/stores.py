"""A table of a lake in a test's directory, without settings or clients."""

from pathlib import Path

from lake_assets.at_rest import TableStore, table_store
from lake_assets.schema.table import Table
from lake_assets.tables.um_minute import UM_MINUTE

ELSEWHERE = "ledger_url"
"""File in the root of a lake whose ledger is not beside its files; it holds the URL."""


BUCKET_URL = "store_url"
"""File in the root of a lake whose files are in a bucket; it holds the URL."""


def bucket_of(root: Path) -> str:
    """URL of the bucket where the files of a lake lie; empty where they lie in its root."""
    told = root / BUCKET_URL
    return told.read_text() if told.exists() else ""


def store_at(root: Path, table: Table = UM_MINUTE) -> TableStore:
    """The table of the lake at `root`, its ledger beside its files as the settings have it, or where a file says."""
    elsewhere = root / ELSEWHERE
    url = elsewhere.read_text() if elsewhere.exists() else f"sqlite:///{root / 'ledger.sqlite'}"
    return table_store(root, url, table, bucket_of(root))
