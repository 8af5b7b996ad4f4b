"""`lake show`, `lake show-watermark`, `lake missing`: what the ledger holds.

Belongs here: the commands. Does not belong here: their tables (`lake_tables`).
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated

import typer
from rich.table import Table

from lake_assets.at_rest import open_at_rest
from lake_assets.cli.lake_tables import archives_table, hours_table, missing_table
from lake_assets.cli.options import AsJson, Symbol, Symbols, symbol_name, utc_day
from lake_assets.cli.printing import show_json, terminal
from lake_assets.cli.table_option import MINUTES, ChosenTable, require_known, symbols_with
from lake_assets.validation.hour_verdict import outcomes_now
from lake_assets.windows import floor_minute
from lake_resources.clock import MINUTE
from lake_resources.settings import LakeSettings

app = typer.Typer()


@app.command()
def show(
    symbol: Symbol,
    day: Annotated[
        date | None, typer.Option(parser=utc_day, metavar="DAY", help="UTC day, e.g. 2024-01-31; default today")
    ] = None,
    table: ChosenTable = MINUTES,
    as_json: AsJson = False,
) -> None:
    """List the hours and archives of a day, with sources and check results.

    Examples: `lake show BTCUSDT --day 2026-01-31` · `lake show SOLUSDT --table bars_1s`
    """
    settings = LakeSettings()
    lake = open_at_rest(settings, table)
    require_known(table, (symbol,), settings, lake.ledger.is_known)
    start = datetime.combine(day or lake.clock().date(), time(), UTC)
    end = start + timedelta(days=1)
    if not as_json:
        console = terminal()
        console.print(archives_table(lake.store, symbol, start, end))
        console.print(hours_table(lake.store, symbol, start, end))
        return
    archives = [row for stream in table.uses for row in lake.ledger.archives_between(symbol, stream, start, end)]
    hours = [
        vars(row) | {"checks": list(outcomes_now(row.checks, row.verdict, row.verdict_detail, table.checks))}
        for row in lake.ledger.partitions(symbol, start, end)
    ]
    quarantined = lake.ledger.quarantined(symbol, start, end)
    show_json(
        [{"symbol": symbol, "day": start.date(), "archives": archives, "hours": hours, "quarantined": quarantined}]
    )


@app.command()
def missing(
    symbol: Annotated[str | None, typer.Argument(parser=symbol_name, metavar="SYMBOL", help="only this symbol")] = None,
    table: ChosenTable = MINUTES,
    as_json: AsJson = False,
) -> None:
    """List sources that were asked for and had nothing, still open.

    Examples: `lake missing BTCUSDT` · `lake missing --table bars_1s`
    """
    settings = LakeSettings()
    lake = open_at_rest(settings, table)
    require_known(table, (symbol,) if symbol else (), settings, lake.ledger.is_known)
    rows = [row for row in lake.ledger.missing_sources(symbol) if row.stream in table.uses]
    if as_json:
        show_json(rows)
    else:
        terminal().print(missing_table(rows))


@app.command("show-watermark")
def show_watermark(symbols: Symbols = None, table: ChosenTable = MINUTES, as_json: AsJson = False) -> None:
    """Print up to which minute each symbol is accounted for.

    Of another table it is the last row: up to it every partition is committed whole, or in quarantine.

    Examples: `lake show-watermark BTCUSDT` · `lake show-watermark --table klines_1m`
    """
    settings = LakeSettings()
    lake = open_at_rest(settings, table)
    require_known(table, symbols, settings, lake.ledger.is_known)
    now, grain = floor_minute(lake.clock()), table.layout.grain
    found = [
        (symbol, lake.ledger.first_partition(symbol), lake.ledger.watermark(symbol))
        for symbol in symbols_with(table, symbols, settings)
    ]
    if as_json:
        show_json(
            [
                {
                    "symbol": symbol,
                    "first_hour": first,
                    "watermark": mark,
                    "behind_minutes": None if mark is None else (now - mark - grain) // MINUTE,
                }
                for symbol, first, mark in found
            ]
        )
        return
    shown = Table(title="watermarks", title_justify="left")
    for heading in ("symbol", "first hour", "watermark (UTC)", "behind"):
        shown.add_column(heading)
    for symbol, first, mark in found:
        if first is None or mark is None:
            shown.add_row(symbol, "-", "No watermark found", "-")
        else:
            shown.add_row(symbol, f"{first:%Y-%m-%d %H:%M}", table.row_text(mark), str(now - mark - grain))
    terminal().print(shown)
