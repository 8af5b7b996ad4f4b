"""Which tables the resident builder keeps hot.

Belongs here: the list, by settings. Does not belong here: how they are kept (`hot_builder`), any table's declaration.
"""

from __future__ import annotations

from collections.abc import Sequence

from lake_assets.schema.table import Table
from lake_assets.tables.spot_bars_1s import SPOT_BARS_1S
from lake_assets.tables.um_minute import UM_MINUTE
from lake_resources.binance.market import MARKETS
from lake_resources.settings import LakeSettings

RESIDENT_TABLES = (UM_MINUTE, SPOT_BARS_1S)
"""Tables of hours. A day of klines is a whole file for each new row, and nobody waits seconds for it."""


def is_resident(table: Table, settings: LakeSettings) -> bool:
    """Whether the resident builder keeps a table hot, so that its sensor has only to tell."""
    return settings.hot_builder and table in RESIDENT_TABLES


def resident_tables(settings: LakeSettings) -> list[tuple[Table, Sequence[str]]]:
    """Tables with the symbols whose rows they hold; none of a market without symbols."""
    found = [(table, settings.symbols_of(MARKETS[table.layout.market])) for table in RESIDENT_TABLES]
    return [(table, symbols) for table, symbols in found if symbols]
