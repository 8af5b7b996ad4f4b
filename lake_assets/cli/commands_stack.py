"""`lake up` and `lake demo`: Dagster, collector and simulator on this machine.

Belongs here: the commands. Does not belong here: the processes (`local_stack`), what the demo does (`demo`).
"""

from __future__ import annotations

import typer

from lake_assets.cli.demo import run_demo
from lake_assets.cli.printing import coloured, messages, terminal
from lake_assets.lake import open_lake
from lake_assets.local_stack.stack import local_stack, watch
from lake_resources.settings import LakeSettings

app = typer.Typer()


@app.command()
def up() -> None:
    """Start webserver, daemon, live collector and simulator; stay until Ctrl+C.

    The simulator is started if it is the exchange of the settings. A collector (LAKE_COLLECTOR=false: none is started)
    or watchdog that ends is started again; another process that ends takes all down, with the end of its log.

    Example: LAKE_EXCHANGE=binance lake up
    """
    settings, console = LakeSettings(), messages()
    with local_stack(settings, say=console.print) as stack:
        console.print(f"exchange {settings.exchange}, data in {settings.lake_root}")
        console.print(f"Dagster is up: {stack.address}  (Ctrl+C stops it; logs in {stack.logs})")
        try:
            watch(stack, say=console.print)
        except KeyboardInterrupt:
            console.print("stopping ...")


@app.command()
def demo() -> None:
    """Backfill two days on the simulator and print what was written.

    The days are the newest one whose archives are published, and today so far. Exit code 4 when something is missing.

    Example: `lake demo`
    """
    # What it prints is what it launched: nothing else runs meanwhile.
    settings = LakeSettings(exchange="simulator", automation=False, collector=False)
    console = terminal()
    with local_stack(settings, say=messages().print) as stack:
        run_demo(settings, open_lake(settings), stack, console)
    console.print(coloured("demo passed", "green", "; `make up` shows it in Dagster's UI"))
