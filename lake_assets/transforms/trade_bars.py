"""Bars of minutes from aggTrades of futures, and where the exchange's klines of the same trades say otherwise.

Belongs here: their names, and their comparison with klines. Does not belong here: whether a source holds every trade
(`validation.trade_evidence`), single trades (`trade_fold`), reading the trades of a minute (`trades`).
"""

from __future__ import annotations

import polars as pl

_TIMESTAMP = pl.Datetime("us", "UTC")
_PRICES = ("open", "high", "low", "close")
_TAKEN = ("taker_buy_volume", "taker_buy_quote_volume")
_SUMS = ("volume", "quote_volume", *_TAKEN)
TRADE_BARS: dict[str, pl.DataType] = {
    "timestamp": _TIMESTAMP,
    "bar_rows": pl.Int64(),
    "bar_count": pl.Int64(),
    **{f"bar_{name}": pl.Float64() for name in (*_PRICES, *_SUMS)},
}
"""A minute of aggTrades by the names of klines: rows, single trades, prices by id, sums of quantity and of notional."""
_DIGITS = 1e-9
"""Relative: sums of decimals read as doubles differ in the last digits, nothing more."""
_UNIT = 1e-6
"""How far a printed notional may be from its product, per row."""


def bars_of(minutes: pl.DataFrame) -> pl.DataFrame:
    """Bars of the minutes that have a trade.

    Args:
        minutes: columns `TRADE_MINUTES`.

    Returns:
        Columns `TRADE_BARS`, in the same order.
    """
    return minutes.select(
        "timestamp",
        bar_rows=pl.col("count_buy_trades") + pl.col("count_sell_trades"),
        bar_count="raw_trade_count",
        bar_open="first_price",
        bar_high="highest_price",
        bar_low="lowest_price",
        bar_close="last_price",
        bar_volume="agg_quantity",
        bar_quote_volume="agg_notional",
        bar_taker_buy_volume="bought_quantity",
        bar_taker_buy_quote_volume="bought_notional",
    ).cast(pl.Schema(TRADE_BARS))


def unlike_bars(klines: pl.DataFrame, bars: pl.DataFrame) -> pl.DataFrame:
    """Where klines say other prices or taker volumes than the trades that they count.

    A minute is compared where number, volume and quote volume of the kline are exactly those of the trades: then they
    are the same trades, and everything else follows from them. At other edges an aggTrade straddles the minute, or the
    trades are not whole, which their own witness says.

    Args:
        klines: wire frame of `klines_1m`.
        bars: columns `TRADE_BARS`.

    Returns:
        `timestamp`, `column`, `said` (by the kline), `traded` (by the trades), a row per value that differs, in order.
    """
    both = klines.join(bars, left_on="open_time", right_on="timestamp", how="inner", maintain_order="left")
    rounding = (pl.col("bar_rows") + 1) * _UNIT

    def same(name: str) -> pl.Expr:
        off = (pl.col(name) - pl.col(f"bar_{name}")).abs()
        return off <= pl.col(f"bar_{name}").abs() * _DIGITS + (rounding if "quote" in name else 1e-9)

    judged = both.filter((pl.col("count") == pl.col("bar_count")) & same("volume") & same("quote_volume"))
    parts = [
        judged.filter(~same(name) | pl.col(name).is_null()).select(
            pl.col("open_time").cast(_TIMESTAMP).alias("timestamp"),
            column=pl.lit(name),
            said=pl.col(name),
            traded=f"bar_{name}",
        )
        for name in (*_PRICES, *_TAKEN)
    ]
    return pl.concat(parts).sort("timestamp", maintain_order=True)
