-- Our minutes beside the exchange's. A minute that one side lacks is a row too, with NULL on that side: an inner join
-- would hide it. Differences are ours minus the exchange's.
CREATE VIEW compare_our_vs_kline_1m AS
SELECT
    coalesce(o.exchange, k.exchange) AS exchange, coalesce(o.symbol, k.symbol) AS symbol, coalesce(o.ts, k.ts) AS ts,
    o.open AS our_open, k.open AS kline_open, o.open - k.open AS open_diff,
    o.high AS our_high, k.high AS kline_high, o.high - k.high AS high_diff,
    o.low AS our_low, k.low AS kline_low, o.low - k.low AS low_diff,
    o.close AS our_close, k.close AS kline_close, o.close - k.close AS close_diff,
    o.volume_base AS our_volume, k.volume_base AS kline_volume,
    abs(o.volume_base - k.volume_base) AS volume_diff_abs,
    CASE WHEN k.volume_base > 0 THEN abs(o.volume_base - k.volume_base) / k.volume_base * 10000 END AS volume_diff_bps,
    o.bar_count AS our_bar_count, o.complete AS our_complete,
    CASE WHEN k.ts IS NULL THEN 'ours' WHEN o.ts IS NULL THEN 'klines' ELSE 'both' END AS present_in
FROM bars_1m AS o
FULL OUTER JOIN klines_1m AS k ON o.exchange = k.exchange AND o.symbol = k.symbol AND o.ts = k.ts;
