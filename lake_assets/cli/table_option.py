"""The option `--table`, and the symbols that are meant with a table.

Belongs here: the option of commands that work on partitions. Does not belong here: options that have nothing to do with
a table (`options`), what the tables are called (`tables.declared`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from lake_assets.cli.options import refusing
from lake_assets.schema.table import Table
from lake_assets.tables.declared import table_named
from lake_assets.tables.um_minute import UM_MINUTE
from lake_resources.binance.market import MARKETS
from lake_resources.errors import NotYet
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


def require_known(
    table: Table, named: Sequence[str] | None, settings: LakeSettings, is_known: Callable[[str], bool]
) -> None:
    """Refuse symbols that are named and unknown: "nothing is missing" of one would be a lie about a slip of the hand.

    Args:
        table: whose symbols they are.
        named: symbols that were given; none is no question.
        settings: of the lake.
        is_known: whether the ledger has anything of a symbol.

    Raises:
        NotYet: neither the settings nor the ledger know one of them.
    """
    unknown = [each for each in named or () if each not in symbols_with(table, None, settings) and not is_known(each)]
    if unknown:
        raise NotYet(
            f"nothing was looked at: the lake {settings.lake_root} knows no {', '.join(unknown)}",
            remedy="Name a symbol of LAKE_SYMBOLS, or one that `lake show-watermark` lists",
        )
