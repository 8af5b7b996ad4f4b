"""`lake rebuild-live`: live rows once more from the raw records.

Belongs here: the command. Does not belong here: folding (`live.folding`).
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from lake_assets.at_rest import store_of
from lake_assets.cli.options import INSTANT, AsJson, Symbol, end_minute, first_minute
from lake_assets.cli.printing import show_json, terminal
from lake_assets.live.folding import epoch_minute, rebuild
from lake_assets.live.row_files import LiveRows
from lake_resources.errors import SettingsError
from lake_resources.settings import LakeSettings
from lake_resources.storage.root import require_lake

app = typer.Typer()


@app.command("rebuild-live")
def rebuild_live(
    symbol: Symbol,
    start: Annotated[
        datetime,
        typer.Argument(parser=first_minute, metavar="START", help=f"first minute; {INSTANT}; seconds round down"),
    ],
    end: Annotated[
        datetime, typer.Argument(parser=end_minute, metavar="END", help="first minute after it; seconds round up")
    ],
    as_json: AsJson = False,
) -> None:
    """Fold live rows anew from the raw records on disk.

    They are those of the minute table; seconds of spot are made of the records themselves, each time.

    Example: lake rebuild-live BTCUSDT 2026-01-31T12:00 2026-01-31T13:00
    """
    settings = LakeSettings()
    require_lake(settings.lake_root, settings.exchange, settings.ledger_file)
    if end <= start:
        raise SettingsError(f"the range {start} to {end} is empty", remedy="The end is the first minute after it")
    catalog = store_of(settings).catalog
    first, last = (epoch_minute(instant) for instant in (start, end))
    rows = rebuild(catalog.live_records_dir, LiveRows(catalog), symbol, first, last)
    if as_json:
        show_json([{"symbol": symbol, "start": start, "end": end, "rows": rows.height}])
    else:
        span = f"{start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M}"
        terminal().print(f"{symbol}: {rows.height} live rows from {span}")
