"""Frames that cannot be used as what they claim to be: which those are, and that they are told.

Belongs here: whether an event time can be believed, counting and logging what was refused.
Does not belong here: keeping the frame (`intake`), reading one (`binance.ws.frames`).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from lake_resources.clock import DAY_MS, MINUTE_MS

log = logging.getLogger(__name__)

AHEAD_MS = 5 * MINUTE_MS
BEHIND_MS = DAY_MS
"""No frame of a stream is so much older than one before it: each minute of event time has files of its own."""
EARLIEST_MS = 1_500_000_000_000
"""There was no exchange before."""
CONFIRMED_AFTER_S = 2.0
_SHOWN_BYTES = 200
_REMEMBERED_MINUTES = 60


class Unbelievable(ValueError):
    """An event time is before any exchange, lies far ahead of all others, or far behind those of its own stream."""


@dataclass
class EventTimes:
    """Tells an event time that would end all minutes before it from one that time has come to.

    Time never comes far ahead of both the local clock and all frames before it. Where it does all the same, the local
    clock is wrong (or a market is played on another one), and then all streams say so, and none contradicts. So such a
    time is believed when another stream agrees (in the beginning, when no time is known, also the same) and for two
    seconds no frame had the time that was known. What comes before that is refused. A stream that goes back by a day is
    believed when it has stayed there for two seconds: an exchange may be set back, and is played from a file again.

    Attributes:
        newest_ms: the newest time that was believed.
    """

    newest_ms: int = 0
    _doubted: dict[tuple[int, str], int] = field(default_factory=dict)
    _since_s: float = 0.0
    _latest: dict[tuple[int, str], int] = field(default_factory=dict)
    _earlier: dict[tuple[int, str], tuple[float, int]] = field(default_factory=dict)

    def believe(self, stream: tuple[int, str], ms: int, local_ms: int, now_s: float) -> None:
        """Take the event time of a frame.

        Raises:
            Unbelievable: it is not that time.
        """
        if ms < EARLIEST_MS:
            raise Unbelievable(f"its time is {ms} ms")
        latest = self._before(stream, ms, now_s)
        self._not_ahead(stream, ms, local_ms, now_s)
        self._latest[stream] = max(latest, ms)

    def _not_ahead(self, stream: tuple[int, str], ms: int, local_ms: int, now_s: float) -> None:
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

    def _before(self, stream: tuple[int, str], ms: int, now_s: float) -> int:
        """The newest time of the stream that a time may follow."""
        latest = self._latest.get(stream, 0)
        if ms < latest - BEHIND_MS:
            since_s, at_ms = self._earlier.get(stream, (now_s, ms))
            if abs(ms - at_ms) > AHEAD_MS:
                since_s = now_s
            self._earlier[stream] = since_s, ms
            if now_s - since_s < CONFIRMED_AFTER_S:
                raise Unbelievable(f"its time is {(latest - ms) / 1000:.0f} s behind the stream's")
            log.warning("a stream has gone back by %.0f s, and stays there", (latest - ms) / 1000)
            latest = 0
        self._earlier.pop(stream, None)
        return latest


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
