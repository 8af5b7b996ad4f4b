"""`lake report-to-dagster`: a lost or wiped history in Dagster, told from the ledger.

Belongs here: the command. Does not belong here: what is told (`jobs.told_history`).
"""

from __future__ import annotations

import os

import typer

from lake_assets.at_rest import open_at_rest
from lake_assets.cli.options import AsJson
from lake_assets.cli.printing import messages, show_json, terminal
from lake_assets.local_stack.places import dagster_home
from lake_resources.settings import LakeSettings

app = typer.Typer()


@app.command("report-to-dagster")
def report_to_dagster(as_json: AsJson = False) -> None:
    """Tell a lost or wiped Dagster history what the ledger holds; nothing is built.

    Every committed partition and archive that Dagster does not show gets its materialization with today's metadata and
    a row per check. What Dagster shows is left alone, so that it can be run again. It may run beside `lake up`.

    Example: lake report-to-dagster
    """
    settings = LakeSettings()
    lake = open_at_rest(settings)
    symbols = lake.ledger.symbols()  # what is wrong with the ledger is told before Dagster's home is made
    os.environ["DAGSTER_HOME"] = str(dagster_home(settings))  # noqa: TID251 - Dagster finds its instance by it
    # Half a second of imports, and a second of Dagster's.
    from lake_assets.jobs.told_history import tell_history
    from lake_resources.dagster_instance import open_instance

    log = messages()
    with open_instance() as instance:
        told = tell_history(instance, lake, settings, now=lake.clock(), say=log.print)
    if as_json:
        show_json(told)
        return
    console = terminal()
    for one in told:
        console.print(
            f"{one.asset}: {one.partitions} partitions and {one.checks} check rows told, {one.shown} shown before",
            soft_wrap=True,
        )
    others = sorted(set(symbols) - set(settings.symbols))
    if others:
        console.print(f"not told, for LAKE_SYMBOLS does not name them: {', '.join(others)}", soft_wrap=True)
