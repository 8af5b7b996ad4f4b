"""`lake collect` and `lake rebuild-live`: the live collector from a terminal.

Belongs here: options and what is printed. Does not belong here: collecting (`collector_process`, `live.recorder`).
"""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console

from lake_assets.lake import require_lake
from lake_assets.live.folding import epoch_minute, rebuild
from lake_assets.live.row_files import LiveRows
from lake_resources.errors import SettingsError
from lake_resources.settings import LakeSettings
from lake_resources.storage.catalog import Catalog

app = typer.Typer()
_console = Console(highlight=False)
_MINUTE_FORMATS = ["%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"]


@app.command()
def collect(
    for_s: Annotated[float | None, typer.Option("--for", help="stop after so many seconds")] = None,
) -> None:
    """Collect the live streams of all symbols until Ctrl+C; one collector per lake.

    Example: LAKE_EXCHANGE=binance lake collect
    """
    arguments = [] if for_s is None else ["--for", str(for_s)]
    # The same process goes on without what this command line has imported.
    os.execv(sys.executable, [sys.executable, "-m", "lake_assets.live.process", *arguments])  # noqa: S606


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
    _console.print(f"{symbol.upper()}: {rows.height} live rows from {start:%Y-%m-%d %H:%M} to {end:%H:%M}")
