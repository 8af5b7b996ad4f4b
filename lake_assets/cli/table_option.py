"""The option `--table`, and the symbols that are meant with a table.

Belongs here: the option of commands that work on partitions. Does not belong here: options that have nothing to do with
a table (`options`), what the tables are called (`tables.declared`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from lake_assets.cli.options import refusing
from lake_assets.schema.table import Table
from lake_assets.tables.declared import table_named
from lake_assets.tables.um_minute import UM_MINUTE
from lake_resources.binance.market import MARKETS
from lake_resources.settings import LakeSettings
from lake_resources.yahoo.tickers import ticker_name

MINUTES = UM_MINUTE
"""The table where none is given."""
ChosenTable = Annotated[
    Table,
    typer.Option(
        "--table",
        parser=refusing(table_named),
        metavar="TABLE",
        help="which table: bars_1s, klines_1m …; default minute",
        show_default=False,
    ),
]


def symbols_with(table: Table, given: Sequence[str] | None, settings: LakeSettings) -> tuple[str, ...]:
    """The symbols of a command, each once; where none is given, those that the settings name for the table's market."""
    if given:
        return tuple(dict.fromkeys(given))
    if table.layout.market not in MARKETS:
        return tuple(ticker_name(ticker) for ticker in settings.macro_tickers)
    return settings.symbols_of(MARKETS[table.layout.market])
