"""REST endpoints of funding, mark price and the 5-minute series of `/futures/data`.

Belongs here: their parameters, windows, time stamps and rows. Does not belong here: weights and routes (rest.py).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lake_resources.simulator.market.bars import DAY_MS, INTERVAL_MINUTES
from lake_resources.simulator.market.decimals import text, texts
from lake_resources.simulator.market.derive import (
    FUNDING_INTERVAL_MS,
    SLOW_STEP_MS,
    funding_rate,
    long_short_ratio,
    settlements,
    snapshots,
    taker_ratio,
    taker_volumes,
)
from lake_resources.simulator.market.feed import SymbolFeed
from lake_resources.simulator.market.rng import Ints
from lake_resources.simulator.market.trades import MINUTE_MS
from lake_resources.simulator.rest.rest_market import CONTRACT_TYPES, Json
from lake_resources.simulator.rest.rest_query import BAD_PARAMETER, NOT_TRADING, NOT_TRADING_TEXT, ApiError, Query

DATA_RETENTION_MS = 30 * DAY_MS
PERIODS = ("5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h", "1d")
MARK_PRICE_KNOWN_MS = 1_666_915_200_000
"""Older settlements carry an empty mark price (seen empty through 2022-01-01; 2022-10-28 is our choice)."""


def premium_index(query: Query) -> Json:
    """`premiumIndex`: mark, index and the running estimate of the funding rate."""
    rows = []
    for feed in query.feeds():
        now = np.array([query.now_ms // 1000 * 1000])
        mark, index = (int(feed.reference(kind, now)[0]) for kind in ("mark", "index"))
        period = query.now_ms // FUNDING_INTERVAL_MS * FUNDING_INTERVAL_MS
        funded = feed.spec.perpetual
        rows.append(
            {
                "symbol": feed.spec.symbol,
                "markPrice": text(mark, 8),
                "indexPrice": text(index, 8),
                "estimatedSettlePrice": text(index, 8),
                "lastFundingRate": text(funding_rate(feed, period, query.now_ms), 8) if funded else "",
                "interestRate": "0.00010000" if funded else "",
                "nextFundingTime": period + FUNDING_INTERVAL_MS if funded and not feed.ended(query.now_ms) else 0,
                "time": int(now[0]),
            }
        )
    return rows[0] if query.values.get("symbol") else rows


def funding_rates(query: Query) -> tuple[list[Json], Ints]:
    """`fundingRate`: settlements, ascending; without times the most recent 200."""
    start, end = query.window()
    limit = query.limit(100 if start is not None or end is not None else 200, 1000)
    rows: list[Json] = []
    for feed in query.feeds():
        if not feed.spec.perpetual:
            continue
        stop = min(query.now_ms, end if end is not None else query.now_ms) + 1
        low = stop - (limit + 1) * FUNDING_INTERVAL_MS if start is None else start
        listed = max(low, feed.market.first_minute * MINUTE_MS)
        high = stop if start is None else min(stop, listed + (limit + 1) * FUNDING_INTERVAL_MS)
        found = settlements(feed, low, high)
        price = [
            shown if at >= MARK_PRICE_KNOWN_MS else ""
            for shown, at in zip(texts(found.mark, 8), found.time_ms.tolist(), strict=True)
        ]
        columns = zip(found.time_ms.tolist(), texts(found.rate, 8), price, strict=True)
        rows += [
            {
                "symbol": feed.spec.symbol,
                "fundingTime": at,
                "fundingRate": rate,
                "markPrice": mark,
                "rateType": "Regular",
            }
            for at, rate, mark in columns
        ]
    rows.sort(key=lambda row: row["fundingTime"])
    rows = rows[:limit] if start is not None else rows[-limit:]
    return rows, np.array([row["fundingTime"] for row in rows], np.int64)


def funding_info(query: Query) -> Json:
    """`fundingInfo`: interval, cap and floor of each symbol."""
    return [
        {
            "symbol": symbol,
            "adjustedFundingRateCap": "0.00300",
            "adjustedFundingRateFloor": "-0.00300",
            "fundingIntervalHours": FUNDING_INTERVAL_MS // 3_600_000,
            "disclaimer": True,
            "updateTime": None,
        }
        for symbol, feed in query.exchange.feeds.items()
        if feed.spec.perpetual
    ]


def open_interest(query: Query) -> Json:
    """`openInterest`: the current one, in the base asset."""
    feed = query.feed()
    if feed.ended(query.now_ms):
        raise ApiError(NOT_TRADING, NOT_TRADING_TEXT)
    now = np.array([query.now_ms // 1000 * 1000])
    value = int(snapshots(feed, now).open_interest[0])
    return {"symbol": feed.spec.symbol, "openInterest": text(value, feed.spec.quantity_digits), "time": int(now[0])}


def _stamps(query: Query, feed: SymbolFeed, *, ends: bool) -> tuple[Ints, int]:
    """Time stamps of a `/futures/data` answer and the period's length.

    `ends`: the stamp is the instant of a snapshot, known at once; otherwise it is the start of a period, which must
    be over. Vision's label of the row is worked out in vision.py.
    """
    period = query.choice("period", PERIODS, BAD_PARAMETER)
    step = (INTERVAL_MINUTES[period] or 0) * MINUTE_MS
    limit = query.limit(30, 500)
    start, end = query.window()
    for name, value in (("startTime", start), ("endTime", end)):
        if value is not None and value < query.now_ms - DATA_RETENTION_MS:
            raise ApiError(BAD_PARAMETER, f"parameter '{name}' is invalid.")
    last = query.now_ms if ends else query.now_ms - step
    if feed.market.end_minute is not None:
        last = min(last, feed.market.end_minute * MINUTE_MS - (0 if ends else step))
    last = last if end is None else min(last, end)
    oldest = max(query.now_ms - DATA_RETENTION_MS, feed.market.first_minute * MINUTE_MS + SLOW_STEP_MS)
    first = max(oldest, start if start is not None else 0)
    stamps = np.arange(-(-first // step) * step, last + 1, step)
    return (stamps[:limit] if start is not None else stamps[-limit:]), step


def open_interest_history(query: Query) -> tuple[list[Json], Ints]:
    """`openInterestHist`: snapshots at the stamp."""
    feed = query.feed()
    stamps, _ = _stamps(query, feed, ends=True)
    found = snapshots(feed, stamps)
    columns = zip(
        texts(found.open_interest, feed.spec.quantity_digits, 8 - feed.spec.quantity_digits),
        texts(found.open_interest_value, 8), stamps.tolist(), strict=True,
    )  # fmt: skip
    return [
        {
            "symbol": feed.spec.symbol,
            "sumOpenInterest": amount,
            "sumOpenInterestValue": value,
            "CMCCirculatingSupply": "0.00000000",
            "timestamp": at,
        }
        for amount, value, at in columns
    ], stamps


def long_short(name: str) -> Callable[[Query], tuple[list[Json], Ints]]:
    """Endpoint of one of the three long/short ratios; `name` is the field of `Snapshots` it shows."""

    def endpoint(query: Query) -> tuple[list[Json], Ints]:
        feed = query.feed()
        stamps, _ = _stamps(query, feed, ends=True)
        long_share: Ints = getattr(snapshots(feed, stamps), name)
        columns = zip(
            texts(long_short_ratio(long_share), 4), texts(long_share, 4), texts(10_000 - long_share, 4),
            stamps.tolist(), strict=True,
        )  # fmt: skip
        return [
            {
                "symbol": feed.spec.symbol,
                "longShortRatio": ratio,
                "longAccount": long,
                "shortAccount": short,
                "timestamp": at,
            }
            for ratio, long, short, at in columns
        ], stamps

    return endpoint


def taker_long_short(query: Query) -> tuple[list[Json], Ints]:
    """`takerlongshortRatio`: the period that starts at the stamp; the rows name no symbol."""
    feed = query.feed()
    stamps, step = _stamps(query, feed, ends=False)
    buy, sell = taker_volumes(feed, stamps, step)
    columns = zip(
        texts(taker_ratio(buy, sell), 4), texts(buy, feed.spec.quantity_digits),
        texts(sell, feed.spec.quantity_digits), stamps.tolist(), strict=True,
    )  # fmt: skip
    return [
        {"buySellRatio": ratio, "buyVol": bought, "sellVol": sold, "timestamp": at}
        for ratio, bought, sold, at in columns
    ], stamps


def basis(query: Query) -> tuple[list[Json], Ints]:
    """`basis`: perpetual against index at the stamp; the annualized rate is empty for a perpetual."""
    feed = query.pair()
    contract = query.choice("contractType", CONTRACT_TYPES, BAD_PARAMETER)
    stamps, _ = _stamps(query, feed, ends=True)
    if contract != "PERPETUAL" or not feed.spec.perpetual:
        return [], stamps[:0]
    index, mark = feed.reference("index", stamps), feed.reference("mark", stamps)
    rate = np.round((mark - index) / index * 10_000).astype(np.int64)
    columns = zip(texts(index, 8), texts(mark, 8), texts(mark - index, 8), texts(rate, 4), stamps.tolist(), strict=True)
    return [
        {
            "pair": feed.spec.pair,
            "contractType": contract,
            "indexPrice": spot,
            "futuresPrice": future,
            "basis": difference,
            "basisRate": share,
            "annualizedBasisRate": "",
            "timestamp": at,
        }
        for spot, future, difference, share, at in columns
    ], stamps
