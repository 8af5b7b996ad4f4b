-- Funding and open interest of the futures as they were known at the end of each hour; NULL: not known then.
CREATE VIEW funding_oi_hourly AS
SELECT
    'binance_futures' AS exchange, symbol, utc_hour AS ts,
    arg_max_null(funding_rate, utc) AS funding_rate,
    arg_max_null(oi_contracts, utc) AS open_interest,
    arg_max_null(oi_value_usdt, utc) AS oi_usd,
    count(*) AS minutes, count(*) / 60 AS coverage, count(*) = 60 AS complete
FROM lake.um_minute
GROUP BY ALL;
