"""The exchange's clock: the machine's, an injected one, shifted, frozen or faster.

Belongs here: what "now" is for the simulated exchange. Does not belong here: the clock of the request limits,
which runs on unless one is injected, so that a frozen market does not freeze the weight window.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from threading import Lock

from lake_resources.clock import Clock


class SimClock:
    """A clock that can be frozen, shifted and run faster; thread-safe.

    Args:
        base: where time comes from.
        speed: seconds of the exchange per second of `base`.
    """

    def __init__(self, base: Clock, speed: float = 1.0) -> None:
        if speed <= 0:
            raise ValueError(f"the speed of a clock must be above 0, not {speed}")
        self.speed = speed
        self._base = base
        self._anchor = base()
        self._frozen: datetime | None = None
        self._offset = timedelta(0)
        self._lock = Lock()

    def now(self) -> datetime:
        """The exchange's current instant, UTC."""
        with self._lock:
            return self._frozen or self._running() + self._offset

    def _running(self) -> datetime:
        return self._anchor + (self._base() - self._anchor) * self.speed if self.speed != 1 else self._base()

    def now_ms(self) -> int:
        """The same in epoch milliseconds."""
        return int(self.now().timestamp() * 1000)

    def freeze(self, at: datetime) -> None:
        """Stand still at an instant (naive means UTC)."""
        with self._lock:
            self._frozen = at if at.tzinfo else at.replace(tzinfo=UTC)

    def offset(self, by: timedelta) -> None:
        """Run, shifted against the base clock."""
        with self._lock:
            self._frozen, self._offset = None, by

    def run_from(self, at: datetime) -> None:
        """Run on from an instant (naive means UTC)."""
        with self._lock:
            start = at if at.tzinfo else at.replace(tzinfo=UTC)
            self._frozen, self._offset = None, start - self._running()

    def advance(self, by: timedelta) -> None:
        """Move on: a frozen clock jumps and stays frozen, a running one is shifted further."""
        with self._lock:
            if self._frozen:
                self._frozen += by
            else:
                self._offset += by

    def state(self) -> dict[str, object]:
        """For the control endpoint."""
        now = self.now()
        with self._lock:
            return {
                "now": now.isoformat(),
                "frozen": self._frozen is not None,
                "offset_s": self._offset.total_seconds(),
            }
