"""`lake keep-hot`: the resident builder of the hot band from a terminal.

Belongs here: its options, what one turn prints. Does not belong here: building (`resident`).
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from lake_assets.cli.exits import Exit
from lake_assets.cli.options import AsJson
from lake_assets.cli.printing import messages, show_json, terminal
from lake_resources.settings import LakeSettings

app = typer.Typer()


@app.command("keep-hot")
def keep_hot(
    once: Annotated[bool, typer.Option("--once", help="take one turn and end; exit code 1 if a symbol failed")] = False,
    as_json: AsJson = False,
) -> None:
    """Keep the hot band seconds behind the exchange until Ctrl+C. There is one per lake, and `lake up` starts it.

    A second after each minute the open hour of all symbols is built from what the collector heard and a few answers of
    REST, and committed as ever. Hours are sealed, and built once more where something came late.

    Examples: `lake keep-hot` · `lake keep-hot --once`
    """
    settings = LakeSettings()
    if not once:
        # The same process goes on without what this command line has imported.
        os.execv(sys.executable, [sys.executable, "-m", "lake_assets.resident.keep_hot"])  # noqa: S606
    from lake_assets.lake import open_lake
    from lake_assets.resident.keep_hot import keep_hot_once

    lake = open_lake(settings)
    turn = keep_hot_once(lake, settings, say=messages().print)
    lake.close()
    rows = [
        {"asset": name, "hour": each.hour, "status": each.status, "rows": each.row_count}
        for name, hours in turn.hours.items()
        for each in hours
    ]
    if as_json:
        show_json({"hours": rows, "failed": turn.failed, "behind": turn.behind})
    for row in [] if as_json else rows:
        terminal().print(f"{row['asset']} {row['hour']:%Y-%m-%d %H:%M}: {row['rows']} rows, {row['status']}")
    if turn.failed or any(each.failed for hours in turn.hours.values() for each in hours):
        raise typer.Exit(Exit.REFUSED)
