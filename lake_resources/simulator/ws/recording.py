"""Recorded WebSocket files, and serving one again with its own timing or faster.

Belongs here: reading `<local stamp ns> <frame>` lines, the order and pace of a replay, the recorded REST snapshot of
the order book and the one rebuilt later. Does not belong here: seeded streams (frames.py), sockets.
"""

from __future__ import annotations

import gzip
import re
import zlib
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import orjson

from lake_resources.simulator.ws.names import stream_of

_MOST_AT_ONCE = 5_000
_STAMP = re.compile(rb"[0-9]{1,19}")
_UNITS = ((10**11, 10**9), (10**14, 10**6), (10**17, 10**3))


@dataclass(frozen=True)
class Recording:
    """Frames of a recorded connection.

    Attributes:
        stamp_ns: local receive time of each frame, ascending.
        name: stream of each frame, as recorded.
        body: payload of each frame, unwrapped and otherwise as it came.
        snapshots: REST snapshots of the order book by upper-case symbol, the first one of each.
        spot: a recording of the spot market.
    """

    stamp_ns: list[int]
    name: list[str]
    body: list[bytes]
    snapshots: dict[str, Any]
    spot: bool

    @property
    def symbols(self) -> set[str]:
        """Recorded symbols, upper case."""
        return {name.partition("@")[0].upper() for name in set(self.name)}


def read_recording(paths: Sequence[Path]) -> Recording:
    """Read files of one recording, plain or gzip, in the order of time.

    Args:
        paths: each line holds the local receive stamp (epoch s, ms, µs or ns, told by its size), a blank, and the
            frame: a combined frame or the answer of a REST depth request.

    Raises:
        ValueError: a line that is neither, a file that is no gzip although its name says so, or a snapshot where
            several symbols were recorded.
    """
    try:
        return _read(paths)
    except (EOFError, gzip.BadGzipFile, zlib.error, OSError) as error:
        raise ValueError(f"{', '.join(map(str, paths))}: cannot be read ({error})") from error


def _ns(stamp: bytes) -> int:
    """A stamp in ns; seconds, ms and µs are told by their size (their years 1973 to 5138)."""
    value = int(stamp)
    return next((value * factor for bound, factor in _UNITS if value < bound), value)


def _read(paths: Sequence[Path]) -> Recording:
    stamps: list[int] = []
    names: list[str] = []
    bodies: list[bytes] = []
    found: list[Any] = []
    for path in paths:
        with path.open("rb") as plain, gzip.open(plain) if path.suffix == ".gz" else plain as lines:
            for number, line in enumerate(lines, 1):
                stamp, _, frame = line.strip().partition(b" ")
                if not stamp:
                    continue
                if frame.startswith(b'{"stream":"') and _STAMP.fullmatch(stamp):
                    head, _, body = frame.partition(b'","data":')
                    stamps.append(_ns(stamp))
                    names.append(head.removeprefix(b'{"stream":"').decode(errors="replace"))
                    bodies.append(body[:-1])
                elif _STAMP.fullmatch(stamp) and frame.startswith(b'{"lastUpdateId"'):
                    found.append(orjson.loads(frame))
                else:
                    raise ValueError(f"{path}:{number}: neither a combined frame nor a depth snapshot after a stamp")
    order = sorted(range(len(stamps)), key=stamps.__getitem__)
    symbols = {name.partition("@")[0].upper() for name in set(names)}
    if found and len(symbols) != 1:
        raise ValueError(f"{paths[0]}: a depth snapshot does not name its symbol, and {len(symbols)} were recorded")
    return Recording(
        [stamps[at] for at in order],
        [names[at] for at in order],
        [bodies[at] for at in order],
        {symbol: found[0] for symbol in symbols if found},
        not any(b'"pu":' in body for body in bodies[:5_000]),
    )


def recorded_name(name: str) -> str:
    """The name under which a stream is looked up: any speed of the depth stream is the recorded one."""
    symbol, _, rest = name.partition("@")
    return f"{symbol}@depth" if rest.split("@")[0] == "depth" else name


class Replay:
    """A recording that is being served.

    It starts `settle_s` after the first of its streams was subscribed, so that a client with several sockets has
    time to open them all, and runs once; it is the same for all connections.

    Args:
        recording: what is served.
        speed: recorded seconds per second; 0 as fast as it can be sent.
        settle_s: pause between the first subscription and the first frame.
    """

    def __init__(self, recording: Recording, *, speed: float = 1.0, settle_s: float = 0.5) -> None:
        if speed < 0:
            raise ValueError(f"the speed of a replay must not be negative, not {speed}")
        self.recording = recording
        self.speed = speed
        self.position = 0
        self._settle_s = settle_s
        self._names = [recorded_name(name) for name in recording.name]
        self._known = set(self._names)
        self._symbols = recording.symbols
        self._starts_s: float | None = None
        self._books = {symbol: _Rebuilt(taken) for symbol, taken in recording.snapshots.items()}

    @property
    def done(self) -> bool:
        """Whether the last frame was sent."""
        return self.position >= len(self._names)

    def carries(self, name: str, route: str) -> bool:
        """Whether a stream of this name was recorded and comes on this route."""
        if recorded_name(name) not in self._known:
            return False
        plain = recorded_name(name) if name.partition("@")[2].startswith("depth@") else name
        return stream_of(plain, route, self._symbols) is not None and (route == "spot") == self.recording.spot

    def owns(self, symbol: str, *, spot: bool) -> bool:
        """Whether a symbol of one of the two markets is served from the recording alone."""
        return symbol in self._symbols and spot == self.recording.spot

    def subscribed(self, now_s: float) -> None:
        """Somebody listens; the first time starts the replay."""
        if self._starts_s is None:
            self._starts_s = now_s + self._settle_s

    def due(self, now_s: float) -> list[tuple[str, bytes]]:
        """Look-up name and payload of the frames to send now, in their order.

        Args:
            now_s: time of the event loop.
        """
        if self._starts_s is None or now_s < self._starts_s or self.done:
            return []
        stamps = self.recording.stamp_ns
        end = self.position + _MOST_AT_ONCE
        if self.speed:
            reached = stamps[0] + int((now_s - self._starts_s) * self.speed * 1e9)
            end = min(end, bisect_right(stamps, reached))
        chosen = slice(self.position, max(end, self.position))
        self.position = min(chosen.stop, len(stamps))
        return list(zip(self._names[chosen], self.recording.body[chosen], strict=True))

    def depth(self, symbol: str, limit: int) -> Any | None:
        """Answer of a REST depth request: first the recorded snapshot, later ones rebuilt up to the last frame sent.

        None where the recording holds no snapshot of the symbol.
        """
        book = self._books.get(symbol)
        if book is None:
            return None
        name = f"{symbol.lower()}@depth"
        sent = self.position

        def events(start: int) -> list[bytes]:
            return [self.recording.body[at] for at in range(start, sent) if self._names[at] == name]

        return book.answer(events, sent, limit)


class _Rebuilt:
    """The order book of a recording, thread-safe."""

    def __init__(self, snapshot: Any) -> None:
        self._snapshot = snapshot
        self._sides = {"b": dict(snapshot["bids"]), "a": dict(snapshot["asks"])}
        self._last = dict(snapshot)
        self._applied = 0
        self._asked = False
        self._lock = Lock()

    def answer(self, events: Any, sent: int, limit: int) -> Any:
        with self._lock:
            if not self._asked:
                self._asked = True
                return self._cut(self._snapshot, self._snapshot["bids"], self._snapshot["asks"], limit)
            for body in events(self._applied):
                self._apply(orjson.loads(body))
            self._applied = sent
            bids = sorted(self._sides["b"].items(), key=lambda level: -float(level[0]))
            asks = sorted(self._sides["a"].items(), key=lambda level: float(level[0]))
            return self._cut(self._last, bids, asks, limit)

    def _apply(self, event: Any) -> None:
        if event["u"] < self._last["lastUpdateId"]:
            return
        self._last["lastUpdateId"] = event["u"]
        self._last |= {name: event[name] for name in ("E", "T") if name in self._last and name in event}
        for side, levels in self._sides.items():
            for price, quantity in event[side]:
                if float(quantity):
                    levels[price] = quantity
                else:
                    levels.pop(price, None)

    @staticmethod
    def _cut(head: Any, bids: Sequence[Any], asks: Sequence[Any], limit: int) -> Any:
        return {
            **head,
            "bids": [list(level) for level in bids[:limit]],
            "asks": [list(level) for level in asks[:limit]],
        }
