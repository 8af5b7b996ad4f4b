"""`lake slices`: raw answers of the exchange in deterministic windows.

Belongs here: the command and what it prints. Does not belong here: rounds, judgement, files (`lake_assets.slices`).
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from lake_assets.cli.exits import Exit
from lake_assets.cli.options import AsJson, Symbols, chosen_symbols
from lake_assets.cli.printing import messages, show_json, terminal
from lake_assets.slices import keeping
from lake_assets.slices.endpoints import ENDPOINTS
from lake_assets.slices.server import open_slices, run_once, start_data_server, summary
from lake_resources.settings import LakeSettings
from lake_resources.storage.ledger.slice_rows import SliceSet

app = typer.Typer()


class Action(StrEnum):
    """What is done with the slices."""

    RUN = "run"
    SHOW = "show"
    VERIFY = "verify"
    REBUILD = "rebuild"
    PACK = "pack"
    IMPORT = "import"


@app.command()
def slices(
    action: Annotated[Action, typer.Argument(help="run, show, verify, rebuild, pack or import")],
    symbols: Symbols = None,
    endpoint: Annotated[str, typer.Option(help=" or ".join(ENDPOINTS))] = "klines",
    interval: Annotated[str, typer.Option(help="1m or 1s of klines, 1h of fundingRate, id of aggTrades")] = "1m",
    data_root: Annotated[
        str | None,
        typer.Option(help="directory or s3://bucket/prefix; default QLIR_DATA_ROOT, else below the lake's root"),
    ] = None,
    forever: Annotated[bool, typer.Option("--forever/--once", help="run: rounds until Ctrl+C, or one")] = False,
    most: Annotated[int | None, typer.Option(min=1, help="run --once: requests at most")] = None,
    first: Annotated[
        int | None,
        typer.Option(min=0, help="run: start of the slices, epoch ms or id; else the exchange's first"),
    ] = None,
    mend: Annotated[bool, typer.Option("--mend", help="verify: ask for damaged slices again at the next run")] = False,
    tree: Annotated[Path | None, typer.Option(help="import: directory of another program's slices")] = None,
    as_json: AsJson = False,
) -> None:
    """Keep raw answers of the exchange complete; check, pack or import them.

    Exit code 1 where `run` leaves slices that are not complete, or `verify` finds something wrong.

    Example: lake slices run BTCUSDT --interval 1m --once
    """
    settings, console = LakeSettings(), messages()
    sets = [SliceSet(endpoint, symbol, interval) for symbol in chosen_symbols(symbols, settings)]
    if action is Action.RUN and forever:
        names = [of.symbol for of in sets]
        start_data_server(
            names, [interval], endpoint=endpoint, data_root=data_root, settings=settings, say=console.print
        )
        return
    bad = False
    told: list[object] = []
    with open_slices(settings, data_root=data_root) as opened:
        for of in sets:
            if action is Action.RUN:
                done = run_once(opened, of, most=most, first=first)
                bad |= not done.complete
                told.append({"set": of._asdict(), "standing": dict(done.standing), "asked": done.asked})
                line = summary(done)
            else:
                found = keeping.do(opened, of, action.value, mend=mend, tree=tree)
                bad |= found.wrong
                told.append(found.as_json())
                line = found.text()
            if not as_json:
                terminal().print(line, soft_wrap=True)
    if as_json:
        show_json(told)
    if bad:
        raise typer.Exit(Exit.REFUSED)
