"""Starter queries on the DuckDB view of a table.

Belongs here: their text. Does not belong here: the view itself (`lake_resources.storage.duckdb_views`).
"""

from __future__ import annotations

from lake_assets.schema.table import Table
from lake_assets.tables.um_minute import UM_MINUTE

QUERIES = """\
-- Starter queries on the view `minute`. Times are UTC, which is set for this connection first.
SET TimeZone = 'UTC';

-- What is there, by symbol and month.
SELECT symbol, year, month, count(*) AS minutes FROM minute GROUP BY ALL ORDER BY ALL;

-- Minutes that are missing between the first and the last.
SELECT symbol, datediff('minute', min(timestamp), max(timestamp)) + 1 - count(*) AS missing FROM minute GROUP BY ALL;

-- Hourly bars.
SELECT symbol, time_bucket(INTERVAL 1 HOUR, timestamp) AS hour, arg_min(open, timestamp) AS open, max(high) AS high,
       min(low) AS low, arg_max(close, timestamp) AS close, sum(volume_btc) AS volume
FROM minute GROUP BY ALL ORDER BY ALL;

-- The last day with taker imbalance and open interest.
SELECT timestamp, close, taker_buy_ratio, oi_contracts, funding_rate FROM minute
WHERE timestamp >= (SELECT max(timestamp) FROM minute) - INTERVAL 1 DAY ORDER BY timestamp;
"""
"""On the minute table."""
_ANY = """\
-- Starter queries on the view `{view}`. Times are UTC, which is set for this connection first.
SET TimeZone = 'UTC';

-- What is there, by symbol and month.
SELECT symbol, year, month, count(*) AS row_count, min({time}) AS first, max({time}) AS last
FROM "{view}" GROUP BY symbol, year, month ORDER BY ALL;

-- Rows of each hour of the last day.
SELECT symbol, date_trunc('hour', {time}) AS hour, count(*) AS row_count FROM "{view}"
WHERE {time} >= (SELECT max({time}) FROM "{view}") - INTERVAL 1 DAY GROUP BY ALL ORDER BY ALL;

-- The last rows.
SELECT * FROM "{view}" ORDER BY {time} DESC LIMIT 100;
"""


def queries_on(table: Table) -> str:
    """The starter queries on the view of a table, as the text of a file of SQL."""
    if table is UM_MINUTE:
        return QUERIES
    return _ANY.format(view=table.layout.directory, time=f'"{table.layout.time_column}"')
