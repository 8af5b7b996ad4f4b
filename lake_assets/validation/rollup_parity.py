"""The bars of an hour against the exchange's bar of the hour.

Belongs here: rolling klines up and naming the columns that differ. Does not belong here: fetching either.
"""

from __future__ import annotations

import polars as pl

from lake_assets.validation.parity import DIFFERENCES_SCHEMA

SUM_TOLERANCE = 1e-9
"""Relative: sixty decimals added as doubles differ from the exchange's sum in the last digits only."""
_SUMS = ("volume", "quote_volume", "taker_buy_volume", "taker_buy_quote_volume")


def hour_bar_differences(minutes: pl.DataFrame, hour_bar: pl.DataFrame) -> pl.DataFrame:
    """Cells in which the roll-up of an hour's bars is not the 1h bar: `old` rolled up, `new` the bar's.

    A bar without a trade only carries a price on, which need not be one of the hour: it is left out.

    Args:
        minutes: wire frame of all klines of one hour, in order.
        hour_bar: wire frame with the one 1h kline of that hour.
    """
    traded = minutes.filter(pl.col("count") > 0)
    rolled = (
        (minutes if traded.is_empty() else traded)
        .select(
            pl.col("open").first(),
            pl.col("high").max(),
            pl.col("low").min(),
            pl.col("close").last(),
            pl.col("count").sum(),
            *(pl.col(name).sum() for name in _SUMS),
        )
        .row(0, named=True)
    )
    bar = hour_bar.row(0, named=True)
    cells = [
        {"timestamp": bar["open_time"], "column": name, "old": float(value), "new": float(bar[name])}
        for name, value in rolled.items()
        if abs(value - bar[name]) > (SUM_TOLERANCE * abs(bar[name]) if name in _SUMS else 0)
    ]
    return pl.DataFrame(cells, schema=DIFFERENCES_SCHEMA)
