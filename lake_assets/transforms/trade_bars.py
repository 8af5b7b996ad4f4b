"""Bars of minutes from aggTrades of futures, and where the exchange's klines of the same trades say otherwise.

Belongs here: the fold, and its comparison with klines. Does not belong here: whether a source holds every trade
(`validation.trade_evidence`), single trades (`trade_fold`), tick features (`trades`).
"""

from __future__ import annotations

import polars as pl

from lake_assets.transforms.distinct import distinct_rows

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


def trade_bars(agg_trades: pl.DataFrame) -> pl.DataFrame:
    """Bars of the minutes that have a trade.

    Args:
        agg_trades: wire frame of `agg_trades`, in any order and several times; whole minutes only.

    Returns:
        Columns `TRADE_BARS`, sorted by `timestamp` (UTC).
    """
    ids = agg_trades["agg_trade_id"]
    in_order = ids.len() < 2 or bool((ids.diff().drop_nulls() > 0).all())
    rows = agg_trades if in_order else distinct_rows(agg_trades, "agg_trade_id")
    price, quantity = pl.col("price"), pl.col("quantity")
    bought = ~pl.col("is_buyer_maker")
    return (
        rows.with_columns(timestamp=pl.col("transact_time").cast(_TIMESTAMP).dt.truncate("1m"), worth=price * quantity)
        .group_by("timestamp", maintain_order=True)
        .agg(
            bar_rows=pl.len(),
            bar_count=(pl.col("last_trade_id") - pl.col("first_trade_id") + 1).sum(),
            bar_open=price.first(),
            bar_high=price.max(),
            bar_low=price.min(),
            bar_close=price.last(),
            bar_volume=quantity.sum(),
            bar_quote_volume=pl.col("worth").sum(),
            bar_taker_buy_volume=quantity.filter(bought).sum(),
            bar_taker_buy_quote_volume=pl.col("worth").filter(bought).sum(),
        )
        .select(list(TRADE_BARS))
        .cast(pl.Schema(TRADE_BARS))
        .sort("timestamp")
    )


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
