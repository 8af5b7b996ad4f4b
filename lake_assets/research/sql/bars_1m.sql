-- Minutes of our own seconds. First and last are by time; open, high and low are of seconds with trades, for a quiet one
-- carries a price from before the bar. Sums add the decimals as they are printed. NULL bid: not known at the end.
CREATE VIEW bars_1m AS
WITH sums AS (
    SELECT
        'binance' AS exchange, symbol, utc_minute AS ts,
        coalesce(arg_min(open, utc) FILTER (WHERE trade_count > 0), arg_min(open, utc)) AS open,
        coalesce(max(high) FILTER (WHERE trade_count > 0), max(high)) AS high,
        coalesce(min(low) FILTER (WHERE trade_count > 0), min(low)) AS low,
        arg_max(close, utc) AS close,
        CAST(sum(CAST(volume_base AS DECIMAL(38, 8))) AS DOUBLE) AS volume_base,
        CAST(sum(CAST(volume_quote AS DECIMAL(38, 8))) AS DOUBLE) AS volume_quote,
        CAST(sum(trade_count) AS BIGINT) AS trade_count,
        arg_max_null(bid, utc) AS bid,
        arg_max_null(ask, utc) AS ask,
        arg_max_null(spread, utc) AS spread,
        count(*) AS bar_count
    FROM lake.spot_bars_1s
    GROUP BY ALL
)
SELECT
    exchange, symbol, ts, open, high, low, close, volume_base, volume_quote, trade_count,
    CASE WHEN volume_base > 0 THEN volume_quote / volume_base ELSE close END AS vwap,
    bid, ask, spread, bar_count, bar_count / 60 AS coverage, bar_count = 60 AS complete
FROM sums;
