"""`lake demo`: the lake at work on the simulator, in a few minutes.

Belongs here: the command. Does not belong here: what the demo does (`demo`), the processes (`local_stack`).
"""

from __future__ import annotations

import typer

from lake_assets.cli.demo import run_demo
from lake_assets.cli.printing import coloured, messages, terminal
from lake_assets.lake import open_lake
from lake_assets.local_stack.stack import local_stack
from lake_resources.settings import LakeSettings

app = typer.Typer()


@app.command()
def demo() -> None:
    """Backfill two days on the simulator and print what was written.

    The days are the newest one whose archives are published, and today so far; of spot one symbol. Exit code 4 when
    something is missing.

    Example: `lake demo`
    """
    # What it prints is what it launched: nothing else builds meanwhile. The collector hears what only a socket tells.
    settings = LakeSettings(exchange="simulator", automation=False)
    settings = settings.model_copy(update={"spot_symbols": settings.spot_symbols[:1]})
    console = terminal()
    with local_stack(settings, say=messages().print) as stack:
        run_demo(settings, open_lake(settings), stack, console)
    console.print(coloured("demo passed", "green", "; `make up` shows it in Dagster's UI"))
