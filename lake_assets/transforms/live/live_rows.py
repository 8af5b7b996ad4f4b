"""The columns of a live row: what a collector knows of one minute of one symbol.

Belongs here: names and types, and which of them the minute table takes.
Does not belong here: how they are computed (`live`, `live_minute`).
"""

from __future__ import annotations

import polars as pl

from lake_assets.schema.minute_columns import COLUMNS
from lake_assets.transforms.book import BOOK_FEATURES
from lake_assets.transforms.trade_columns import TRADE_FEATURES
from lake_resources.binance.ws.frames import AGG_TRADE, BOOK_TICKER, DEPTH, FORCE_ORDER, MARK_PRICE

_TIMESTAMP = pl.Datetime("us", "UTC")

NEVER_NULL_FLAGS = tuple(name for name in COLUMNS.never_null_flags if name in COLUMNS.collected)
"""Flags that only a collector can set: false where none was there."""

LIVE_INPUT: dict[str, pl.DataType] = {
    "timestamp": _TIMESTAMP,
    **COLUMNS.collected,
    **{name: dtype for name, dtype in BOOK_FEATURES.items() if name != "timestamp"},
    "has_book_ticker": pl.Boolean(),
    "has_agg_trades": pl.Boolean(),
}
"""What `assemble` takes: the last two say that the source of the book features was there all minute, and that every
aggTrade of it was heard (or fetched later by its id)."""

FRAME_KINDS = {
    "depth_frames": DEPTH,
    "book_ticker_frames": BOOK_TICKER,
    "agg_trade_frames": AGG_TRADE,
    "mark_price_frames": MARK_PRICE,
    "force_order_frames": FORCE_ORDER,
}
"""Columns that count frames, with the kind of the frame that each counts."""

FRAME_COUNTS = tuple(FRAME_KINDS)

EVIDENCE: dict[str, pl.DataType] = {
    "market_alive": pl.Boolean(),
    "public_alive": pl.Boolean(),
    "book_ticker_alive": pl.Boolean(),
    "first_agg_trade_id": pl.Int64(),
    "last_agg_trade_id": pl.Int64(),
    "agg_trades": pl.Int64(),
    **dict.fromkeys(FRAME_COUNTS, pl.Int64()),
}
"""Heartbeats of the minute: whether each socket, and the book tickers by themselves, were provably alive all of it;
which ids came; frames per stream."""

LIVE_ROWS: dict[str, pl.DataType] = {
    **{name: dtype for name, dtype in LIVE_INPUT.items() if name not in ("has_book_ticker", "has_agg_trades")},
    **{name: dtype for name, dtype in TRADE_FEATURES.items() if name != "timestamp"},
    **EVIDENCE,
}
"""All columns of a live row, one row per symbol and minute."""


def live_input(rows: pl.DataFrame, coverage: pl.DataFrame) -> pl.DataFrame:
    """The part of live rows that `assemble` takes.

    Args:
        rows: columns `LIVE_ROWS`, each minute once. Rows of earlier versions have no `book_ticker_alive`: they take the
            socket's.
        coverage: `timestamp` and `has_agg_trades`; its minutes are those of the result.

    Returns:
        Columns `LIVE_INPUT`, sorted by `timestamp` (UTC).
    """
    heard = pl.coalesce("book_ticker_alive", pl.col("public_alive") & (pl.col("book_ticker_frames") > 0))
    told = (
        coverage.lazy()
        .join(rows.lazy().with_columns(has_book_ticker=heard), on="timestamp", how="left")
        .select(list(LIVE_INPUT))
        .sort("timestamp")
    )
    return told.collect(optimizations=pl.QueryOptFlags.none())


def live_trades(rows: pl.DataFrame, coverage: pl.DataFrame) -> pl.DataFrame:
    """The `trade_features` of covered minutes that have trades.

    Args:
        rows: columns `LIVE_ROWS`.
        coverage: as for `live_input`.
    """
    covered = coverage.filter("has_agg_trades").select("timestamp")
    return rows.filter(pl.col("agg_trades") > 0).join(covered, on="timestamp", how="semi").select(list(TRADE_FEATURES))
