-- Minutes of the spot market as the exchange publishes them.
CREATE VIEW klines_1m AS
SELECT
    'binance' AS exchange, symbol, utc AS ts, open, high, low, close,
    volume AS volume_base, quote_volume AS volume_quote, trades AS trade_count,
    taker_base_vol AS taker_buy_base, taker_quote_vol AS taker_buy_quote
FROM lake.spot_klines_1m;
