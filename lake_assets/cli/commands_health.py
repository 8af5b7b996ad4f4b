"""`lake health`: is the platform well?

Belongs here: what is printed, the exit code. Does not belong here: the verdict (`automation.health`).
"""

from __future__ import annotations

from typing import Annotated

import typer

from lake_assets.automation.health_page import heartbeat, told_parts
from lake_assets.cli.printing import coloured, show_json, terminal
from lake_assets.local_stack.places import place_of_dagster_home
from lake_assets.watchdog.look import look
from lake_resources.clock import system_clock
from lake_resources.secrets import masked
from lake_resources.settings import LakeSettings
from lake_resources.storage.root import require_lake
from lake_resources.testing_mode import TEST_LABEL

app = typer.Typer()


@app.command()
def health(
    as_json: Annotated[bool, typer.Option("--json", help="print the heartbeat as JSON instead of lines")] = False,
) -> None:
    """Look once whether daemon, sensors, data and collector are well. Exit code 1 when not.

    Example: lake health || mail -s "lake" me
    """
    settings = LakeSettings()
    require_lake(settings.lake_root, settings.exchange, settings.ledger_file)
    facts, verdict = look(settings, place_of_dagster_home(settings), system_clock())
    if as_json:
        show_json(heartbeat(facts, verdict))
    else:
        console = terminal()
        color = "green" if verdict.well else "red"
        if facts.testing:
            console.print(TEST_LABEL)
        console.print(coloured(verdict.status, color, f" at {verdict.at:%Y-%m-%d %H:%M:%S} UTC"))
        for problem in verdict.problems:
            console.print(f"- {masked(problem)}")
        for line in told_parts(heartbeat(facts, verdict)):
            console.print(line)
        for symbol, until in facts.minutes.items():
            console.print(f"{symbol}: newest minute ended at {until:%Y-%m-%d %H:%M}" if until else f"{symbol}: empty")
        for name, table in facts.tables.items():
            for symbol, until in table.newest.items():
                newest = f"newest row ended at {until:%Y-%m-%d %H:%M:%S}" if until else "empty"
                console.print(f"{symbol} in {name}: {newest}")
    raise typer.Exit(0 if verdict.well else 1)
