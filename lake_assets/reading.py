"""Reading the minute table from Python: what notebooks and models import.

Belongs here: opening the lake's files for reading by the settings. Does not belong here: writing, or any client.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import polars as pl

from lake_assets.schema.tables import MINUTE
from lake_resources.errors import SettingsError
from lake_resources.settings import LakeSettings
from lake_resources.storage import reader
from lake_resources.storage.catalog import Catalog
from lake_resources.storage.ledger import Ledger


def scan_minutes(
    symbol: str,
    start: datetime,
    end: datetime,
    columns: Sequence[str] | None = None,
    *,
    settings: LakeSettings | None = None,
) -> pl.LazyFrame:
    """Committed minutes of `[start, end)`, sorted by `timestamp`.

    Hours that are not committed are simply not there: compare the height with the minutes you expect, or look at
    `lake show`.

    Args:
        symbol: e.g. `BTCUSDT`.
        start: first instant, timezone-aware.
        end: first instant after it, timezone-aware.
        columns: which of the 66 columns, default all.
        settings: default the environment's.

    Returns:
        A lazy frame over exact paths from the ledger; without committed hours it has no rows and the table's columns.

    Raises:
        SettingsError: the settings name a directory that does not exist.
    """
    settings = settings or LakeSettings()
    if not settings.lake_root.is_dir():
        raise SettingsError(
            f"there is no lake at {settings.lake_root}",
            remedy="Run `make demo` or `make up` first, or set LAKE_ROOT or LAKE_EXCHANGE to the lake you mean",
        )
    catalog, ledger = Catalog(settings.lake_root), Ledger(settings.resolved_ledger_url)
    return reader.scan_minutes(catalog, ledger, symbol, start, end, columns, schema=MINUTE.polars_schema)
