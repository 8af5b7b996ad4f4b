"""Minutes of macro tickers: `macro/<ticker>/minute`, one asset per ticker, one partition per UTC day.

Belongs here: the asset's text and what it is built with. Does not belong here: the table (`tables.macro_minute`),
asking and judging (`build.macro_days`).
"""

from functools import partial

import dagster as dg

from lake_assets.assets.table_asset import TableAsset, build_table_asset
from lake_assets.build.macro_days import build_macro_days
from lake_assets.metadata import bars_picture, table_key
from lake_assets.tables.macro_minute import MACRO_MINUTE
from lake_resources.settings import LakeSettings
from lake_resources.yahoo.tickers import ticker_name
from lake_resources.yahoo.yahoo_minutes import YahooMinutes

_TEXT = """\
Minutes of a ticker from Yahoo Finance: one row per minute that has a price. ({symbol} is its name here.)

Yahoo keeps minutes for 30 days, so what is not asked for in time is lost. Days of a run are asked for anew each time:
values that changed are revisions, the running minute is never final. Continuity is judged inside the trading sessions
alone; a minute of a session without a price is unexplained until Yahoo has left it out twice."""


def macro_key(ticker: str) -> dg.AssetKey:
    """Key of a ticker's minutes: `macro/ES_3DF/minute` of ES=F."""
    return table_key(MACRO_MINUTE.layout, ticker_name(ticker))


def macro_table(settings: LakeSettings) -> TableAsset:
    """The table as an asset, the same for every ticker; Yahoo is asked by a build alone."""
    cache = settings.lake_root / "cache" / "yahoo"
    yahoo = YahooMinutes(settings.resolved_yahoo_url, cache, limits=settings.limits)
    return TableAsset(
        MACRO_MINUTE,
        _TEXT,
        partial(bars_picture, table=MACRO_MINUTE),
        partial(build_macro_days, yahoo=yahoo),
    )


def build_macro_asset(ticker: str, settings: LakeSettings) -> dg.AssetsDefinition:
    """The asset `macro/<ticker>/minute`."""
    return build_table_asset(macro_table(settings), ticker_name(ticker), settings)
