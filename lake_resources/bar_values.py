"""The values of a bar, by the names and in the order that every source, file and table of bars has for them.

Belongs here: these names. Does not belong here: what else the bars of one source have (`wire_columns`, the columns of a
table in `lake_assets.schema`).
"""

from __future__ import annotations

PRICES = ("open", "high", "low", "close")
VALUE_COLUMNS = (*PRICES, "volume")
