"""`lake show`, `lake show-watermark`, `lake missing`: what the ledger holds.

Belongs here: the commands. Does not belong here: their tables (`lake_tables`).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.table import Table

from lake_assets.cli.lake_tables import archives_table, hours_table, missing_table
from lake_assets.cli.options import Symbols, chosen_symbols, terminal
from lake_assets.inputs.stream_uses import FEEDS
from lake_assets.lake import open_existing
from lake_assets.windows import MINUTE, floor_minute
from lake_resources.settings import LakeSettings

app = typer.Typer()


@app.command()
def show(
    symbol: Annotated[str, typer.Argument(help="e.g. BTCUSDT")],
    day: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="UTC day, default today")] = None,
) -> None:
    """List the hours and archives of a day, with sources and check results.

    Example: lake show BTCUSDT --day 2026-01-31
    """
    lake, console = open_existing(LakeSettings()), terminal()
    start = (day or lake.clock()).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=UTC)
    end = start + timedelta(days=1)
    console.print(archives_table(lake.ledger, symbol.upper(), FEEDS, start, end))
    console.print(hours_table(lake.catalog, lake.ledger, symbol.upper(), start, end))


@app.command()
def missing(symbol: Annotated[str | None, typer.Argument(help="only this symbol")] = None) -> None:
    """List sources that were asked for and had nothing, still open.

    Example: lake missing BTCUSDT
    """
    lake, console = open_existing(LakeSettings()), terminal()
    console.print(missing_table(lake.ledger.missing_sources(symbol.upper() if symbol else None)))


@app.command("show-watermark")
def show_watermark(symbols: Symbols = None) -> None:
    """Print up to which minute each symbol is accounted for.

    Example: lake show-watermark BTCUSDT
    """
    settings = LakeSettings()
    lake = open_existing(settings)
    now = lake.clock()
    table = Table(title="watermarks", title_justify="left")
    for heading in ("symbol", "first hour", "watermark (UTC)", "behind"):
        table.add_column(heading)
    for symbol in chosen_symbols(symbols, settings):
        first, mark = lake.ledger.first_hour(symbol), lake.ledger.watermark(symbol)
        if first is None or mark is None:
            table.add_row(symbol, "-", "No watermark found", "-")
        else:
            behind = floor_minute(now) - mark - MINUTE
            table.add_row(symbol, f"{first:%Y-%m-%d %H:%M}", f"{mark:%Y-%m-%d %H:%M}", str(behind))
    terminal().print(table)
