"""One WebSocket connection of a market as a state machine without sockets and without a clock.

Belongs here: what to send, what must be heard and until when, when to give up or to roll over. Does not belong here:
which streams live on which route (`subscriptions`), sockets and tasks (`lake_resources.collector`), the content of
frames (`frames`). Seconds are those of any steady clock; the caller passes them in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from lake_resources.binance.market import UM, Market
from lake_resources.binance.ws.frames import BOOK_TICKER, DEPTH
from lake_resources.binance.ws.subscriptions import names_of, sockets_by_kind, subscribed

NAMES_PER_REQUEST = 200


@dataclass(frozen=True)
class SessionLimits:
    """When a connection counts as bad or old, seconds.

    Attributes:
        acknowledge_s: a SUBSCRIBE must be answered within.
        verify_s: each flowing kind must bring a first message within, counted from the acknowledgement.
        stall_s: longest silence of the whole socket.
        rollover_s: age at which a successor is opened; Binance cuts at 24 h.
        overlap_s: how long both are read after the successor is verified.
        successor_s: a successor that is not verified within this is given up.
        silence_s: by kind, longest silence of one symbol's stream before a successor is opened, where it is another
            than the stream declares.
        depth_lag_s: longest silence of a symbol's depth after its best price moved, and so its depth, before that.
    """

    acknowledge_s: float = 10.0
    verify_s: float = 20.0
    stall_s: float = 10.0
    rollover_s: float = 23 * 3600.0
    overlap_s: float = 5.0
    successor_s: float = 60.0
    silence_s: Mapping[int, float] = field(default_factory=dict)
    depth_lag_s: float = 10.0


@dataclass
class StreamSession:
    """One connection from its opening to its end.

    Attributes:
        route: one of the market's, e.g. `public`.
        symbols: upper case.
        limits: deadlines.
        market: where the socket leads.
        opened_s: when it was opened.
        verified: every flowing kind was heard, and all requests were acknowledged.
        heard: newest message of each (kind, symbol), seconds.
    """

    route: str
    symbols: tuple[str, ...]
    limits: SessionLimits
    market: Market = UM
    opened_s: float = 0.0
    verified: bool = False
    heard: dict[tuple[int, str], float] = field(default_factory=dict)
    _awaited: dict[str, float] = field(default_factory=dict)
    _open_requests: set[int] = field(default_factory=set)
    _acknowledged_s: float | None = None
    _last_s: float = 0.0
    _failure: str | None = None

    def __post_init__(self) -> None:
        self._sockets = subscribed(self.market, self.route, len(self.symbols))
        # Of all routes: what comes is told by its frames, not by where it should have come.
        self._by_kind = sockets_by_kind(self.market.name)
        self._silence_s = {
            kind: self.limits.silence_s.get(kind, each.silence_s) for kind, each in self._by_kind.items()
        }

    def begin(self, now_s: float) -> None:
        """The connection is open: deadlines count from now."""
        self.opened_s = self._last_s = now_s

    def requests(self) -> list[bytes]:
        """What to send first: SUBSCRIBE, at most 200 names each (Binance allows 10 messages a second)."""
        names = names_of(self.market, self.route, self.symbols)
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
        if not known and symbol not in self.symbols:  # names of strangers must not fill memory
            return
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
            silent = ", ".join(self._by_kind[kind].name for kind in self._silent_kinds())
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
                name = f"{symbol.lower()}@{self._by_kind[DEPTH].name}"
                return f"{name} silent for {now_s - since_s:.0f} s after its price moved"
        newest_s: dict[int, float] = {}
        for (kind, symbol), last_s in self.heard.items():
            longest_s = self._silence_s[kind]
            if longest_s is not None and now_s - last_s > longest_s:
                return f"{symbol.lower()}@{self._by_kind[kind].name} silent for {now_s - last_s:.0f} s"
            newest_s[kind] = max(last_s, newest_s.get(kind, last_s))
        for kind, last_s in newest_s.items():
            each = self._by_kind[kind]
            if each.together_s is not None and now_s - last_s > each.together_s:
                return f"no {each.name} of any symbol for {now_s - last_s:.0f} s"
        return None

    def silent_streams(self) -> list[str]:
        """Names of subscribed streams that never delivered (normal for forceOrder)."""
        return [
            f"{symbol.lower()}@{each.name}"
            for each in self._sockets
            for symbol in self.symbols
            if (each.kind, symbol) not in self.heard
        ]

    def _silent_kinds(self) -> list[int]:
        heard = {kind for kind, _ in self.heard}
        return [each.kind for each in self._sockets if each.proves_route and each.kind not in heard]

    def _verify(self) -> None:
        self.verified = self._acknowledged_s is not None and not self._silent_kinds()
