"""Frames that cannot be used as what they claim to be: which those are, and that they are told.

Belongs here: whether an event time can be believed, counting and logging what was refused.
Does not belong here: keeping the frame (`intake`), reading one (`binance.ws.frames`).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from lake_resources.clock import MINUTE_MS

log = logging.getLogger(__name__)

AHEAD_MS = 5 * MINUTE_MS
EARLIEST_MS = 1_500_000_000_000
"""There was no exchange before."""
CONFIRMED_AFTER_S = 2.0
_SHOWN_BYTES = 200
_REMEMBERED_MINUTES = 60


class Unbelievable(ValueError):
    """An event time is before any exchange, or lies far ahead of all others."""


@dataclass
class EventTimes:
    """Tells an event time that would end all minutes before it from one that time has come to.

    Time never comes far ahead of both the local clock and all frames before it. Where it does all the same, the local
    clock is wrong (or a market is played on another one), and then all streams say so, and none contradicts. So such a
    time is believed when another stream agrees (in the beginning, when no time is known, also the same) and for two
    seconds no frame had the time that was known. What comes before that is refused.

    Attributes:
        newest_ms: the newest time that was believed.
    """

    newest_ms: int = 0
    _doubted: dict[tuple[int, str], int] = field(default_factory=dict)
    _since_s: float = 0.0

    def believe(self, stream: tuple[int, str], ms: int, local_ms: int, now_s: float) -> None:
        """Take the event time of a frame.

        Raises:
            Unbelievable: it is not that time.
        """
        if ms < EARLIEST_MS:
            raise Unbelievable(f"its time is {ms} ms")
        if ms <= self.newest_ms + AHEAD_MS or ms <= local_ms + AHEAD_MS:
            if self._doubted and ms >= self.newest_ms - AHEAD_MS:
                self._doubted.clear()
            self.newest_ms = max(self.newest_ms, ms)
            return
        if not self._doubted:
            self._since_s = now_s
        agreeing = [known for known, at_ms in self._doubted.items() if abs(at_ms - ms) <= AHEAD_MS]
        self._doubted[stream] = ms
        witnesses = [known for known in agreeing if known != stream or not self.newest_ms]
        if witnesses and now_s - self._since_s >= CONFIRMED_AFTER_S:
            log.warning("events are %.0f s ahead of the local clock, and all streams say so", (ms - local_ms) / 1000)
            self._doubted.clear()
            self.newest_ms = ms
            return
        raise Unbelievable(f"its time is {(ms - max(local_ms, self.newest_ms)) / 1000:.0f} s ahead of every other")


@dataclass
class RefusedFrames:
    """Counts refused frames by minute of arrival, and tells the first of each minute at once.

    Attributes:
        by_minute: epoch minute → how many, of the last hour that had any.
    """

    by_minute: dict[int, int] = field(default_factory=dict)

    def note(self, conn: int, payload: bytes, why: Exception, received_ns: int) -> None:
        """A frame was refused."""
        minute = received_ns // (MINUTE_MS * 1_000_000)
        if minute not in self.by_minute:
            if self.by_minute:
                last = max(self.by_minute)
                log.warning("%d frames were refused in the minute of the one told before", self.by_minute[last])
            shown = payload[:_SHOWN_BYTES].decode(errors="replace")
            log.warning("frame of socket %d refused (%s: %s): %s", conn, type(why).__name__, why, shown)
        self.by_minute[minute] = self.by_minute.get(minute, 0) + 1
        while len(self.by_minute) > _REMEMBERED_MINUTES:
            del self.by_minute[min(self.by_minute)]
