"""A plain WebSocket client for tests of the simulator, and Binance's order book procedure for futures.

Belongs here: reading frames, waiting for some of them. Does not belong here: any test, any code under test.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import orjson
from websockets.sync.client import ClientConnection, connect

Json = Any
PATIENCE_S = 60.0
"""How long a frame that must come may take: for machines with other work, no test depends on less."""


class Socket:
    """One connection, frames decoded."""

    def __init__(self, url: str, **given: Any) -> None:
        self._open = connect(url, proxy=None, max_size=None, max_queue=None, **given)
        self.raw: ClientConnection

    def __enter__(self) -> Socket:
        self.raw = self._open.__enter__()
        return self

    def __exit__(self, *exc: Any) -> None:
        self._open.__exit__(*exc)

    def say(self, method: str, *params: str, number: int | str | None = 1) -> None:
        self.raw.send(orjson.dumps({"method": method, "params": list(params), "id": number}).decode())

    def ask(self, method: str, *params: str, number: int | str = 1) -> Json:
        """Send a request and return its answer; frames of streams before it are dropped."""
        self.say(method, *params, number=number)
        return next(frame for frame in self.frames() if "id" in frame)

    def frames(self, within_s: float = PATIENCE_S) -> Iterator[Json]:
        """Decoded frames until none comes for so long or the connection ends."""
        while True:
            try:
                yield orjson.loads(self.raw.recv(within_s))
            except TimeoutError:
                return

    def until(self, done: Callable[[Json], bool], within_s: float = PATIENCE_S) -> list[Json]:
        """Frames up to the first one that is `done`.

        Raises:
            AssertionError: none came in time.
        """
        found = []
        ends = time.monotonic() + within_s
        while time.monotonic() < ends:
            try:
                found.append(orjson.loads(self.raw.recv(max(ends - time.monotonic(), 0.001))))
            except TimeoutError:
                break
            if done(found[-1]):
                return found
        raise AssertionError(f"no such frame among {len(found)}")

    def take(self, count: int, within_s: float = PATIENCE_S) -> list[Json]:
        """The next so many frames."""
        return [orjson.loads(self.raw.recv(within_s)) for _ in range(count)]

    def silent(self, for_s: float = 0.3) -> bool:
        """Whether nothing comes for so long."""
        try:
            self.raw.recv(for_s)
        except TimeoutError:
            return True
        return False


class LocalBook:
    """Binance's procedure for a local order book of futures."""

    def __init__(self, snapshot: Json) -> None:
        self.last = snapshot["lastUpdateId"]
        self.synced = False
        self.applied = 0
        self.bids = dict(snapshot["bids"])
        self.asks = dict(snapshot["asks"])

    def apply(self, event: Json) -> None:
        """One depth event.

        Raises:
            AssertionError: the chain is broken.
        """
        if not self.synced:
            if event["u"] < self.last:
                return
            assert event["U"] <= self.last <= event["u"], "the snapshot is older than the first event"
            self.synced = True
        else:
            assert event["pu"] == self.last, f"pu {event['pu']} after u {self.last}"
        self.last = event["u"]
        self.applied += 1
        for side, changes in ((self.bids, event["b"]), (self.asks, event["a"])):
            for price, quantity in changes:
                if float(quantity):
                    side[price] = quantity
                else:
                    side.pop(price, None)

    def best(self, levels: int) -> tuple[list[list[str]], list[list[str]]]:
        """The best levels of both sides."""
        bids = sorted(self.bids.items(), key=lambda level: -float(level[0]))
        asks = sorted(self.asks.items(), key=lambda level: float(level[0]))
        return [list(level) for level in bids[:levels]], [list(level) for level in asks[:levels]]
