"""Spot aggTrades as slices: 1,000 trades each, by id.

Belongs here: the declaration of this endpoint. Does not belong here: anything that other endpoints need, too.
"""

from __future__ import annotations

from collections.abc import Sequence

from lake_assets.slices.endpoint import Query, SliceEndpoint
from lake_assets.slices.judgement import Judgement, SliceGrid, judge
from lake_assets.slices.keys import SliceKey
from lake_resources.binance.market import SPOT

BY_ID = "id"


def _step(_interval: str) -> int:
    """Ids are contiguous."""
    return 1


def _query(key: SliceKey, _end: int) -> Query:
    return {"symbol": key.symbol, "fromId": key.start, "limit": key.limit}


def _first_query(symbol: str, _interval: str) -> Query:
    return {"symbol": symbol, "fromId": 0, "limit": 1}


def _newest_query(symbol: str) -> Query:
    return {"symbol": symbol, "limit": 1}


def _ids(body: object) -> list[int]:
    if not isinstance(body, list) or not all(isinstance(row, dict) and isinstance(row.get("a"), int) for row in body):
        raise ValueError("expected a list of aggTrades with the id `a`")
    return [row["a"] for row in body]


def _judge(key: SliceKey, found: Sequence[int], newest: int, said_before: Sequence[int] | None) -> Judgement:
    """A trade is final when it is there; ids up to the newest one that the exchange has must be."""
    return judge(SliceGrid(key.start, 1, key.limit, final_until=newest + 1), found, said_before=said_before)


AGG_TRADES = SliceEndpoint(
    name="aggTrades",
    market=SPOT,
    request=SPOT.agg_trades,
    intervals=(BY_ID,),
    step=_step,
    query=_query,
    positions=_ids,
    first_query=_first_query,
    newest_query=_newest_query,
    judge=_judge,
)
