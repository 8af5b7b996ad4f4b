-- The append-only 1H table, as its own read-only copy was when this file was written.
CREATE VIEW ohlcv_btcusdt_1h AS
SELECT timestamp AS ts, * FROM lake.ohlcv_btcusdt_1h;
