"""One WebSocket connection of USD-M futures as a state machine without sockets and without a clock.

Belongs here: which streams live on which route, what to send, what must be heard and until when, when to give up or
to roll over. Does not belong here: sockets and tasks (`lake_resources.collector`), the content of frames (`frames`).
Seconds are those of any steady clock; the caller passes them in.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from lake_resources.binance.ws.frames import (
    AGG_TRADE,
    BOOK_TICKER,
    DEPTH,
    FORCE_ORDER,
    MARK_PRICE,
    stream_of,
)

Route = Literal["market", "public"]

ROUTES: dict[Route, tuple[int, ...]] = {
    # forceOrder first: the first markPrice then proves that the silent stream before it is subscribed, too.
    "market": (FORCE_ORDER, AGG_TRADE, MARK_PRICE),
    "public": (BOOK_TICKER, DEPTH),
}
"""Since 2026-04 each class of streams has a route of its own; on a wrong one Binance acknowledges and stays silent."""

ALWAYS_FLOWING = {"market": (MARK_PRICE,), "public": (BOOK_TICKER, DEPTH)}
"""Kinds of which some symbol must be heard soon after subscribing; a whole market without trades is possible."""

SILENCE_S: dict[int, float] = {MARK_PRICE: 10.0, DEPTH: 30.0, BOOK_TICKER: 60.0}
"""A symbol's stream that was heard and then is silent for longer has probably been dropped by the exchange."""
TRADES_SILENCE_S = 120.0
"""The same of the aggTrades of all symbols together: one symbol alone may rest for long."""

NAMES_PER_REQUEST = 200


@dataclass(frozen=True)
class Limits:
    """When a connection counts as bad or old, seconds.

    Attributes:
        acknowledge_s: a SUBSCRIBE must be answered within.
        verify_s: each flowing kind must bring a first message within, counted from the acknowledgement.
        stall_s: longest silence of the whole socket.
        rollover_s: age at which a successor is opened; Binance cuts at 24 h.
        overlap_s: how long both are read after the successor is verified.
        successor_s: a successor that is not verified within this is given up.
        silence_s: by kind, longest silence of one symbol's stream before a successor is opened.
        trades_silence_s: longest silence of all aggTrades together before that.
        depth_lag_s: longest silence of a symbol's depth after its best price moved, and so its depth, before that.
    """

    acknowledge_s: float = 10.0
    verify_s: float = 20.0
    stall_s: float = 10.0
    rollover_s: float = 23 * 3600.0
    overlap_s: float = 5.0
    successor_s: float = 60.0
    silence_s: Mapping[int, float] = field(default_factory=lambda: dict(SILENCE_S))
    trades_silence_s: float = TRADES_SILENCE_S
    depth_lag_s: float = 10.0


def subscriptions(route: Route, symbols: Sequence[str]) -> list[str]:
    """Names of all streams of a route, lower case: upper case is acknowledged and never delivers."""
    return [f"{symbol.lower()}@{stream_of(kind)}" for kind in ROUTES[route] for symbol in symbols]


@dataclass
class StreamSession:
    """One connection from its opening to its end.

    Attributes:
        route: `market` or `public`.
        symbols: upper case.
        limits: deadlines.
        opened_s: when it was opened.
        verified: every flowing kind was heard, and all requests were acknowledged.
        heard: newest message of each (kind, symbol), seconds.
    """

    route: Route
    symbols: tuple[str, ...]
    limits: Limits
    opened_s: float = 0.0
    verified: bool = False
    heard: dict[tuple[int, str], float] = field(default_factory=dict)
    _awaited: dict[str, float] = field(default_factory=dict)
    _open_requests: set[int] = field(default_factory=set)
    _acknowledged_s: float | None = None
    _last_s: float = 0.0
    _failure: str | None = None

    def begin(self, now_s: float) -> None:
        """The connection is open: deadlines count from now."""
        self.opened_s = self._last_s = now_s

    def requests(self) -> list[bytes]:
        """What to send first: SUBSCRIBE, at most 200 names each (Binance allows 10 messages a second)."""
        names = subscriptions(self.route, self.symbols)
        chunks = [names[start : start + NAMES_PER_REQUEST] for start in range(0, len(names), NAMES_PER_REQUEST)]
        self._open_requests = set(range(1, len(chunks) + 1))
        return [
            orjson.dumps({"method": "SUBSCRIBE", "params": chunk, "id": number})
            for number, chunk in enumerate(chunks, start=1)
        ]

    def frame(self, kind: int, symbol: str, now_s: float) -> None:
        """A frame of a stream came."""
        self._last_s = now_s
        stream = kind, symbol
        known = stream in self.heard
        self.heard[stream] = now_s
        if kind == BOOK_TICKER:
            self._awaited.setdefault(symbol, now_s)
        elif kind == DEPTH:
            self._awaited.pop(symbol, None)
        if not known:
            self._verify()

    def reply(self, data: dict[str, Any], now_s: float) -> None:
        """A frame came that is no event: an acknowledgement or an error."""
        self._last_s = now_s
        if data.get("result", 0) is None and data.get("id") in self._open_requests:
            self._open_requests.discard(data["id"])
            if not self._open_requests:
                self._acknowledged_s = now_s
                self._verify()
        elif "error" in data or "code" in data:
            self._failure = f"the exchange refused a request: {orjson.dumps(data).decode()[:200]}"

    def verdict(self, now_s: float) -> str | None:
        """Why the connection must be given up now, or None."""
        if self._failure:
            return self._failure
        if now_s - self._last_s > self.limits.stall_s:
            return f"stalled: nothing heard for {now_s - self._last_s:.1f} s"
        if self._acknowledged_s is None:
            if now_s - self.opened_s > self.limits.acknowledge_s:
                return f"SUBSCRIBE not acknowledged within {self.limits.acknowledge_s:g} s"
        elif not self.verified and now_s - self._acknowledged_s > self.limits.verify_s:
            silent = ", ".join(stream_of(kind) for kind in self._silent_kinds())
            return f"acknowledged, but no first message of {silent} within {self.limits.verify_s:g} s (wrong route?)"
        return None

    def due(self, now_s: float) -> str | None:
        """Why it is time to open a successor, or None: old age, or a stream that fell silent while others flow.

        A stream that never delivered on this connection is no reason, so that a halted symbol costs one successor.
        """
        if now_s - self.opened_s > self.limits.rollover_s:
            return "old age"
        for symbol, since_s in self._awaited.items():
            if now_s - since_s > self.limits.depth_lag_s and (DEPTH, symbol) in self.heard:
                return f"{symbol.lower()}@{stream_of(DEPTH)} silent for {now_s - since_s:.0f} s after its price moved"
        trades_s = None
        for (kind, symbol), last_s in self.heard.items():
            if now_s - last_s > self.limits.silence_s.get(kind, math.inf):
                return f"{symbol.lower()}@{stream_of(kind)} silent for {now_s - last_s:.0f} s"
            if kind == AGG_TRADE:
                trades_s = max(last_s, trades_s or last_s)
        if trades_s is not None and now_s - trades_s > self.limits.trades_silence_s:
            return f"no aggTrade of any symbol for {now_s - trades_s:.0f} s"
        return None

    def silent_streams(self) -> list[str]:
        """Names of subscribed streams that never delivered (normal for forceOrder)."""
        return [
            f"{symbol.lower()}@{stream_of(kind)}"
            for kind in ROUTES[self.route]
            for symbol in self.symbols
            if (kind, symbol) not in self.heard
        ]

    def _silent_kinds(self) -> list[int]:
        heard = {kind for kind, _ in self.heard}
        return [kind for kind in ALWAYS_FLOWING[self.route] if kind not in heard]

    def _verify(self) -> None:
        self.verified = self._acknowledged_s is not None and not self._silent_kinds()


class Backoff:
    """Waiting times between attempts to connect: doubling with jitter, forgotten after a healthy connection.

    Args:
        first_s: first wait.
        max_s: longest wait; 300 attempts in 5 minutes are allowed per address.
        healthy_s: a connection that lived this long counts as healthy.
        jitter: returns a factor's random part in [0, 1).
    """

    def __init__(
        self,
        first_s: float = 0.5,
        max_s: float = 60.0,
        healthy_s: float = 60.0,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._first_s = first_s
        self._max_s = max_s
        self._healthy_s = healthy_s
        self._jitter = jitter
        self._failures = 0

    def after(self, lived_s: float) -> float:
        """Seconds to wait after a connection that lived `lived_s` (0 when it could not be opened)."""
        if lived_s >= self._healthy_s:
            self._failures = 0
        wait_s: float = min(self._max_s, self._first_s * 2.0 ** min(self._failures, 16))
        self._failures += 1
        return wait_s * (1.0 + 0.25 * self._jitter())
