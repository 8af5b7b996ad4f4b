"""Klines of the spot market: `spot/<symbol>/klines_<interval>`, one asset per symbol and interval, by day.

Belongs here: their text and their picture. Does not belong here: their declarations
(`tables.spot_klines`), what all tables' assets have in common (`table_asset`), building (`build.hours`).
"""

from functools import partial

from lake_assets.assets.table_asset import TableAsset
from lake_assets.metadata import bars_picture
from lake_assets.tables.spot_klines import SPOT_KLINES

_TEXT = """\
Candles of {symbol} on the spot market as the exchange publishes them: the document's 11 columns, one day per partition.

Archives first, REST for the rest, each day in pages of a thousand rows. The open candle is never stored: a candle is a
row once it is over. A candle in which nothing was traded carries the close before it."""

KLINE_ASSETS = {
    interval: TableAsset(
        table,
        _TEXT,
        partial(bars_picture, table=table),
    )
    for interval, table in SPOT_KLINES.items()
}
"""The assets by interval."""
