"""Seconds of the spot market: `spot/<symbol>/bars_1s`, one asset per symbol, partitioned by hour.

Belongs here: its text and its picture. Does not belong here: its declaration
(`tables.spot_bars_1s`), what all tables' assets have in common (`table_asset`), building (`build.hours`).
"""

from functools import partial

from lake_assets.assets.table_asset import TableAsset
from lake_assets.metadata import bars_picture
from lake_assets.tables.spot_bars_1s import SPOT_BARS_1S

_TEXT = """\
One row per known second of {symbol} on the spot market: the document's 13 columns, then taker volumes, quantities at
the best prices and two flags. One hour per partition.

A quiet second is a row: `trade_count` 0, no volume, the close before it as prices and vwap, as the exchange's own 1s
klines say. A second that no source proves is no row, and the verdict of its hour says so. Sources by span: archive of
1s klines, else what REST said of them, else the fold of the trades that the collector heard. Bid and ask come from the
socket alone: the last before the end of the second, carried for ten seconds at most and never over a break."""

BARS_1S_ASSET = TableAsset(
    SPOT_BARS_1S,
    _TEXT,
    partial(bars_picture, table=SPOT_BARS_1S),
)
