"""Best bids and asks placed in time: the quote that stood at the end of each bar.

Belongs here: which quote a bar has, how long one is carried, where none is. Does not belong here: where quotes come
from, bars themselves.

Spot's book tickers carry no time of the exchange. They are placed by the time at which they were received, corrected by
the offset that was measured between the local clock and the exchange's.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import polars as pl

from lake_resources.binance.wire_columns import UTC_US

CARRY = timedelta(seconds=10)
"""How long a quote stands for later bars, unless a setting says otherwise."""

QUOTES: dict[str, pl.DataType] = {
    "at": UTC_US,
    "bid": pl.Float64(),
    "bid_qty": pl.Float64(),
    "ask": pl.Float64(),
    "ask_qty": pl.Float64(),
}
"""Book tickers: when each was received, on the exchange's clock (UTC), both prices and both quantities."""

Span = tuple[datetime, datetime]


def quotes_at_ends(
    starts: pl.Series, step: timedelta, quotes: pl.DataFrame, connected: Sequence[Span], carry: timedelta = CARRY
) -> pl.DataFrame:
    """For each bar the last quote before its end, where the connection stood from the quote to that end.

    Args:
        starts: starts of bars, UTC, sorted.
        step: length of a bar.
        quotes: frame of `QUOTES`, in the order in which they were received.
        connected: spans, half-open, in which the connection was up without a break; they do not overlap.
        carry: a quote older than this at the end of a bar is none.

    Returns:
        One row per bar with the columns of `QUOTES` without `at`, NULL where no quote stands.
    """
    names = [name for name in QUOTES if name != "at"]
    spans = pl.DataFrame(
        {"up": [up for up, _ in connected], "down": [down for _, down in connected]},
        schema={"up": UTC_US, "down": UTC_US},
    ).sort("up")
    sound = quotes.filter(pl.col("at").is_not_null() & (pl.col("bid") > 0) & (pl.col("ask") > 0)).sort(
        "at", maintain_order=True
    )
    placed = (
        sound.join_asof(spans, left_on="at", right_on="up", strategy="backward")
        .filter(pl.col("at") < pl.col("down"))
        # One row per instant, the last: an asof join of equal keys would take any of them.
        .unique("at", keep="last", maintain_order=True)
    )
    # The end itself belongs to the next bar.
    last = (starts.cast(UTC_US) + step - timedelta(microseconds=1)).alias("end")
    bars = pl.DataFrame([last])
    found = bars.join_asof(placed, left_on="end", right_on="at", strategy="backward", tolerance=carry)
    stands = pl.col("down") > pl.col("end")
    return found.select(pl.when(stands).then(pl.col(name)).alias(name) for name in names)
