-- Seconds of the spot market, every one that is known: a quiet second repeats the close before it and has no trade.
CREATE VIEW bars_1s AS
SELECT
    'binance' AS exchange, symbol, utc AS ts, open, high, low, close,
    volume_base, volume_quote, trade_count, vwap, bid, ask, spread
FROM lake.spot_bars_1s;
