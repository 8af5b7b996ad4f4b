"""The request limits of the simulated exchange: used weight per clock minute, 5-minute buckets, bans.

Belongs here: counting, refusing with 429, banning a caller that goes on, when a ban ends.
Does not belong here: what an endpoint costs (rest.py), scripted refusals (faults.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

FUTURES_BUCKET = "weight_1m"
SPOT_BUCKET = "spot_weight_1m"
DATA_BUCKET = "futures_data"
FUNDING_BUCKET = "funding"

_WINDOW_MS = {FUTURES_BUCKET: 60_000, SPOT_BUCKET: 60_000, DATA_BUCKET: 300_000, FUNDING_BUCKET: 300_000}
_LIMIT = {FUTURES_BUCKET: 2400, SPOT_BUCKET: 6000, DATA_BUCKET: 1000, FUNDING_BUCKET: 500}
_LONGEST_BAN_S = 3 * 86_400


@dataclass(frozen=True)
class LimitAnswer:
    """What the limits say about one request.

    Attributes:
        status: 200, 429 or 418.
        used: used amount of the bucket's window, this request included.
        retry_after_s: seconds to wait, 0 when served.
        banned_until_ms: end of the ban, 0 without one.
        limit: what the window allows.
    """

    status: int
    used: int
    retry_after_s: int = 0
    banned_until_ms: int = 0
    limit: int = 2400


class RateLimits:
    """Counts what one caller (one IP) used.

    Args:
        now_ms: clock of the windows and bans, epoch ms.
        refusals_before_ban: how many answers 429 in one window before the ban.
        first_ban_s: length of the first ban; each further one doubles, up to 3 days.
        enabled: False serves everything and still reports the used weight.
    """

    def __init__(
        self,
        now_ms: Callable[[], int],
        *,
        refusals_before_ban: int = 5,
        first_ban_s: int = 120,
        enabled: bool = True,
    ) -> None:
        self.enabled = enabled
        self._now_ms = now_ms
        self._refusals_before_ban = refusals_before_ban
        self._first_ban_s = first_ban_s
        self._lock = Lock()
        self.reset()

    def reset(self) -> None:
        """Forget all use and all bans."""
        with self._lock:
            self._window: dict[str, int] = {}
            self._used: dict[str, int] = {}
            self._refused: dict[str, int] = {}
            self._bans = 0
            self._banned_until_ms = 0

    def ban(self, seconds: float) -> int:
        """Start a ban now; returns its end, epoch ms."""
        with self._lock:
            self._banned_until_ms = max(self._banned_until_ms, self._now_ms() + round(seconds * 1000))
            return self._banned_until_ms

    def used(self, bucket: str) -> int:
        """Used amount of the bucket's current window."""
        with self._lock:
            return self._used.get(bucket, 0) if self._window.get(bucket) == self._window_of(bucket) else 0

    def _window_of(self, bucket: str) -> int:
        return self._now_ms() // _WINDOW_MS[bucket]

    def charge(self, bucket: str, cost: int) -> LimitAnswer:
        """Count one request and judge it. A refused request costs as well, as at Binance."""
        with self._lock:
            now, window = self._now_ms(), self._window_of(bucket)
            if self._window.get(bucket) != window:
                self._window[bucket], self._used[bucket], self._refused[bucket] = window, 0, 0
            if now < self._banned_until_ms:
                # A call during a ban lengthens it.
                self._banned_until_ms += 1000
                return self._banned(now, self._used[bucket])
            self._used[bucket] += cost
            used = self._used[bucket]
            if used <= _LIMIT[bucket] or not self.enabled:
                return LimitAnswer(200, used)
            self._refused[bucket] += 1
            if self._refused[bucket] > self._refusals_before_ban:
                length = min(self._first_ban_s * 2**self._bans, _LONGEST_BAN_S)
                self._bans += 1
                self._banned_until_ms = now + length * 1000
                return self._banned(now, used)
            to_next = ((window + 1) * _WINDOW_MS[bucket] - now + 999) // 1000
            return LimitAnswer(429, used, retry_after_s=to_next, limit=_LIMIT[bucket])

    def _banned(self, now: int, used: int) -> LimitAnswer:
        left = (self._banned_until_ms - now + 999) // 1000
        return LimitAnswer(418, used, retry_after_s=left, banned_until_ms=self._banned_until_ms)
