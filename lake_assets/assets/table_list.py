"""The tables of the lake that are assets: a new table is one line here.

Belongs here: the list, and what each table has beside its own asset. Does not belong here: any table's text or builder
(an asset module each), its declaration (`lake_assets.tables`).
"""

import dagster as dg

from lake_assets.assets.compacted import build_compacted_asset
from lake_assets.assets.minute import MINUTE_ASSET
from lake_assets.assets.table_asset import TableAsset, build_table_asset
from lake_resources.settings import LakeSettings

TABLE_ASSETS: tuple[TableAsset, ...] = (MINUTE_ASSET,)


def build_table_assets(symbol: str, settings: LakeSettings) -> list[dg.AssetsDefinition]:
    """Every table of a symbol, each with its files of many partitions."""
    return [
        asset
        for shown in TABLE_ASSETS
        for asset in (
            build_table_asset(shown, symbol, settings),
            build_compacted_asset(symbol, settings, shown.table),
        )
    ]
