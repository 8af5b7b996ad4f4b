"""The canonical minute table: `um/<symbol>/minute`, one asset per symbol, partitioned by hour.

Belongs here: its text and its picture. Does not belong here: its declaration
(`tables.um_minute`), what all tables' assets have in common (`table_asset`), building (`build.hours`).
"""

from lake_assets.assets.table_asset import TableAsset
from lake_assets.metadata import hour_picture
from lake_assets.tables.um_minute import UM_MINUTE

_TEXT = """\
One row per minute of {symbol} (USD-M futures): 58 canonical columns and 8 coverage flags. One hour per partition.

Each stream comes from the best source that exists: Vision archive, else what REST said earlier, else REST now, else
NULL. NULL means not ingested; 0 means ingested, and nothing happened. A row holds only what was knowable at the end of
its minute. An hour that breaks the gate goes to quarantine and what was committed stays. The newest partition is the
open hour: a sensor lets it grow, and so does materializing it again."""

MINUTE_ASSET = TableAsset(UM_MINUTE, _TEXT, hour_picture)
