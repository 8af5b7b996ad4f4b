"""What live rows prove about a window: were all its trades heard, was a source there in every minute?

Belongs here: the proof, from ids and heartbeats. Does not belong here: reading rows (`ingest.live`).
Ids prove more than liveness: Binance numbers the aggTrades of a symbol without holes.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import polars as pl

_MINUTE = timedelta(minutes=1)


def trades_complete(rows: pl.DataFrame, start: datetime, end: datetime) -> bool:
    """Whether live rows hold every aggTrade of `[start, end)`.

    True when the ids are contiguous within the window and each edge is proven: by the id of the neighbouring trade
    beyond it, or, where none is known, by a socket that was alive in all minutes between the edge and the next trade.

    Args:
        rows: columns `LIVE_ROWS`, of the window and of any minutes before and after it.
        start: first minute, UTC.
        end: first minute after the window.
    """
    known = rows.sort("timestamp").select(
        "timestamp", "market_alive", "agg_trades", "first_agg_trade_id", "last_agg_trade_id"
    )
    alive = set(known.filter("market_alive")["timestamp"])
    traded = known.filter(pl.col("agg_trades") > 0)
    inside = traded.filter(pl.col("timestamp").is_between(start, end, closed="left"))
    before = traded.filter(pl.col("timestamp") < start).tail(1)
    after = traded.filter(pl.col("timestamp") >= end).head(1)
    chain = pl.concat([before, inside, after])
    if (inside["last_agg_trade_id"] - inside["first_agg_trade_id"] + 1 != inside["agg_trades"]).any():
        return False
    if (chain["first_agg_trade_id"] != chain["last_agg_trade_id"].shift(1) + 1).fill_null(value=False).any():
        return False
    first_traded = inside["timestamp"][0] if inside.height else None
    last_traded = inside["timestamp"][-1] if inside.height else None
    if first_traded is None or last_traded is None:
        return (bool(before.height) and bool(after.height)) or _all_alive(alive, start, end)
    left = bool(before.height) or _all_alive(alive, start, first_traded + _MINUTE)
    right = bool(after.height) or _all_alive(alive, last_traded, end)
    return left and right


def _all_alive(alive: set[datetime], start: datetime, end: datetime) -> bool:
    return all(minute in alive for minute in _minutes(start, end))


def _minutes(start: datetime, end: datetime) -> Iterator[datetime]:
    while start < end:
        yield start
        start += _MINUTE
