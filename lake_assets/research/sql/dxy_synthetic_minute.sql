-- The US dollar index from its six currencies, by the formula of ICE Futures U.S. ("US Dollar Index FAQ", June 2012):
-- where the dollar is the quote currency the exponent is negative. Open and close follow from opens and closes; high and
-- low are bounds, for the currencies do not turn at the same moment: the index was never outside of them.
-- A minute that one of the six lacks is a row with NULL prices that names it. An index of currencies has no volume: 0.
CREATE MACRO lake.usdx(eur, jpy, gbp, cad, sek, chf) AS
    50.14348112 * pow(eur, -0.576) * pow(jpy, 0.136) * pow(gbp, -0.119) * pow(cad, 0.091) * pow(sek, 0.042)
    * pow(chf, 0.036);

CREATE VIEW dxy_synthetic_minute AS
WITH legs AS (
    SELECT
        ts, ticker, is_final,
        {'open': open, 'close': close, 'upper': CASE WHEN ticker IN ('EURUSD=X', 'GBPUSD=X') THEN low ELSE high END,
         'lower': CASE WHEN ticker IN ('EURUSD=X', 'GBPUSD=X') THEN high ELSE low END} AS price
    FROM macro_minute
    WHERE ticker IN ('EURUSD=X', 'USDJPY=X', 'GBPUSD=X', 'USDCAD=X', 'USDSEK=X', 'USDCHF=X')
),
minutes AS (
    SELECT
        ts, bool_and(is_final) AS is_final, count(*) AS components, list(ticker) AS there,
        any_value(price) FILTER (WHERE ticker = 'EURUSD=X') AS eur,
        any_value(price) FILTER (WHERE ticker = 'USDJPY=X') AS jpy,
        any_value(price) FILTER (WHERE ticker = 'GBPUSD=X') AS gbp,
        any_value(price) FILTER (WHERE ticker = 'USDCAD=X') AS cad,
        any_value(price) FILTER (WHERE ticker = 'USDSEK=X') AS sek,
        any_value(price) FILTER (WHERE ticker = 'USDCHF=X') AS chf
    FROM legs
    GROUP BY ts
)
SELECT
    'DXY_SYN' AS ticker, ts,
    lake.usdx(eur.open, jpy.open, gbp.open, cad.open, sek.open, chf.open) AS open,
    lake.usdx(eur.upper, jpy.upper, gbp.upper, cad.upper, sek.upper, chf.upper) AS high,
    lake.usdx(eur.lower, jpy.lower, gbp.lower, cad.lower, sek.lower, chf.lower) AS low,
    lake.usdx(eur.close, jpy.close, gbp.close, cad.close, sek.close, chf.close) AS close,
    CAST(0 AS BIGINT) AS volume, is_final, components,
    array_to_string(
        list_filter(
            ['EURUSD=X', 'USDJPY=X', 'GBPUSD=X', 'USDCAD=X', 'USDSEK=X', 'USDCHF=X'], lambda t: NOT list_contains(there, t)
        ), ', '
    ) AS missing
FROM minutes;
