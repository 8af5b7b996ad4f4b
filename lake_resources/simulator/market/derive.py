"""The slow series of a symbol: funding, open interest, account ratios, taker ratio, top of book.

Belongs here: values at settlement times, at 5-minute snapshots and after each aggregate, from a `SymbolFeed`.
Does not belong here: labels, JSON, CSV; which label a value gets is the business of rest.py and vision.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np

from lake_resources.simulator.market.feed import REFERENCE_SCALE, SymbolFeed
from lake_resources.simulator.market.rng import Floats, Ints
from lake_resources.simulator.market.specs import ONBOARD_MS
from lake_resources.simulator.market.trades import MINUTE_MS, Mask, Trades

T = TypeVar("T", int, Ints)

SLOW_STEP_MS = 300_000
FUNDING_INTERVAL_MS = 8 * 3_600_000
RATIO_SCALE = 10_000
"""Ratios are printed with 4 decimals."""

_IDS_PER_MS = 64
_INTEREST = 1e-4
_INTEREST_BAND = 5e-4


@dataclass(frozen=True)
class Settlements:
    """Funding settlements: exact time, published time with its jitter, rate and mark price (8 decimals)."""

    due_ms: Ints
    time_ms: Ints
    rate: Ints
    mark: Ints


@dataclass(frozen=True)
class Snapshots:
    """Values at 5-minute snapshots: open interest (quantity digits, value 8 decimals), long shares of 10,000."""

    time_ms: Ints
    open_interest: Ints
    open_interest_value: Ints
    top_accounts_long: Ints
    top_positions_long: Ints
    all_accounts_long: Ints


@dataclass(frozen=True)
class BookUpdates:
    """Top of book after each change; prices and quantities as integers, times in ms."""

    update_id: Ints
    bid: Ints
    bid_quantity: Ints
    ask: Ints
    ask_quantity: Ints
    transaction_ms: Ints
    event_ms: Ints

    def take(self, index: slice | Ints | Mask) -> BookUpdates:
        """The updates of a slice, an index array or a mask."""
        return BookUpdates(*(getattr(self, each.name)[index] for each in fields(self)))

    @staticmethod
    def concat(parts: Sequence[BookUpdates]) -> BookUpdates:
        """All parts, in the order given."""
        return BookUpdates(
            *(np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(BookUpdates))
        )


def update_id(time_ms: T) -> T:
    """Number of the last change of the book at a time: 64 numbers for each millisecond since the start of trading."""
    return (time_ms - ONBOARD_MS) * _IDS_PER_MS + _IDS_PER_MS - 1


def funding_rate(feed: SymbolFeed, start_ms: int, end_ms: int) -> int:
    """Funding rate (8 decimals) of a period from its mean premium, by the exchange's published formula."""
    minutes = np.arange(start_ms, max(end_ms, start_ms + 1), MINUTE_MS)
    premium = float(feed.premium(minutes).mean())
    rate = premium + min(max(_INTEREST - premium, -_INTEREST_BAND), _INTEREST_BAND)
    # A small bias by period keeps the rate off the plain interest rate that the band would give most of the time.
    bias = float(feed.rng.bell("funding bias", np.array([start_ms // FUNDING_INTERVAL_MS]))[0])
    return round((rate + 3e-5 * bias) * REFERENCE_SCALE)


def settlements(feed: SymbolFeed, start_ms: int, end_ms: int) -> Settlements:
    """Settlements whose published time lies in [start, end)."""
    first = max(start_ms, feed.market.first_minute * MINUTE_MS + 1) - 20
    due = np.arange(-(-first // FUNDING_INTERVAL_MS) * FUNDING_INTERVAL_MS, end_ms, FUNDING_INTERVAL_MS)
    period = due // FUNDING_INTERVAL_MS
    jitter = np.where(feed.rng.uniform("on time", period) < 0.4, 0, feed.rng.below("jitter", period, 14))
    time = due + jitter
    keep = (time >= start_ms) & (time < end_ms)
    if feed.market.end_minute is not None:
        keep &= due <= feed.market.end_minute * MINUTE_MS
    due, time = due[keep], time[keep]
    rates = [funding_rate(feed, int(at) - FUNDING_INTERVAL_MS, int(at)) for at in due]
    return Settlements(due, time, np.array(rates, np.int64), feed.reference("mark", due))


def snapshots(feed: SymbolFeed, time_ms: Ints) -> Snapshots:
    """Open interest and ratios at any times (taken at multiples of 5 minutes)."""
    steps = time_ms / SLOW_STEP_MS

    def drift(lane: str, size: float) -> Floats:
        parts = ((2016.0, 1.0), (144.0, 0.5), (9.0, 0.2), (1.0, 0.05))
        total = np.zeros(len(time_ms))
        for period, share in parts:
            total += size * share * feed.rng.noise(f"{lane}{period}", steps / period)
        return total

    interest = feed.spec.open_interest * np.exp(drift("open interest", 0.12)) * 10**feed.spec.quantity_digits
    open_interest = np.round(interest).astype(np.int64)
    mark = feed.reference("mark", time_ms) / REFERENCE_SCALE
    value = np.round(open_interest / 10**feed.spec.quantity_digits * mark * 100).astype(np.int64) * 10**6

    def long_share(lane: str, level: float) -> Ints:
        share = np.clip(level + drift(lane, 0.05), 0.2, 0.8)
        return np.round(share * RATIO_SCALE).astype(np.int64)

    return Snapshots(
        time_ms, open_interest, value,
        long_share("top accounts", 0.58), long_share("top positions", 0.54), long_share("all accounts", 0.62),
    )  # fmt: skip


def long_short_ratio(long_share: Ints) -> Ints:
    """Long/short ratio, 4 decimals, from the long share of 10,000."""
    return np.round(long_share * RATIO_SCALE / (RATIO_SCALE - long_share)).astype(np.int64)


def taker_volumes(feed: SymbolFeed, start_ms: Ints, step_ms: int = SLOW_STEP_MS) -> tuple[Ints, Ints]:
    """Taker buy and sell volume (quantity digits) of the periods that start at the given times."""
    if not len(start_ms):
        return start_ms, start_ms
    bars = feed.closed_bars(int(start_ms[0]) // MINUTE_MS, (int(start_ms[-1]) + step_ms) // MINUTE_MS)
    total = np.concatenate([[0], np.cumsum(bars.volume)])
    taker = np.concatenate([[0], np.cumsum(bars.taker_volume)])
    first, end = np.searchsorted(bars.open_ms, start_ms), np.searchsorted(bars.open_ms, start_ms + step_ms)
    buy = taker[end] - taker[first]
    return buy, total[end] - total[first] - buy


def taker_ratio(buy: Ints, sell: Ints) -> Ints:
    """Buy/sell volume ratio, 4 decimals; 1 where nothing was sold."""
    return np.where(sell > 0, np.round(buy * RATIO_SCALE / np.maximum(sell, 1)), RATIO_SCALE).astype(np.int64)


def book_updates(feed: SymbolFeed, trades: Trades, per_trade: int = 3) -> BookUpdates:
    """Top of book around aggregates: one state at each trade, some changes of size until the next.

    A taker buy trades at the ask, a taker sell at the bid, so each trade price is a best price of its moment.
    """
    count = len(trades.agg_id)
    follow = np.append(trades.agg_time[1:], trades.agg_time[-1:] + 200) if count else trades.agg_time
    part = np.arange(per_trade)
    time = trades.agg_time[:, None] + (follow - trades.agg_time)[:, None] * part // per_trade
    index = (trades.agg_id[:, None] * 8 + part).ravel()
    spread = feed.spec.tick * (1 + (feed.rng.uniform("spread", trades.agg_id) < 0.08))
    bid = np.repeat(np.where(trades.buyer_maker, trades.price, trades.price - spread), per_trade)
    ask = bid + np.repeat(spread, per_trade)
    scale = 20 * feed.spec.typical_fill_usdt / feed.spec.base_price * 10**feed.spec.quantity_digits

    def depth(lane: str) -> Ints:
        return np.asarray(1 + np.floor(scale * np.exp(feed.rng.bell(lane, index))).astype(np.int64))

    at = time.ravel()
    # Numbers within one millisecond count up from its first one; 64 are far more than one sweep needs.
    new = np.diff(at, prepend=at[:1] - 1) > 0
    rank = np.arange(len(at)) - np.maximum.accumulate(np.where(new, np.arange(len(at)), 0)) if len(at) else at
    event = np.maximum.accumulate(at + 1 + feed.rng.below("engine", index, 8)) if len(at) else at
    update = update_id(at - 1) + 1 + rank
    return BookUpdates(update, bid, depth("bid size"), ask, depth("ask size"), at, event)


def retail_quantity(feed: SymbolFeed, trades: Trades) -> Ints:
    """Part of each aggregate that comes from retail price improvement orders, which `nq` leaves out."""
    return np.where(feed.rng.uniform("rpi", trades.agg_id) < 0.02, trades.quantity // 2, 0)
