"""The tables of the lake that are assets: a new table is one line here.

Belongs here: the list, and what each table has beside its own asset. Does not belong here: any table's text or builder
(an asset module each), its declaration (`lake_assets.tables`).
"""

from collections.abc import Sequence

import dagster as dg

from lake_assets.assets.bars_1s import BARS_1S_ASSET
from lake_assets.assets.cold_days import build_cold_days_asset
from lake_assets.assets.compacted import build_compacted_asset
from lake_assets.assets.klines import KLINE_ASSETS
from lake_assets.assets.minute import MINUTE_ASSET
from lake_assets.assets.table_asset import TableAsset, build_table_asset
from lake_assets.schema.table import Table
from lake_assets.tables.offered import is_offered
from lake_resources.binance.market import MARKETS, Market
from lake_resources.settings import LakeSettings

TABLE_ASSETS: tuple[TableAsset, ...] = (MINUTE_ASSET, BARS_1S_ASSET, *KLINE_ASSETS.values())


def offered_tables(settings: LakeSettings) -> list[TableAsset]:
    """The tables that the settings ask for: those of markets with symbols, klines of the intervals that are named."""
    return [shown for shown in TABLE_ASSETS if is_offered(shown.table, settings)]


def symbols_of(table: Table, settings: LakeSettings) -> Sequence[str]:
    """Symbols whose rows a table holds."""
    return settings.symbols_of(MARKETS[table.layout.market])


def has_hours(shown: TableAsset) -> bool:
    """Whether a table's partitions are hours of which a day can be recorded as one."""
    return shown.table.layout.span == "hour" and bool(shown.table.streams)


def build_table_assets(symbol: str, settings: LakeSettings, market: Market) -> list[dg.AssetsDefinition]:
    """Every table of a symbol of a market, each with its files of many partitions."""
    return [
        asset
        for shown in offered_tables(settings)
        if shown.table.layout.market == market.name
        for asset in (
            build_table_asset(shown, symbol, settings),
            build_compacted_asset(symbol, settings, shown.table),
            *([build_cold_days_asset(shown, symbol, settings)] if settings.cold_days and has_hours(shown) else []),
        )
    ]
