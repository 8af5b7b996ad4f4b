"""All tables of the lake, by name.

Belongs here: the list, and finding a table by what people call it. Does not belong here: what a table is made of (a
module each).
"""

from __future__ import annotations

from lake_assets.schema.table import Table
from lake_assets.tables.macro_minute import MACRO_MINUTE
from lake_assets.tables.spot_bars_1s import SPOT_BARS_1S
from lake_assets.tables.spot_klines import SPOT_KLINES
from lake_assets.tables.um_minute import UM_MINUTE
from lake_resources.errors import SettingsError

TABLES: dict[str, Table] = {
    table.name: table for table in (UM_MINUTE, SPOT_BARS_1S, *SPOT_KLINES.values(), MACRO_MINUTE)
}
"""The tables by name."""


_CALLED: dict[str, Table] = {table.layout.directory: table for table in reversed(TABLES.values())} | TABLES
"""The tables by what people call them: the name, or the directory, which is the first table's where two have one."""


def table_named(text: str) -> Table:
    """The table that people mean: by its name (`spot_bars_1s`), or by its directory (`bars_1s`).

    Raises:
        SettingsError: there is none.
    """
    found = _CALLED.get(text.strip().lower())
    if found is None:
        raise SettingsError(f"there is no table {text!r}", remedy=f"One of {', '.join(sorted(_CALLED))}")
    return found
