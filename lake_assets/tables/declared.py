"""All tables of the lake, by name.

Belongs here: the list. Does not belong here: what a table is made of (a module each).
"""

from __future__ import annotations

from lake_assets.schema.table import Table
from lake_assets.tables.macro_minute import MACRO_MINUTE
from lake_assets.tables.spot_bars_1s import SPOT_BARS_1S
from lake_assets.tables.spot_klines import SPOT_KLINES
from lake_assets.tables.um_minute import UM_MINUTE

TABLES: dict[str, Table] = {
    table.name: table for table in (UM_MINUTE, SPOT_BARS_1S, *SPOT_KLINES.values(), MACRO_MINUTE)
}
"""The tables by name."""
