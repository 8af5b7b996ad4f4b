-- The minute table of USD-M futures with all its columns, and `ts` before them.
CREATE VIEW minute AS
SELECT symbol, utc AS ts, * EXCLUDE (symbol, utc, utc_minute, utc_hour) FROM lake.um_minute;
