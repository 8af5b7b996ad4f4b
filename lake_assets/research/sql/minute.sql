-- The minute table of USD-M futures with all its columns, and `ts` before them.
CREATE VIEW minute AS
SELECT symbol, make_timestamp(epoch_us(timestamp)) AS ts, * EXCLUDE (symbol) FROM lake.um_minute;
