"""Scripted faults: which requests go wrong, how, and how often.

Belongs here: the list of faults, matching them to requests, and what they do to rows.
Does not belong here: sending the broken answer (server.py), zips (vision.py). Nothing here is random.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from threading import Lock
from typing import Any

import numpy as np

from lake_resources.simulator.market.rng import Ints
from lake_resources.simulator.market.trades import Mask

HOSTILE_KINDS = ("endless", "trickle", "packed")
"""A body without end, one byte each `delay_s` without end, gzip that inflates to `size_mib` in one text."""
RESPONSE_KINDS = ("429", "418", "451", "403", "5xx", "refused", "slow", "cut", "garbage", *HOSTILE_KINDS)
"""The answer as a whole goes wrong, on any path."""
ARCHIVE_KINDS = (
    "late",
    "missing",
    "truncated",
    "flipped",
    "republished",
    "wrong_checksum",
    "headerless",
    "header",
    "garbled",
    "lost_byte",
    "unix_lines",
    "inflating",
    "crowded",
)
"""An archive file goes wrong; its path is matched without `.CHECKSUM`."""
ROW_KINDS = ("missing_minutes", "duplicated", "unordered", "microseconds", "scaled", "shifted", "moved")
"""Rows go wrong, in archives and in REST answers (`microseconds` and `moved` in archives only)."""
MISTAKEN_KINDS = ("other_day", "other_symbol")
"""Rows of the day before (in a file of a month of the month before), or of the symbol `body`, in the name of what was
asked for; in archives and in REST answers. With `start` or `end`: rows of the symbol `body` in that range, beside the
own ones."""
SOCKET_REFUSED = ("ws_refuse",)
"""A WebSocket is not opened: the handshake is answered with `status` and `body`."""
SOCKET_KINDS = ("ws_drop", "ws_stall", "ws_hold", "ws_flood", "ws_skew", "ws_gap", "ws_reorder", "ws_duplicate")
"""An open WebSocket goes wrong. The first five begin once per connection, `after_s` after it opened (or as soon as
they are added to an older one), and `times` counts connections; the last three hit each n-th matching frame."""
CHART_KINDS = ("empty",)
"""Yahoo's chart API answers without any minute."""
KINDS = RESPONSE_KINDS + CHART_KINDS + ARCHIVE_KINDS + ROW_KINDS + MISTAKEN_KINDS + SOCKET_REFUSED + SOCKET_KINDS


@dataclass(frozen=True)
class Fault:
    """One scripted fault.

    Attributes:
        kind: one of `KINDS`.
        path: regular expression searched in the URL path.
        query: regular expression searched in the raw query string.
        times: how many matching requests go wrong, None for all until it is removed. Archive faults count
            downloads of the zip, `wrong_checksum` counts those of the CHECKSUM.
        skip: how many matching requests pass before the first that goes wrong.
        status: status of `5xx` (any code, also 408) and of `refused` (any, also 200).
        body: text of the body of `5xx`, `refused` or `garbage`; `other_symbol`: which.
        retry_after_s: `429`: the header, 0 sends none; `418`: length of the ban.
        delay_s: `slow`: wait before the answer; `trickle`: between two bytes.
        fraction: `cut`, `truncated`: share of the body that is sent; `lost_byte`: where before the directory.
        hours: `late`: published so much later.
        since: `republished`: exchange time from which the new content is served; None from the start.
        start, end: `missing_minutes`: half-open range of row times; for other row faults, and for `garbled` (one
            value of each row is no number), an optional restriction.
        column, by: `scaled`: the values of this column of the file, or of this element of a row of REST (a position as
            text, or a name), of each `every`-th row of the range, times that. `shifted`: each row of the range has the
            time of the row after it, the last that of the first. `moved`: all times of each row of the range are so
            many seconds later.
        every: `duplicated`: each n-th row comes twice; `ws_gap`, `ws_reorder`, `ws_duplicate`: each n-th frame;
            `inflating`: 0 makes it one line.
        size_mib: `packed`, `inflating`: what it inflates to.
        matching: `truncated`, `flipped`, `lost_byte`, `unix_lines`: the CHECKSUM agrees with the damaged bytes.
        stream: WebSocket: regular expression searched in the stream name. A `ws_stall` with one silences only these
            streams; without one the whole connection, pongs included, stays open and silent.
        after_s: WebSocket: age of the connection, in machine seconds, from which the fault works.
        duration_s: `ws_stall`, `ws_hold`, `ws_flood`, `ws_skew`: how long, 0 for ever. What a stall swallowed is lost;
            what `ws_hold` kept comes at once at the end.
        factor: `ws_flood`: each frame comes so often.
        count: `ws_gap`: frames lost in a row; `crowded`: members of the zip.
        skew_ms: `ws_skew`: added to `E` and `T`.
        code: `ws_drop`: close code; 0 cuts the connection without a closing handshake. `refused`: the error's code.
    """

    kind: str
    path: str = ""
    query: str = ""
    times: int | None = None
    skip: int = 0
    status: int = 503
    body: str = "Service Unavailable."
    retry_after_s: float = 60.0
    delay_s: float = 1.0
    fraction: float = 0.5
    hours: float = 24.0
    since: datetime | None = None
    start: datetime | None = None
    end: datetime | None = None
    every: int = 10
    size_mib: int = 64
    column: str = ""
    by: float = 0.0
    matching: bool = False
    stream: str = ""
    after_s: float = 0.0
    duration_s: float = 0.0
    factor: int = 10
    count: int = 1
    skew_ms: int = 0
    code: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown fault kind {self.kind!r}; one of: {', '.join(KINDS)}")
        for pattern in (self.path, self.query, self.stream):
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"fault {self.kind}: {pattern!r} is no regular expression: {error}") from error
        for name in ("since", "start", "end"):
            value = getattr(self, name)
            if value is not None and value.tzinfo is None:
                object.__setattr__(self, name, value.replace(tzinfo=UTC))

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Fault:
        """A fault from decoded JSON; times are ISO 8601 texts.

        Raises:
            ValueError: an unknown field or kind, or a time that cannot be read.
        """
        known = {each.name for each in fields(cls)}
        if unknown := set(given) - known:
            raise ValueError(f"unknown fault fields {sorted(unknown)}; known: {sorted(known)}")
        times = {
            name: datetime.fromisoformat(given[name])
            for name in ("since", "start", "end")
            if given.get(name) is not None
        }
        return cls(**{**given, **times})


@dataclass
class _Entry:
    number: int
    fault: Fault
    seen: int = 0
    hits: int = 0
    pattern: re.Pattern[str] = field(init=False)
    query: re.Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        self.pattern, self.query = re.compile(self.fault.path), re.compile(self.fault.query)

    def matches(self, path: str, query: str) -> bool:
        return bool(self.pattern.search(path) and self.query.search(query))

    def armed(self) -> bool:
        return self.seen >= self.fault.skip and (self.fault.times is None or self.hits < self.fault.times)


class FaultBook:
    """The faults in force, in the order they were added; thread-safe."""

    def __init__(self) -> None:
        self._entries: list[_Entry] = []
        self._next = 1
        self._lock = Lock()
        self.has_socket_faults = False

    def add(self, fault: Fault) -> int:
        """Arm a fault; returns its number."""
        with self._lock:
            self._entries.append(_Entry(self._next, fault))
            self._next += 1
            self._note_sockets()
            return self._next - 1

    def remove(self, number: int) -> bool:
        """Disarm one fault; False where there is none with this number."""
        with self._lock:
            before = len(self._entries)
            self._entries = [entry for entry in self._entries if entry.number != number]
            self._note_sockets()
            return len(self._entries) < before

    def clear(self) -> None:
        """Disarm all faults."""
        with self._lock:
            self._entries.clear()
            self._note_sockets()

    def _note_sockets(self) -> None:
        self.has_socket_faults = any(entry.fault.kind in SOCKET_KINDS for entry in self._entries)

    def of_socket(self, path: str, query: str) -> dict[int, Fault]:
        """The faults of open WebSockets that match one, by number, used up or not."""
        with self._lock:
            return {
                entry.number: entry.fault
                for entry in self._entries
                if entry.fault.kind in SOCKET_KINDS and entry.matches(path, query)
            }

    def hit(self, number: int) -> bool:
        """Count one chance of a fault to work; False where it passes this one by or is used up."""
        with self._lock:
            entry = next((each for each in self._entries if each.number == number), None)
            if entry is None:
                return False
            armed = entry.armed()
            entry.seen += 1
            entry.hits += armed
            return armed

    def state(self) -> list[dict[str, Any]]:
        """The faults with their counts, for the control endpoint."""
        with self._lock:
            return [{"id": e.number, "seen": e.seen, "hits": e.hits, **asdict(e.fault)} for e in self._entries]

    def hits(self, number: int) -> int:
        """How many requests a fault has hit."""
        with self._lock:
            return next((entry.hits for entry in self._entries if entry.number == number), 0)

    def take(self, kinds: Sequence[str], path: str, query: str = "", *, count: bool = True) -> list[Fault]:
        """The armed faults of these kinds that match a request.

        Args:
            kinds: kinds to look for.
            path: path of the request.
            query: raw query of the request.
            count: False only looks (a CHECKSUM request must see the same file as the download after it).
        """
        found = []
        with self._lock:
            for entry in self._entries:
                if entry.fault.kind not in kinds or not entry.matches(path, query):
                    continue
                if entry.armed():
                    found.append(entry.fault)
                    entry.hits += count
                entry.seen += count
        return found

    def first(self, kinds: Sequence[str], path: str, query: str) -> Fault | None:
        """The first armed fault of these kinds that matches; only that one is counted."""
        with self._lock:
            for entry in self._entries:
                if entry.fault.kind in kinds and entry.matches(path, query):
                    armed = entry.armed()
                    entry.seen += 1
                    if armed:
                        entry.hits += 1
                        return entry.fault
        return None


def touched(fault: Fault, time_ms: Ints) -> Mask:
    """Mask of the rows, given their times, that lie in a fault's range."""
    low = fault.start.timestamp() * 1000 if fault.start else -np.inf
    high = fault.end.timestamp() * 1000 if fault.end else np.inf
    return np.asarray((time_ms >= low) & (time_ms < high))


def scaled_rows(fault: Fault, time_ms: Ints) -> Mask:
    """Mask of the rows whose values a fault scales."""
    inside = touched(fault, time_ms)
    return np.asarray(inside & (np.cumsum(inside) % max(fault.every, 1) == 0))


def shifted_rows(fault: Fault, time_ms: Ints) -> Ints:
    """Row numbers from which each row has all but its time, after a shift."""
    order = np.arange(len(time_ms))
    inside = touched(fault, time_ms)
    order[inside] = np.roll(order[inside], 1)
    return order


def damaged_order(faults: Sequence[Fault], time_ms: Ints) -> Ints:
    """Row numbers to deliver, in order, after the row faults.

    Args:
        faults: faults of row kinds, others are ignored.
        time_ms: time of each row.
    """
    order = np.arange(len(time_ms))
    for fault in faults:
        inside = touched(fault, time_ms[order])
        if fault.kind == "missing_minutes":
            order = order[~inside]
        elif fault.kind == "duplicated":
            twice = inside & (np.cumsum(inside) % max(fault.every, 1) == 0)
            order = np.repeat(order, 1 + twice)
        elif fault.kind == "unordered":
            order[inside] = order[inside][::-1].copy()
    return order
