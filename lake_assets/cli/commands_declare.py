"""`lake declare-hole`: minutes that the exchange itself does not have.

Belongs here: the command. Does not belong here: what a known hole excuses (`validation`).
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from lake_assets.at_rest import open_at_rest
from lake_assets.cli.options import INSTANT, AsJson, refusing, whole_minute
from lake_assets.cli.printing import show_json, terminal
from lake_assets.cli.table_option import MINUTES, ChosenTable
from lake_resources.errors import SettingsError
from lake_resources.known_hole import KnownHole
from lake_resources.settings import LakeSettings
from lake_resources.storage.ledger.ledger import ANY_SYMBOL
from lake_resources.symbols import parse_symbol

app = typer.Typer()


@refusing
def _symbol_or_any(text: str) -> str:
    return ANY_SYMBOL if text.strip() == ANY_SYMBOL else parse_symbol(text)


@refusing
def _text(text: str) -> str:
    found = " ".join(text.split())
    if not found or not found.isprintable():
        raise SettingsError(f"{text!r} says nothing", remedy="Write a few words on one line")
    return found


@app.command("declare-hole")
def declare_hole(
    stream: Annotated[str, typer.Argument(metavar="STREAM", help=f"one of {', '.join(MINUTES.uses)}")],
    symbol: Annotated[str, typer.Argument(parser=_symbol_or_any, metavar="SYMBOL", help="a symbol, or '*' for all")],
    start: Annotated[
        datetime, typer.Argument(parser=whole_minute, metavar="START", help=f"first missing minute; {INSTANT}")
    ],
    end: Annotated[datetime, typer.Argument(parser=whole_minute, metavar="END", help="first minute after the hole")],
    cause: Annotated[str, typer.Option(parser=_text, metavar="TEXT", help="what is known about it")],
    reference: Annotated[str, typer.Option(parser=_text, metavar="TEXT", help="where that can be read")],
    table: ChosenTable = MINUTES,
    as_json: AsJson = False,
) -> None:
    """Excuse minutes that the exchange itself does not have.

    Checks name the hole from then on. Of klines, mark and index prices it excuses absent rows; of other streams it
    keeps `source_coverage` from failing.

    Example: lake declare-hole klines_1m BTCUSDT 2022-05-01T22:25 2022-05-01T22:55 --cause halt --reference URL
    """
    if stream not in table.uses:
        raise typer.BadParameter(
            f"the {table.layout.title} has no stream {stream!r}. One of {', '.join(table.uses)}",
            param_hint="'STREAM'",
        )
    if start >= end:
        raise SettingsError(f"the hole {start} to {end} is empty", remedy="The end is the first minute after it")
    hole = KnownHole(stream, symbol, start, end, cause, reference)
    open_at_rest(LakeSettings(), table).ledger.declare_hole(hole)
    if as_json:
        show_json([vars(hole)])
    else:
        span = f"{hole.start:%Y-%m-%d %H:%M} to {hole.end:%Y-%m-%d %H:%M}"
        terminal().print(f"{stream} {hole.symbol} {span} is a known hole now")
