"""The `lake` command: what people start from a terminal.

Belongs here: small commands, and how an error of the lake ends the process (`cli.exits`).
Does not belong here: any work (`console`, `build`).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from lake_assets.cli import (
    commands_audit,
    commands_backfill,
    commands_collect,
    commands_compact,
    commands_feed,
    commands_health,
    commands_holes,
    commands_live,
    commands_ops,
    commands_rules,
    commands_run,
)
from lake_assets.cli import commands_export as commands_slice
from lake_assets.cli.demo import run_demo
from lake_assets.cli.exits import exit_of
from lake_assets.cli.lake_tables import archives_table, hours_table, missing_table
from lake_assets.cli.options import messages, show_error, terminal
from lake_assets.inputs.stream_uses import FEEDS
from lake_assets.lake import open_existing, open_lake
from lake_assets.local_stack.stack import local_stack, watch
from lake_resources.errors import LakeError, SettingsError
from lake_resources.settings import LakeSettings
from lake_resources.storage.ledger.ledger import KnownHole

_MINUTE_FORMATS = ["%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"]

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(commands_audit.app)
app.add_typer(commands_backfill.app)
app.add_typer(commands_rules.app)
app.add_typer(commands_run.app)
app.add_typer(commands_ops.app)
app.add_typer(commands_holes.app)
app.add_typer(commands_collect.app)
app.add_typer(commands_live.app)
app.add_typer(commands_compact.app)
app.add_typer(commands_feed.app)
app.add_typer(commands_slice.app)
app.add_typer(commands_health.app)


@app.command()
def up() -> None:
    """Start webserver, daemon, live collector and (if it is the exchange) the simulator; stay until Ctrl+C.

    A collector (LAKE_COLLECTOR=false: none is started) or watchdog that ends is started again; another process that
    ends takes all down, with the end of its log.

    Example: LAKE_EXCHANGE=binance lake up
    """
    settings, console = LakeSettings(), messages()
    with local_stack(settings, say=console.print) as stack:
        console.print(f"exchange {settings.exchange}, data in {settings.lake_root}")
        console.print(f"Dagster is up: [bold]{stack.address}[/]  (Ctrl+C stops it; logs in {stack.logs})")
        try:
            watch(stack, say=console.print)
        except KeyboardInterrupt:
            console.print("stopping ...")


@app.command()
def demo() -> None:
    """Backfill a published day and today so far on the simulator, and print what was written."""
    # What it prints is what it launched: nothing else runs meanwhile.
    settings = LakeSettings(exchange="simulator", automation=False, collector=False)
    console = terminal()
    with local_stack(settings, say=messages().print) as stack:
        run_demo(settings, open_lake(settings), stack, console)
    console.print("[green]demo passed[/]; `make up` shows it in Dagster's UI")


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
    """List sources that were asked for and had nothing, still open."""
    lake, console = open_existing(LakeSettings()), terminal()
    console.print(missing_table(lake.ledger.missing_sources(symbol.upper() if symbol else None)))


@app.command("declare-hole")
def declare_hole(
    stream: Annotated[str, typer.Argument(help=f"one of {', '.join(FEEDS)}")],
    symbol: Annotated[str, typer.Argument(help="a symbol, or '*' for all")],
    start: Annotated[datetime, typer.Argument(formats=_MINUTE_FORMATS, help="first missing minute, UTC")],
    end: Annotated[datetime, typer.Argument(formats=_MINUTE_FORMATS, help="first minute after the hole, UTC")],
    cause: Annotated[str, typer.Option(help="what is known about it")],
    reference: Annotated[str, typer.Option(help="where that can be read")],
) -> None:
    """Excuse minutes that the exchange itself does not have; checks name the hole from then on.

    Of klines, mark and index prices it excuses absent rows; of other streams it keeps `source_coverage` from failing.

    Example: lake declare-hole klines_1m BTCUSDT 2022-05-01T22:25 2022-05-01T22:55 --cause halt --reference URL
    """
    if stream not in FEEDS:
        raise SettingsError(f"there is no stream {stream!r}", remedy=f"One of {', '.join(FEEDS)}")
    hole = KnownHole(stream, symbol.upper(), start.replace(tzinfo=UTC), end.replace(tzinfo=UTC), cause, reference)
    if hole.start >= hole.end:
        raise SettingsError(f"the hole {start} to {end} is empty", remedy="The end is the first minute after it")
    open_existing(LakeSettings()).ledger.declare_hole(hole)
    terminal().print(f"{stream} {hole.symbol} {hole.start:%Y-%m-%d %H:%M} to {hole.end:%H:%M} is a known hole now")


def main() -> None:
    """Run the command; an error of the lake is one message on standard error and an exit code, never a traceback."""
    try:
        app()
    except LakeError as error:
        show_error(error)
        raise SystemExit(exit_of(error)) from error
