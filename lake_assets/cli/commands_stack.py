"""`lake up`: Dagster, collector and simulator on this machine.

Belongs here: the command. Does not belong here: the processes (`local_stack`).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from lake_assets.cli.printing import messages
from lake_assets.local_stack.stack import keep_dashboard, local_stack, watch
from lake_assets.local_stack.systemd import unit_files
from lake_resources.settings import LakeSettings

app = typer.Typer()


@app.command()
def up(
    systemd: Annotated[
        bool, typer.Option("--systemd", help="start nothing: print unit files of systemd for these settings")
    ] = False,
) -> None:
    """Start webserver, daemon, live collector and simulator; stay until Ctrl+C.

    The simulator is started if it is the exchange of the settings. A collector (LAKE_COLLECTOR=false: none is started),
    a dashboard (LAKE_DASHBOARD=false) or a watchdog that ends is started again; another process that ends takes all
    down, with the end of its log.

    Examples: `LAKE_EXCHANGE=binance lake up` · `lake up --systemd`
    """
    settings, console = LakeSettings(), messages()
    if systemd:
        sys.stdout.write(unit_files(settings, Path.cwd()))
        return
    ports = {"LAKE_DASHBOARD_PORT": settings.dashboard_port} if settings.dashboard else {}
    with local_stack(settings, say=console.print, further_ports=ports) as stack:
        console.print(f"exchange {settings.exchange}, data in {settings.lake_root}")
        console.print(f"Dagster is up: {stack.address}  (Ctrl+C stops it; logs in {stack.logs})")
        if settings.dashboard:
            console.print(f"the dashboard: {keep_dashboard(stack, settings)}")
        try:
            watch(stack, say=console.print, log_keep_days=settings.log_keep_days)
        except KeyboardInterrupt:
            console.print("stopping ...")
