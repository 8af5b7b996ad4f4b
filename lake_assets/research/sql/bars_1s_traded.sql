-- The seconds in which something was traded: what a collector that writes no quiet seconds has.
CREATE VIEW bars_1s_traded AS
SELECT * FROM bars_1s WHERE trade_count > 0;
