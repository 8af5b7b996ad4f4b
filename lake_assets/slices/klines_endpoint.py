"""Spot klines as slices: 1,000 candles each, by open time.

Belongs here: the declaration of this endpoint. Does not belong here: anything that other endpoints need, too.
"""

from __future__ import annotations

from collections.abc import Sequence

from lake_assets.slices.endpoint import Query, SliceEndpoint
from lake_assets.slices.judgement import Judgement, SliceGrid, judge
from lake_assets.slices.keys import SliceKey, interval_ms
from lake_resources.binance.market import SPOT, SPOT_KLINES


def _query(key: SliceKey, end: int) -> Query:
    return {
        "symbol": key.symbol,
        "interval": key.interval,
        "limit": key.limit,
        "startTime": key.start,
        "endTime": end,
    }


def _first_query(symbol: str, interval: str) -> Query:
    return {"symbol": symbol, "interval": interval, "limit": 1, "startTime": 0}


def _open_times(body: object) -> list[int]:
    if not isinstance(body, list) or not all(isinstance(row, list) and len(row) >= 11 for row in body):
        raise ValueError("expected a list of klines of 12 fields")
    if not all(isinstance(row[0], int) for row in body):
        raise ValueError("an open time is no number")
    return [row[0] for row in body]


def _judge(key: SliceKey, found: Sequence[int], now_ms: int, said_before: Sequence[int] | None) -> Judgement:
    """A candle is final once it is closed by the exchange's clock."""
    step = interval_ms(key.interval)
    grid = SliceGrid(key.start, step, key.limit, final_until=now_ms - step + 1)
    return judge(grid, found, said_before=said_before)


KLINES = SliceEndpoint(
    name="klines",
    market=SPOT,
    request=SPOT_KLINES,
    intervals=("1s", "1m"),
    step=interval_ms,
    query=_query,
    positions=_open_times,
    first_query=_first_query,
    newest_query=None,
    judge=_judge,
)
