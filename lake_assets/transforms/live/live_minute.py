"""What one symbol's stream frames of one minute add up to.

Belongs here: accumulating frames of a minute, whatever their order and however often each comes, and its live row.
Does not belong here: the order book and what spans minutes (`live`).
Definitions: data dictionary, columns of class LIVE_ONLY.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from lake_assets.transforms.book import book_features
from lake_assets.transforms.live.live_rows import FRAME_KINDS
from lake_assets.transforms.trades import trade_features
from lake_resources.binance.ws.frames import AGG_TRADE, BOOK_TICKER, DEPTH, FORCE_ORDER, MARK_PRICE
from lake_resources.clock import MINUTE_MS

LATENCY_BAD_MS = 500
_DEPTH_BY_MS = 1_000
"""So shortly before its end a book of a minute is the one at its end."""


@dataclass(frozen=True)
class Impact:
    """The market buy on the last synchronised book of a minute.

    Attributes:
        value: fraction of mid, or None where the book could not fill it.
        wide: the spread was over 2 % of mid.
    """

    value: float | None
    wide: bool


@dataclass(frozen=True)
class Top:
    """The best prices of the last synchronised book of a minute, as its depth told them.

    Attributes:
        prices: bid, its quantity, ask, its quantity.
        update_id: of the last difference that was applied.
    """

    prices: tuple[float, float, float, float]
    update_id: int


def nearest_rank_p95(values: Sequence[int]) -> int | None:
    """95th percentile, nearest rank: the value of rank ceil(0.95 n), or None of nothing."""
    count = len(values)
    return sorted(values)[-(-95 * count // 100) - 1] if count else None


class LiveMinute:
    """Frames of one symbol and minute.

    Attributes:
        broken: the order book was out of sync, or had to be synchronised, in this minute.
        impact: set by whoever holds the book.
        top: set by whoever holds the book.
        reopened: the minute was closed before; these are not all of its frames.
    """

    __slots__ = (
        "_arrivals_ms",
        "_book",
        "_depth_ids",
        "_engine_ms",
        "_events_ms",
        "_first_ids",
        "_liquidations",
        "_mark",
        "_network_ms",
        "_ticks",
        "broken",
        "frames",
        "impact",
        "reopened",
        "top",
    )

    def __init__(self) -> None:
        self.frames = [0] * 6
        self.broken = False
        self.reopened = False
        self.impact: Impact | None = None
        self.top: Top | None = None
        self._depth_ids: set[int] = set()
        self._first_ids = array("q")
        self._events_ms = array("q")
        self._arrivals_ms = array("q")
        self._engine_ms = array("q")
        self._network_ms = array("q")
        # update id, T; bid, its quantity, ask, its quantity
        self._book = (array("q"), array("q"), array("d"), array("d"), array("d"), array("d"))
        # id, first and last trade id, T; price, quantity; is the buyer the maker
        self._ticks = (array("q"), array("q"), array("q"), array("q"), array("d"), array("d"), array("b"))
        self._liquidations: dict[tuple[Any, ...], dict[str, Any]] = {}
        # E, r, T
        self._mark: tuple[int, float | None, int | None] = (-1, None, None)

    def depth(self, data: dict[str, Any], received_ns: int) -> None:
        """A depthUpdate; one that was repeated counts once."""
        self.frames[DEPTH] += 1
        if data["u"] in self._depth_ids:
            return
        self._depth_ids.add(data["u"])
        self._first_ids.append(data["U"])
        event_ms, arrival_ms = data["E"], received_ns // 1_000_000
        self._events_ms.append(event_ms)
        self._arrivals_ms.append(arrival_ms)
        if "T" in data:
            self._engine_ms.append(event_ms - data["T"])
            self._network_ms.append(arrival_ms - event_ms)

    def book_ticker(self, data: dict[str, Any]) -> None:
        """A bookTicker."""
        self.frames[BOOK_TICKER] += 1
        update_id, time_ms = data["u"], data["T"]
        bid, bid_quantity, ask, ask_quantity = float(data["b"]), float(data["B"]), float(data["a"]), float(data["A"])
        # Nothing below can fail, so that the columns stay of one length.
        ids, times, bids, bid_quantities, asks, ask_quantities = self._book
        ids.append(update_id)
        times.append(time_ms)
        bids.append(bid)
        bid_quantities.append(bid_quantity)
        asks.append(ask)
        ask_quantities.append(ask_quantity)

    def trade(self, data: dict[str, Any], *, streamed: bool = True) -> None:
        """An aggTrade, from the stream or from REST."""
        self.frames[AGG_TRADE] += streamed
        numbers = data["a"], data["f"], data["l"], data["T"]
        price, quantity, sell = float(data["p"]), float(data["q"]), bool(data["m"])
        ids, firsts, lasts, times, prices, quantities, sells = self._ticks
        for column, number in zip((ids, firsts, lasts, times), numbers, strict=True):
            column.append(number)
        prices.append(price)
        quantities.append(quantity)
        sells.append(sell)

    def mark_price(self, data: dict[str, Any]) -> None:
        """A markPriceUpdate: the latest one counts, and in it only a settlement that is still to come."""
        self.frames[MARK_PRICE] += 1
        event_ms = data["E"]
        last_ms, rate, settlement_ms = self._mark
        if event_ms < last_ms:
            return
        rate = _number(data.get("r")) if _number(data.get("r")) is not None else rate
        # For about a second after a settlement the frame still names the one that has just passed.
        settlement_ms = data["T"] if data.get("T", 0) > event_ms else settlement_ms
        self._mark = (event_ms, rate, settlement_ms)

    def force_order(self, data: dict[str, Any]) -> None:
        """A forceOrder; it has no id, so equal ones of the same instant count once."""
        self.frames[FORCE_ORDER] += 1
        order = data["o"]
        key = (data["E"], *(order.get(name) for name in ("T", "S", "q", "p", "ap", "l", "z")))
        self._liquidations[key] = order

    @property
    def seen(self) -> tuple[object, ...]:
        """Another value as soon as a row would be made of anything else."""
        return (*self.frames, len(self._ticks[0]), self.impact, self.broken)

    def told_until(self, end_ms: int) -> int | None:
        """Time of the newest book ticker (epoch ms), where the book at the end of the minute has the prices it told.

        Depth is sent ten times a second whatever happens: a book that was whole to the end and has the prices and
        quantities of the last ticker shows that no later one is lacking. None where that is not shown.

        Args:
            end_ms: end of the minute, epoch ms.
        """
        ids, times, *columns = self._book
        top, newest = self.top, max(self._events_ms, default=0)
        if top is None or self.broken or not ids or newest < end_ms - _DEPTH_BY_MS:
            return None
        last = max(range(len(ids)), key=ids.__getitem__)
        if ids[last] <= top.update_id and tuple(column[last] for column in columns) != top.prices:
            return None
        return times[last]

    def row(self, minute: int, *, market_alive: bool, public_alive: bool, book_ticker_alive: bool) -> dict[str, Any]:
        """The live row.

        Args:
            minute: epoch minutes.
            market_alive: the socket of trades, mark prices and liquidations was provably alive all minute.
            public_alive: the same of the socket of book tickers and depth.
            book_ticker_alive: the same of the book tickers by themselves.

        Returns:
            Every column of `LIVE_ROWS`, `timestamp` as epoch µs.
        """
        return {
            "timestamp": minute * MINUTE_MS * 1000,
            **self._depth_columns(),
            **self._liquidation_columns(alive=market_alive),
            "predicted_funding": self._mark[1],
            "next_funding_time": self._mark[2],
            **self._book_columns(),
            **self._trade_columns(),
            "market_alive": market_alive,
            "public_alive": public_alive,
            "book_ticker_alive": book_ticker_alive,
            **{name: self.frames[kind] for name, kind in FRAME_KINDS.items()},
        }

    def _depth_columns(self) -> dict[str, Any]:
        has_depth, measured = bool(self._depth_ids), bool(self._engine_ms)
        engine_ms, network_ms = nearest_rank_p95(self._engine_ms), nearest_rank_p95(self._network_ms)
        impact = self.impact if has_depth else None
        fillable = None if impact is None else impact.value is not None
        return {
            "event_time": max(self._events_ms, default=None),
            "arrival_time": max(self._arrivals_ms, default=None),
            "latency_engine": engine_ms,
            "latency_network": network_ms,
            "update_id_start": min(self._first_ids, default=None),
            "update_id_end": max(self._depth_ids, default=None),
            "price_impact_100k": None if impact is None else impact.value,
            "has_ws_latency": measured,
            "has_depth": has_depth,
            "ws_latency_bad": (
                engine_ms > LATENCY_BAD_MS or network_ms > LATENCY_BAD_MS
                if engine_ms is not None and network_ms is not None
                else None
            ),
            "impact_fillable": fillable,
            "depth_degraded": self.broken or not fillable or (impact is not None and impact.wide)
            if has_depth
            else None,
        }

    def _liquidation_columns(self, *, alive: bool) -> dict[str, Any]:
        """0 is a statement, so it needs a collector that was there all minute; so does every other value."""
        names = ("long_vol_usdt", "short_vol_usdt", "long_count", "short_count", "avg_fill_price", "unfilled_ratio")
        if not alive:
            return dict.fromkeys(f"liq_{name}" for name in names) | {
                "has_liq": False,
                "liq_unfilled_supported": None,
            }
        orders = [_Order.of(order) for _, order in sorted(self._liquidations.items(), key=lambda item: repr(item[0]))]
        sides = {side: [order for order in orders if order.side == side] for side in ("SELL", "BUY")}
        worth, filled = _sum(order.worth for order in orders), _sum(order.filled for order in orders)
        quantity = _sum(order.quantity for order in orders)
        supported = filled is not None and quantity is not None
        unfilled = _sum(order.unfilled for order in orders)
        return {
            "liq_long_vol_usdt": _sum(order.worth for order in sides["SELL"]),
            "liq_short_vol_usdt": _sum(order.worth for order in sides["BUY"]),
            "liq_long_count": len(sides["SELL"]),
            "liq_short_count": len(sides["BUY"]),
            "liq_avg_fill_price": worth / filled if worth is not None and filled else None,
            "liq_unfilled_ratio": unfilled / quantity if unfilled is not None and quantity else None,
            "has_liq": True,
            "liq_unfilled_supported": supported,
        }

    def _book_columns(self) -> dict[str, Any]:
        if not self._book[0]:
            return {}
        ids, times, bids, bid_quantities, asks, ask_quantities = map(np.asarray, self._book)
        stamps = pl.Series(times, dtype=pl.Int64).cast(pl.Datetime("ms", "UTC"))
        features = book_features(
            pl.DataFrame(
                {
                    "update_id": ids,
                    "best_bid_price": bids,
                    "best_bid_qty": bid_quantities,
                    "best_ask_price": asks,
                    "best_ask_qty": ask_quantities,
                    "transaction_time": stamps.cast(pl.Datetime("us", "UTC")),
                }
            )
        )
        return features.drop("timestamp").row(0, named=True)

    def _trade_columns(self) -> dict[str, Any]:
        if not self._ticks[0]:
            return {"agg_trades": 0}
        ids, firsts, lasts, times, prices, quantities, sells = map(np.asarray, self._ticks)
        known = np.unique(ids)
        stamps = pl.Series(times, dtype=pl.Int64).cast(pl.Datetime("ms", "UTC"))
        features = trade_features(
            pl.DataFrame(
                {
                    "agg_trade_id": ids,
                    "price": prices,
                    "quantity": quantities,
                    "first_trade_id": firsts,
                    "last_trade_id": lasts,
                    "transact_time": stamps.cast(pl.Datetime("us", "UTC")),
                    "is_buyer_maker": sells.astype(bool),
                }
            )
        )
        return {
            **features.drop("timestamp").row(0, named=True),
            "first_agg_trade_id": int(known[0]),
            "last_agg_trade_id": int(known[-1]),
            "agg_trades": len(known),
        }


@dataclass(frozen=True)
class _Order:
    """A liquidation; what its frame did not carry is None."""

    side: str
    price: float | None
    quantity: float | None
    filled: float | None

    @classmethod
    def of(cls, order: dict[str, Any]) -> _Order:
        average = _number(order.get("ap"))
        price = average if average is not None and average > 0 else _number(order.get("p"))
        return cls(str(order.get("S")), price, _number(order.get("q")), _number(order.get("z")))

    @property
    def worth(self) -> float | None:
        return None if self.price is None or self.filled is None else self.price * self.filled

    @property
    def unfilled(self) -> float | None:
        return None if self.quantity is None or self.filled is None else max(self.quantity - self.filled, 0.0)


def _sum(values: Any) -> float | None:
    """Sum, or None where one of them is not known."""
    known = list(values)
    return None if any(value is None for value in known) else math.fsum(known)


def _number(text: Any) -> float | None:
    """A decimal string as a double; empty, absent or not finite is None."""
    if text in (None, ""):
        return None
    number = float(text)
    return number if math.isfinite(number) else None
