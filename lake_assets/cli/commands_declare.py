"""`lake declare-hole`: minutes that the exchange itself does not have.

Belongs here: the command. Does not belong here: what a known hole excuses (`validation`).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from lake_assets.cli.options import terminal
from lake_assets.inputs.stream_uses import FEEDS
from lake_assets.lake import open_existing
from lake_resources.errors import SettingsError
from lake_resources.settings import LakeSettings
from lake_resources.storage.ledger.ledger import KnownHole

app = typer.Typer()
_MINUTE_FORMATS = ["%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"]


@app.command("declare-hole")
def declare_hole(
    stream: Annotated[str, typer.Argument(help=f"one of {', '.join(FEEDS)}")],
    symbol: Annotated[str, typer.Argument(help="a symbol, or '*' for all")],
    start: Annotated[datetime, typer.Argument(formats=_MINUTE_FORMATS, help="first missing minute, UTC")],
    end: Annotated[datetime, typer.Argument(formats=_MINUTE_FORMATS, help="first minute after the hole, UTC")],
    cause: Annotated[str, typer.Option(help="what is known about it")],
    reference: Annotated[str, typer.Option(help="where that can be read")],
) -> None:
    """Excuse minutes that the exchange itself does not have.

    Checks name the hole from then on. Of klines, mark and index prices it excuses absent rows; of other streams it
    keeps `source_coverage` from failing.

    Example: lake declare-hole klines_1m BTCUSDT 2022-05-01T22:25 2022-05-01T22:55 --cause halt --reference URL
    """
    if stream not in FEEDS:
        raise SettingsError(f"there is no stream {stream!r}", remedy=f"One of {', '.join(FEEDS)}")
    hole = KnownHole(stream, symbol.upper(), start.replace(tzinfo=UTC), end.replace(tzinfo=UTC), cause, reference)
    if hole.start >= hole.end:
        raise SettingsError(f"the hole {start} to {end} is empty", remedy="The end is the first minute after it")
    open_existing(LakeSettings()).ledger.declare_hole(hole)
    terminal().print(f"{stream} {hole.symbol} {hole.start:%Y-%m-%d %H:%M} to {hole.end:%H:%M} is a known hole now")
