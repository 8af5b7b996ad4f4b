"""`lake rebuild-live`: live rows once more from the raw records.

Belongs here: the command. Does not belong here: folding (`live.folding`).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from lake_assets.cli.options import terminal
from lake_assets.lake import require_lake
from lake_assets.live.folding import epoch_minute, rebuild
from lake_assets.live.row_files import LiveRows
from lake_resources.errors import SettingsError
from lake_resources.settings import LakeSettings
from lake_resources.storage.catalog import Catalog

app = typer.Typer()
_MINUTE_FORMATS = ["%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"]


@app.command("rebuild-live")
def rebuild_live(
    symbol: Annotated[str, typer.Argument(help="e.g. BTCUSDT")],
    start: Annotated[datetime, typer.Argument(formats=_MINUTE_FORMATS, help="first minute, UTC")],
    end: Annotated[datetime, typer.Argument(formats=_MINUTE_FORMATS, help="first minute after, UTC")],
) -> None:
    """Fold live rows anew from the raw records on disk.

    Example: lake rebuild-live BTCUSDT 2026-01-31T12:00 2026-01-31T13:00
    """
    settings = LakeSettings()
    require_lake(settings)
    if end <= start:
        raise SettingsError(f"the range {start} to {end} is empty", remedy="The end is the first minute after it")
    catalog = Catalog(settings.lake_root)
    first, last = (epoch_minute(instant.replace(tzinfo=UTC)) for instant in (start, end))
    rows = rebuild(catalog.live_records_dir, LiveRows(catalog), symbol.upper(), first, last)
    terminal().print(f"{symbol.upper()}: {rows.height} live rows from {start:%Y-%m-%d %H:%M} to {end:%H:%M}")
