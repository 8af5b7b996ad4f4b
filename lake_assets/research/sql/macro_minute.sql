-- Minutes of macro tickers. A minute that is not final was still running when it was asked for.
CREATE VIEW macro_minute AS
SELECT ticker, utc AS ts, open, high, low, close, volume, is_final
FROM lake.macro_minute;
