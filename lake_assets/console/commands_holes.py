"""`lake holes`: which minutes are missing, and which of them are explained.

Belongs here: the command and its table. Does not belong here: finding holes (`audit.holes`), declaring them (`cli`).
"""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.table import Table

from lake_assets.audit.holes import HoleList, find_holes
from lake_assets.console.commands_audit import audit_window
from lake_assets.console.options import AsJson, End, Start, Symbols, chosen_symbols, terminal
from lake_assets.ingest.lake import open_lake
from lake_assets.validation.completeness import completeness_pct
from lake_resources.settings import LakeSettings

app = typer.Typer()


@app.command()
def holes(
    symbols: Symbols = None,
    start: Start = None,
    end: End = None,
    years: Annotated[int | None, typer.Option(min=1, max=10, help="this many years of 365 days back")] = None,
    unexplained: Annotated[bool, typer.Option("--unexplained", help="only those that nothing explains")] = False,
    as_json: AsJson = False,
) -> None:
    """List every hole of the minute table, explained and unexplained. Exit code 1 when one is unexplained.

    Explained are the known holes of the exchange that come with the project and those of `lake declare-hole`.

    Examples: `lake holes BTCUSDT --start 2022-05-01 --end 2022-06-01` · `lake holes --unexplained --json`
    """
    settings = LakeSettings()
    lake = open_lake(settings)
    found = []
    for symbol in chosen_symbols(symbols, settings):
        first, last = audit_window(lake, symbol, start, end, years)
        found.append(find_holes(lake, symbol, first, last, lake.clock()))
    if as_json:
        typer.echo(json.dumps([each.as_json() for each in found], indent=2))
    else:
        for each in found:
            terminal().print(_table(each, only_unexplained=unexplained))
    if any(each.unexplained for each in found):
        raise typer.Exit(1)


def _table(found: HoleList, *, only_unexplained: bool) -> Table:
    percent = completeness_pct(found.present, found.expected)
    table = Table(
        title=f"{found.symbol}, {found.start:%Y-%m-%d %H:%M} to {found.end:%Y-%m-%d %H:%M} UTC: {found.present:,} of "
        f"{found.expected:,} minutes ({percent:.2f} %), {len(found.unexplained):,} unexplained holes",
        title_justify="left",
    )
    for heading in ("from", "to", "minutes", "stream", "explained", "cause"):
        table.add_column(heading, justify="right" if heading == "minutes" else "left")
    for hole in found.unexplained if only_unexplained else found.holes:
        cause = f"{hole.cause} ({hole.reference})" if hole.reference else hole.cause or "unknown"
        mark = "[green]yes[/]" if hole.explained else "[red]no[/]"
        table.add_row(
            f"{hole.start:%Y-%m-%d %H:%M}", f"{hole.end:%Y-%m-%d %H:%M}", f"{hole.minutes:,}", hole.stream, mark, cause
        )
    return table
