"""All tables of the lake stand in the one list that backup, rebuild of the ledger and readers go by."""

from __future__ import annotations

from lake_assets.assets.table_list import TABLE_ASSETS
from lake_assets.tables.declared import TABLES


def test_every_table_that_is_an_asset_is_declared_and_has_places_of_its_own() -> None:
    # Macro minutes are assets of tickers, not of symbols of a market of the exchange.
    assert [shown.table for shown in TABLE_ASSETS] == [table for table in TABLES.values() if table.streams]
    places = [(table.layout.market, table.layout.directory) for table in TABLES.values()]
    assert len(set(places)) == len(places) == len(TABLES)
