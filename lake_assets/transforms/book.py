"""Top-of-book features of a minute from bookTicker updates.

Belongs here: means per update, and the micro price of the last update.
Does not belong here: carrying a value into quiet minutes (`assemble`).
"""

from __future__ import annotations

import polars as pl

from lake_assets.schema.minute_columns import COLUMNS
from lake_assets.transforms.distinct import distinct_rows
from lake_resources.binance.um_streams import BOOK_TICKER
from lake_resources.clock import MINUTE_US

_TIMESTAMP = pl.Datetime("us", "UTC")

BOOK_FEATURES: dict[str, pl.DataType] = {
    "timestamp": _TIMESTAMP,
    **{column.name: column.dtype for column in COLUMNS.of_stream(BOOK_TICKER.name)},
}
CARRIED = tuple(column.name for column in COLUMNS.of_stream(BOOK_TICKER.name, "carried"))
"""The features that are carried into quiet minutes; the micro price never is."""


def book_features(book_ticker: pl.DataFrame) -> pl.DataFrame:
    """Features of every minute that has an update.

    Means are per update, not weighted by time; an update with both quantities 0 has no imbalance and no micro price.
    Rows may come in any order and several times: they are ordered by `update_id`, and a repeated id counts once.
    Formulas: data dictionary, columns `micro_price_close` and `avg_spread_usdt` to `spread_pct`.

    Args:
        book_ticker: wire frame of `book_ticker`, bucketed by `transaction_time`; whole minutes only.

    Returns:
        One row per minute with updates, columns `BOOK_FEATURES`, sorted by `timestamp` (UTC).
    """
    updates = _updates(book_ticker)
    if not _in_order(updates):
        updates = _updates(distinct_rows(book_ticker, "update_id")).sort("minute", "id")
    bid, ask, bid_qty, ask_qty = pl.col("bid"), pl.col("ask"), pl.col("bid_qty"), pl.col("ask_qty")
    both = bid_qty + ask_qty
    mid = (bid + ask) / 2
    last_bid, last_ask, last_bid_qty, last_ask_qty = bid.last(), ask.last(), bid_qty.last(), ask_qty.last()
    return (
        updates.with_columns(
            pl.col("minute").set_sorted(),
            spread=ask - bid,
            imbalance=pl.when(both > 0).then((bid_qty - ask_qty) / both),
            spread_fraction=pl.when(mid > 0).then((ask - bid) / mid),
        )
        .group_by("minute", maintain_order=True)
        .agg(
            micro_price_close=pl.when(last_bid_qty + last_ask_qty > 0).then(
                (last_bid * last_ask_qty + last_ask * last_bid_qty) / (last_bid_qty + last_ask_qty)
            ),
            avg_spread_usdt=pl.col("spread").mean(),
            bid_ask_imbalance=pl.col("imbalance").mean(),
            avg_bid_depth=bid_qty.mean(),
            avg_ask_depth=ask_qty.mean(),
            spread_pct=pl.col("spread_fraction").mean(),
        )
        .select((pl.col("minute") * MINUTE_US).cast(_TIMESTAMP).alias("timestamp"), pl.exclude("minute"))
        .cast(BOOK_FEATURES)  # type: ignore[arg-type]
    )


def _updates(book_ticker: pl.DataFrame) -> pl.DataFrame:
    return book_ticker.select(
        id="update_id",
        minute=pl.col("transaction_time").cast(_TIMESTAMP).to_physical() // MINUTE_US,
        bid="best_bid_price",
        ask="best_ask_price",
        bid_qty="best_bid_qty",
        ask_qty="best_ask_qty",
    ).rechunk()


def _in_order(updates: pl.DataFrame) -> bool:
    repeated = updates.select((pl.col("id").diff() <= 0).any()).item()
    return not repeated and updates["minute"].is_sorted()
