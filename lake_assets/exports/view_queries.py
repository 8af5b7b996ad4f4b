"""Starter queries on the DuckDB view of the minute table.

Belongs here: their text. Does not belong here: the view itself (`lake_resources.storage.duckdb_views`).
"""

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
