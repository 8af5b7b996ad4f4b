"""Bars that contradict themselves: what one kline says of its own trades cannot all be true.

Belongs here: the rule, without any other source. Does not belong here: bounds of single values (`rules`), bars against
trades (`transforms.trade_bars`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import polars as pl

_NEEDED = {"open_time", "high", "low", "volume", "quote_volume", "count"}
_DIGITS = 1e-6
"""Relative: notionals are printed with few digits."""
_UNIT = 1e-6
"""How far a printed notional may be from its product."""


def senseless_hours(klines: pl.DataFrame, hours: Sequence[datetime]) -> dict[datetime, str]:
    """Hours with bars whose numbers do not belong together, with the first of them in words.

    Either there are trades, a volume and a quote volume, or there is none of them; and the average price, quote volume
    over volume, lies between low and high. (All of 144,000 recorded bars of Binance do so.)

    Args:
        klines: wire frame of klines of any length up to an hour; a frame without these columns has no such hour.
        hours: starts of the hours to look at, UTC.
    """
    if not set(klines.columns) >= _NEEDED or klines.is_empty():
        return {}
    volume, quote, high, low = (pl.col(name) for name in ("volume", "quote_volume", "high", "low"))
    some = volume > 0
    beyond = (quote > volume * high * (1 + _DIGITS) + _UNIT) | (quote < volume * low * (1 - _DIGITS) - _UNIT)
    wrong = (some != (pl.col("count") > 0)) | (some != (quote > 0)) | (some & beyond)
    hour = pl.col("open_time").dt.truncate("1h")
    found = klines.filter(wrong, hour.is_in(list(hours))).sort("open_time").group_by(hour.alias("hour")).agg(
        pl.len(), pl.col("open_time", "volume", "quote_volume", "count", "low", "high").first()
    )  # fmt: skip
    return {
        row["hour"]: f"{row['len']} bar(s) contradict themselves, first {row['open_time']:%Y-%m-%d %H:%M}: volume"
        f" {row['volume']:.12g} and quote volume {row['quote_volume']:.12g} in {row['count']} trades between"
        f" {row['low']:.12g} and {row['high']:.12g}"
        for row in found.iter_rows(named=True)
    }
