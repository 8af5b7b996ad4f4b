"""`lake up`: Dagster, collector and simulator on this machine.

Belongs here: the command. Does not belong here: the processes (`local_stack`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from lake_assets.cli.options import settings_for
from lake_assets.cli.printing import messages
from lake_assets.local_stack.graphql import DagsterApi
from lake_assets.local_stack.places import dagster_home
from lake_assets.local_stack.stack import keep_dashboard, local_stack, watch
from lake_assets.local_stack.systemd import unit_files
from lake_assets.watchdog.last_words import heartbeat_path, last_heartbeat
from lake_resources.clock import system_clock
from lake_resources.settings import LakeSettings
from lake_resources.testing_mode import TEST_LABEL

app = typer.Typer()


@app.command()
def up(
    systemd: Annotated[
        bool, typer.Option("--systemd", help="start nothing: print unit files of systemd for these settings")
    ] = False,
    testing: Annotated[
        bool, typer.Option("--testing", help="apart from the lake and in minutes; a summary at the end")
    ] = False,
    without_builder: Annotated[
        bool, typer.Option("--without-builder", help="the resident builder is kept by somebody else, such as systemd")
    ] = False,
    workspace: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="code locations, as `lake workspace` writes them", show_default=False
        ),
    ] = None,
) -> None:
    """Start webserver, daemon, live collector and simulator; stay until Ctrl+C.

    The simulator is started if it is the exchange of the settings. A collector (LAKE_COLLECTOR=false: none is started),
    a resident builder (LAKE_HOT_BUILDER=false), a dashboard (LAKE_DASHBOARD=false) or a watchdog that ends is started
    again; another process that ends takes all down, with the end of its log. Ctrl+C ends all within 10 seconds and
    leaves a last heartbeat. One collector and one builder serve all shards of a --workspace.

    Examples: `LAKE_EXCHANGE=binance lake up` · `lake up --testing` · `lake up --workspace workspace-shards.yaml`
    """
    settings, console = settings_for(testing=testing), messages()
    if systemd and workspace is not None:
        raise typer.BadParameter("the printed units start `lake up` without it: add it to their ExecStart")
    if systemd:
        sys.stdout.write(unit_files(settings, Path.cwd()))
        return
    ports = {"LAKE_DASHBOARD_PORT": settings.dashboard_port} if settings.dashboard else {}
    started, warnings, launched = system_clock(), list[str](), list[str]()
    with local_stack(
        settings, say=console.print, further_ports=ports, builder=not without_builder, workspace=workspace
    ) as stack:
        console.print(f"exchange {settings.exchange}, data in {settings.lake_root}")
        console.print(f"Dagster is up: {stack.address}  (Ctrl+C stops it; logs in {stack.logs})")
        if settings.dashboard:
            console.print(f"the dashboard: {keep_dashboard(stack, settings)}")
        meanwhile: Callable[[datetime], object] = _nothing
        if settings.testing.enabled:
            from lake_assets.local_stack.compressed_run import BuildCycles, problems_told  # with Dagster

            console.print(TEST_LABEL)
            api = DagsterApi(stack.address, token=settings.web_token)
            cycles = BuildCycles(settings, api, started=started, say=console.print)
            meanwhile, launched, warnings = cycles.tick, cycles.launched, cycles.troubles
        try:
            watch(stack, say=console.print, log_keep_days=settings.log_keep_days, meanwhile=meanwhile)
        except KeyboardInterrupt:
            console.print("stopping ...")
        finally:
            ended = system_clock()
            if settings.testing.enabled:
                warnings += problems_told(heartbeat_path(settings))
    last_heartbeat(settings, started=started, now=system_clock())
    if settings.testing.enabled:
        _print_summary(settings, started, ended, launched, warnings)


def _nothing(_now: datetime) -> None:
    """What is done beside the watching outside of testing mode."""


def _print_summary(
    settings: LakeSettings, started: datetime, ended: datetime, launched: Sequence[str], warnings: Sequence[str]
) -> None:
    from lake_assets.local_stack.compressed_run import summarize
    from lake_resources.dagster_instance import open_instance

    os.environ["DAGSTER_HOME"] = str(dagster_home(settings))  # noqa: TID251 - its dagster.yaml refers to it
    with open_instance() as instance:
        found = summarize(settings.lake_root, instance, launched, started=started, ended=ended, warnings=warnings)
    sys.stdout.write(found.text())
