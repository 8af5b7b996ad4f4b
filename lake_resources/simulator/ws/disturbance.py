"""What the scripted faults do to one connection.

Belongs here: drops, stalls, lost, swapped, repeated, held and shifted frames. Does not belong here: the list of
faults (../faults.py), sockets. Nothing here is random.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from lake_resources.simulator.faults import Fault, FaultBook

Waiting = tuple[int, str, bytes]
"""Event time, stream name, payload."""

_TIMES = re.compile(rb'"([ET])":(\d{12,})')


@dataclass
class _State:
    """One fault on one connection."""

    fault: Fault
    streams: re.Pattern[str]
    begun: bool = False
    over: bool = False
    frames: int = 0
    losing: int = 0
    held: list[Waiting] = field(default_factory=list)


class Disturbance:
    """Applies the socket faults of a fault book to the frames of one connection.

    Args:
        faults: the faults in force; they may come and go while the connection is open.
        path: URL path of the connection.
        query: its raw query.
    """

    def __init__(self, faults: FaultBook, path: str, query: str) -> None:
        self._faults = faults
        self._path = path
        self._query = query
        self._states: dict[int, _State] = {}
        self.stalled = False
        self.cut_code: int | None = None

    @property
    def watching(self) -> bool:
        """Whether there is anything to apply or to take back."""
        return self._faults.has_socket_faults or bool(self._states)

    def apply(self, age_s: float, frames: list[Waiting]) -> list[Waiting]:
        """The frames that are sent instead.

        Args:
            age_s: age of the connection.
            frames: frames that are due, in order.
        """
        self.stalled = False
        found = self._faults.of_socket(self._path, self._query)
        for number in [number for number in self._states if number not in found]:
            frames = self._states.pop(number).held + frames
        for number, fault in found.items():
            state = self._states.setdefault(number, _State(fault, re.compile(fault.stream)))
            if age_s >= fault.after_s and not state.over:
                frames = self._one(number, state, age_s, frames)
        return frames

    def _one(self, number: int, state: _State, age_s: float, frames: list[Waiting]) -> list[Waiting]:
        fault = state.fault
        if fault.kind in ("ws_gap", "ws_reorder", "ws_duplicate"):
            return self._each(number, state, frames)
        if not state.begun:
            state.begun = True
            state.over = not self._faults.hit(number)
            if state.over:
                return frames
        ends = fault.duration_s > 0 and age_s >= fault.after_s + fault.duration_s
        state.over = ends or fault.kind == "ws_drop"
        if fault.kind == "ws_drop":
            self.cut_code = fault.code
            return frames
        if ends:
            held, state.held = state.held, []
            return held + frames
        return self._while(state, frames)

    def _while(self, state: _State, frames: list[Waiting]) -> list[Waiting]:
        """Faults that last: all matching frames while they are on."""
        fault = state.fault
        if fault.kind == "ws_stall" and not fault.stream:
            self.stalled = True
            return []
        mine = [bool(state.streams.search(name)) for _, name, _ in frames]
        if fault.kind == "ws_skew":
            return [
                (at, name, _shifted(body, fault.skew_ms)) if hit else (at, name, body)
                for (at, name, body), hit in zip(frames, mine, strict=True)
            ]
        if fault.kind == "ws_flood":
            return [
                each for each, hit in zip(frames, mine, strict=True) for _ in range(max(fault.factor, 1) if hit else 1)
            ]
        if fault.kind == "ws_hold":
            state.held += [each for each, hit in zip(frames, mine, strict=True) if hit]
        return [each for each, hit in zip(frames, mine, strict=True) if not hit]

    def _each(self, number: int, state: _State, frames: list[Waiting]) -> list[Waiting]:
        """Faults of single frames: each n-th of the matching ones."""
        fault = state.fault
        sent: list[Waiting] = []
        for each in frames:
            if not state.streams.search(each[1]):
                sent.append(each)
                continue
            if state.losing:
                state.losing -= 1
                continue
            if state.held:
                sent += [each, *state.held]
                state.held = []
                continue
            state.frames += 1
            if state.frames % max(fault.every, 1) or not self._faults.hit(number):
                sent.append(each)
            elif fault.kind == "ws_gap":
                state.losing = max(fault.count, 1) - 1
            elif fault.kind == "ws_duplicate":
                sent += [each, each]
            else:
                state.held = [each]
        return sent


def _shifted(body: bytes, by_ms: int) -> bytes:
    return _TIMES.sub(lambda found: b'"%s":%d' % (found[1], int(found[2]) + by_ms), body)
