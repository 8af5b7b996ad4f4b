"""Funding rates of USD-M futures as slices: 1,000 hours each, by settlement time.

Belongs here: the declaration of this endpoint. Does not belong here: anything that other endpoints need, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from lake_assets.slices.endpoint import Query, SliceEndpoint
from lake_assets.slices.judgement import Judgement, SliceReason, Status, judge_events
from lake_assets.slices.keys import SliceKey, interval_ms
from lake_resources.binance.market import UM, UM_FUNDING_RATE
from lake_resources.clock import HOUR_MS, MINUTE_MS

HOURLY = "1h"
"""A contract settles every 1, 2, 4 or 8 hours, so that 1,000 hours hold 1,000 settlements at most."""
_SETTLES_WITHIN_MS = MINUTE_MS
"""`fundingTime` is some milliseconds after the hour, and the answer shows a settlement within the minute."""
_LONGEST_MS = 8 * HOUR_MS


def _query(key: SliceKey, end: int) -> Query:
    return {"symbol": key.symbol, "startTime": key.start, "endTime": end, "limit": key.limit}


def _first_query(symbol: str, _interval: str) -> Query:
    return {"symbol": symbol, "startTime": 0, "limit": 1}


def _times(body: object) -> list[int]:
    if not isinstance(body, list) or not all(
        isinstance(row, dict) and isinstance(row.get("fundingTime"), int) for row in body
    ):
        raise ValueError("expected a list of settlements with `fundingTime`")
    return [row["fundingTime"] for row in body]


def _judge(key: SliceKey, found: Sequence[int], now_ms: int, said_before: Sequence[int] | None) -> Judgement:
    """Two neighbours never lie further apart than 8 hours: a longer distance is a settlement that is missing."""
    end = key.start + interval_ms(HOURLY) * key.limit
    verdict = judge_events((key.start, end), found, final_until=now_ms - _SETTLES_WITHIN_MS, said_before=said_before)
    if verdict.status is not Status.OK or verdict.missing:
        return verdict
    lost = tuple(
        earlier + _LONGEST_MS
        for earlier, later in pairwise(found)
        if later - earlier > _LONGEST_MS + _SETTLES_WITHIN_MS
    )
    if not lost or (said_before is not None and tuple(said_before) == lost):
        reason = SliceReason.EXCHANGE_HAS_NONE if lost else SliceReason.NONE
        return Judgement(Status.OK, reason, lost)
    return Judgement(Status.PARTIAL, SliceReason.GAP_SEEN_ONCE, lost, f"{len(lost)} settlements seem to be missing")


FUNDING_RATE = SliceEndpoint(
    name="fundingRate",
    market=UM,
    request=UM_FUNDING_RATE,
    intervals=(HOURLY,),
    step=interval_ms,
    query=_query,
    positions=_times,
    first_query=_first_query,
    newest_query=None,
    judge=_judge,
)
