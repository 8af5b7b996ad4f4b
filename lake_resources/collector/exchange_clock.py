"""The exchange's clock as its trades show it, and how long frames take: what frames without a time are placed by.

Belongs here: the offset of the local clock, latencies of a minute. Does not belong here: records of them (`intake`).
The shortest time from the exchange's stamp to the receipt, over the last minute, is what the clocks differ by, plus the
shortest way of a frame: a frame is placed where a trade that took the shortest way at that moment would have its stamp.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

_SECOND_NS = 1_000_000_000
_WINDOW_S = 60
_MOST_SAMPLES = 4096


@dataclass
class ExchangeClock:
    """Learns from frames that carry the exchange's time.

    Attributes:
        offset_ns: exchange's clock minus the local one; None while no frame with a time was heard. It changes in
            `settle` alone.
    """

    offset_ns: int | None = None
    _seconds: deque[tuple[int, int]] = field(default_factory=deque)

    def heard(self, received_ns: int, sent_ms: int) -> None:
        """A frame was received that says when it was sent."""
        took = received_ns - sent_ms * 1_000_000
        second = received_ns // _SECOND_NS
        if self._seconds and self._seconds[-1][0] == second:
            if took < self._seconds[-1][1]:
                self._seconds[-1] = second, took
        else:
            self._seconds.append((second, took))
            while self._seconds[0][0] <= second - _WINDOW_S:
                self._seconds.popleft()

    def settle(self) -> bool:
        """Take over what was learnt; True where the offset is another one now."""
        offset = -min(took for _, took in self._seconds) if self._seconds else None
        changed = offset != self.offset_ns
        self.offset_ns = offset
        return changed


@dataclass
class Latencies:
    """Times from the exchange's stamp to the receipt, ms, of one minute; thinned out evenly where they are many."""

    _samples: list[int] = field(default_factory=list)
    _every: int = 1
    _count: int = 0
    _largest: int | None = None

    def note(self, ms: int) -> None:
        """One frame took so long."""
        self._count += 1
        if self._largest is None or ms > self._largest:
            self._largest = ms
        if self._count % self._every == 0:
            self._samples.append(ms)
            if len(self._samples) >= _MOST_SAMPLES:
                del self._samples[::2]
                self._every *= 2

    def take(self) -> dict[str, int] | None:
        """Median, 95th percentile, longest and number of the minute that ends, which is forgotten; None of nothing."""
        if self._largest is None:
            return None
        held = sorted(self._samples) or [self._largest]
        found = {
            "p50": held[len(held) // 2],
            "p95": held[len(held) * 95 // 100],
            "max": self._largest,
            "frames": self._count,
        }
        self._samples, self._every, self._count, self._largest = [], 1, 0, None
        return found
