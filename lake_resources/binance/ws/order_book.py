"""The local order book of USD-M futures, by Binance's procedure, as a state machine without I/O.

Belongs here: continuity of update ids, when a snapshot is needed, the levels, the walk of a market buy.
Does not belong here: fetching the snapshot (`rest`), deciding minutes (`lake_assets.transforms.live.live_fold`).
Procedure: "How to manage a local order book correctly" of the USD-M documentation; it differs from spot's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal["collecting", "bridging", "synced"]
Diff = dict[str, Any]
"""A depthUpdate as sent: ints `U`, `u`, `pu`, lists `b` and `a` of [price, quantity] decimal strings."""

MAX_BUFFERED = 3_000
"""Five minutes of depth@100ms; the oldest go first, and a later snapshot bridges all the same."""
MAX_BUFFERED_LEVELS = 300_000
"""Levels of the diffs that wait (real: below 200 in one): frames of strangers may hold 100,000 each."""
MAX_LEVELS = 200_000
"""Levels of one side; the exchange has about a tenth of them, so more are none of its book, which starts again."""


@dataclass
class DepthSync:
    """Continuity of one symbol's diffs.

    Attributes:
        state: `collecting` diffs until a snapshot comes, `bridging` until a diff covers it, or `synced`.
        snapshots_wanted: how many snapshots had to be asked for so far: one per (re)synchronisation.
        breaks: how often continuity was lost after it had been there.
        repeated: diffs that were left out because they were applied before.
        last_id: `u` of the last applied diff, or lastUpdateId of the snapshot.
        conn: the connection that is followed; another one may only continue it, never break it.
        buffer: diffs that wait for a snapshot.
        asked: a snapshot was wanted and has not come yet.
    """

    state: State = "collecting"
    snapshots_wanted: int = 0
    breaks: int = 0
    repeated: int = 0
    last_id: int = 0
    conn: int = 0
    buffer: list[Diff] = field(default_factory=list)
    asked: bool = False
    _levels: int = 0
    """Levels of the buffer at most: those of diffs that went count until it is shortened."""

    def diff(self, conn: int, diff: Diff) -> bool:
        """Take a diff; True when it is to be applied to the levels now."""
        if self.state == "synced":
            if diff["u"] <= self.last_id:
                self.repeated += 1
                return False
            if diff["pu"] == self.last_id:
                self.last_id = diff["u"]
                self.conn = self.conn or conn
                return True
            if self.conn not in (0, conn):
                return False
            self.lose()
        elif self.conn not in (0, conn):
            return False
        elif self.state == "bridging":
            if diff["u"] < self.last_id:
                return False
            if diff["U"] <= self.last_id:
                self._bridged(diff)
                return True
            # The snapshot is older than everything heard: ask again.
            self.state, self.asked = "collecting", False
        self.conn = conn
        if not self.buffer or diff["u"] > self.buffer[-1]["u"]:
            self.buffer.append(diff)
            del self.buffer[:-MAX_BUFFERED]
            self._levels += _size(diff)
            if self._levels > MAX_BUFFERED_LEVELS:
                self._shorten()
        self._ask()
        return False

    def snapshot(self, last_update_id: int) -> list[Diff] | None:
        """Take a snapshot.

        Returns:
            The buffered diffs to apply on top of it, or None when the snapshot is of no use (too old, or nobody asked).
        """
        if self.state != "collecting" or not self.asked:
            return None
        waiting = [diff for diff in self.buffer if diff["u"] >= last_update_id]
        if waiting and waiting[0]["U"] > last_update_id:
            self.asked = False
            self._ask()
            return None
        self.buffer = []
        self.last_id = last_update_id
        self.state = "bridging"
        applied: list[Diff] = []
        for position, diff in enumerate(waiting):
            if position == 0:
                self._bridged(diff)
            elif diff["pu"] != self.last_id:
                self.lose()
                self.buffer = waiting[position:]
                self._ask()
                return None
            self.last_id = diff["u"]
            applied.append(diff)
        return applied

    def closed(self, conn: int) -> None:
        """A connection ended: another one may continue."""
        if conn == self.conn:
            self.conn = 0

    def _shorten(self) -> None:
        """Leave the newest diffs that fit, half of what may wait, so that counting them is rare."""
        self._levels, first = 0, len(self.buffer)
        while first and self._levels + _size(self.buffer[first - 1]) <= MAX_BUFFERED_LEVELS // 2:
            first -= 1
            self._levels += _size(self.buffer[first])
        del self.buffer[:first]

    def _bridged(self, diff: Diff) -> None:
        # `pu` of the bridging diff is never equal to the snapshot's id, and is not checked.
        self.state = "synced"
        self.last_id = diff["u"]

    def lose(self) -> None:
        """Start again: continuity is broken, or the levels are none that an exchange has."""
        self.breaks += 1
        self.state, self.buffer, self.asked = "collecting", [], False

    def _ask(self) -> None:
        if not self.asked:
            self.asked = True
            self.snapshots_wanted += 1


class OrderBook:
    """Levels of one symbol and their continuity.

    Levels beyond the 1000 of a snapshot are unknown until they are touched.
    """

    def __init__(self) -> None:
        self.sync = DepthSync()
        self.bids: dict[float, float] = {}
        self.asks: dict[float, float] = {}

    @property
    def synced(self) -> bool:
        """Whether the levels are the exchange's."""
        return self.sync.state == "synced"

    def diff(self, conn: int, diff: Diff) -> bool:
        """Take a diff; True when it was applied."""
        if not self.sync.diff(conn, diff):
            return False
        _apply(self.bids, diff["b"])
        _apply(self.asks, diff["a"])
        if max(len(self.bids), len(self.asks)) > MAX_LEVELS:
            self.sync.lose()
            self.bids, self.asks = {}, {}
            return False
        return True

    def snapshot(self, body: dict[str, Any]) -> int:
        """Take a body of `/fapi/v1/depth`; returns how many buffered diffs were applied on top of it."""
        diffs = self.sync.snapshot(body["lastUpdateId"])
        if diffs is None:
            return 0
        self.bids, self.asks = {}, {}
        _apply(self.bids, body["bids"])
        _apply(self.asks, body["asks"])
        for diff in diffs:
            _apply(self.bids, diff["b"])
            _apply(self.asks, diff["a"])
        return len(diffs)

    def best(self) -> tuple[float, float] | None:
        """Best bid and best ask, or None while a side is empty."""
        if not self.bids or not self.asks:
            return None
        return max(self.bids), min(self.asks)

    def state(self) -> dict[str, Any]:
        """Everything needed to go on elsewhere, as JSON values."""
        sync = self.sync
        return {
            "state": sync.state,
            "last_id": sync.last_id,
            "conn": sync.conn,
            "buffer": sync.buffer,
            "bids": list(self.bids.items()),
            "asks": list(self.asks.items()),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> OrderBook:
        """A book that goes on from `state()`."""
        book = cls()
        book.bids = dict(state["bids"])
        book.asks = dict(state["asks"])
        sync = book.sync
        sync.state, sync.last_id, sync.conn = state["state"], state["last_id"], state["conn"]
        sync.buffer = list(state["buffer"])
        sync.asked = sync.state == "collecting" and bool(sync.buffer)
        return book


def buy_impact(asks: dict[float, float], bid: float, ask: float, notional: float) -> float | None:
    """Cost of a market buy against the mid price.

    Args:
        asks: price → quantity.
        bid: best bid.
        ask: best ask.
        notional: size of the buy in quote currency.

    Returns:
        (average execution price - mid) / mid, or None when the book cannot fill it.
    """
    left, bought = notional, 0.0
    for price in sorted(asks):
        worth = price * asks[price]
        if worth >= left:
            bought += left / price
            mid = (bid + ask) / 2
            return (notional / bought - mid) / mid
        left -= worth
        bought += asks[price]
    return None


def _size(diff: Diff) -> int:
    return len(diff["b"]) + len(diff["a"])


def _apply(side: dict[float, float], levels: Iterable[list[str]]) -> None:
    """Quantities are absolute; 0 removes, also a level that is not known."""
    for price, quantity in levels:
        amount = float(quantity)
        if amount:
            side[float(price)] = amount
        else:
            side.pop(float(price), None)
