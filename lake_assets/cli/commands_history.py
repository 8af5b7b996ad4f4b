"""`lake report-to-dagster`: a lost or wiped history in Dagster, told from the ledger.

Belongs here: the command. Does not belong here: what is told (`jobs.told_history`).
"""

from __future__ import annotations

import os

import typer

from lake_assets.at_rest import LakeAtRest, open_at_rest
from lake_assets.cli.options import AsJson
from lake_assets.cli.printing import messages, show_json, terminal
from lake_assets.local_stack.places import dagster_home
from lake_assets.tables.declared import TABLES
from lake_assets.tables.offered import is_offered
from lake_resources.binance.market import MARKETS
from lake_resources.settings import LakeSettings
from lake_resources.yahoo.tickers import ticker_name

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
    others = _unnamed(lake, settings)  # what is wrong with the ledger is told before Dagster's home is made
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
    for title, symbols in others.items():
        said = f"not told, for the settings do not name them, of the {title}"
        console.print(f"{said}: {', '.join(symbols)}", soft_wrap=True)


def _unnamed(lake: LakeAtRest, settings: LakeSettings) -> dict[str, list[str]]:
    """Symbols that the ledger has and the settings do not name, by the title of the table."""
    found: dict[str, list[str]] = {}
    tickers = [ticker_name(ticker) for ticker in settings.macro_tickers]
    for table in TABLES.values():
        market = MARKETS.get(table.layout.market)
        named = tickers if market is None else settings.symbols_of(market) if is_offered(table, settings) else ()
        if symbols := sorted(set(lake.of(table).ledger.symbols()) - set(named)):
            found[table.layout.title] = symbols
    return found
