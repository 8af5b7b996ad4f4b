"""`lake init-state`: begin a lake.

Belongs here: the command. Does not belong here: what a lake is made of (`lake`, `storage`).
"""

from __future__ import annotations

import typer

from lake_assets.cli.options import AsJson
from lake_assets.cli.printing import show_json, terminal
from lake_assets.lake import open_lake
from lake_resources.secrets import masked
from lake_resources.settings import LakeSettings

app = typer.Typer()


@app.command("init-state")
def init_state(as_json: AsJson = False) -> None:
    """Create the lake's directory and ledger; what is there is left alone.

    Example: LAKE_ROOT=/data/lake lake init-state
    """
    settings = LakeSettings()
    lake = open_lake(settings)
    hours = {symbol: lake.ledger.first_partition(symbol) for symbol in settings.symbols}
    ledger = masked(settings.resolved_ledger_url)
    if as_json:
        lake_there = {"root": lake.catalog.root, "ledger": ledger, "exchange": settings.exchange}
        show_json([lake_there | {"symbol": symbol, "first_hour": first} for symbol, first in hours.items()])
        return
    terminal().print(f"lake {lake.catalog.root}, ledger {ledger}, exchange {settings.exchange}")
    for symbol, first in hours.items():
        terminal().print(f"{symbol}: " + ("no hour yet" if first is None else f"hours since {first:%Y-%m-%d %H:%M}"))
