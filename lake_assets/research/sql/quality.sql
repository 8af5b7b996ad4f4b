-- What each hour of each table is worth, by the ledger, when this file was written.
CREATE VIEW quality AS
SELECT * FROM lake.quality;
