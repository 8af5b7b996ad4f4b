"""How long to wait before something is tried again: the one doubling of the project, made of tenacity's waits.

Belongs here: the doubling with its longest wait and jitter, and forgetting failures after health.
Does not belong here: what is worth trying again, sleeping, the retries of a call (`http.retrying`).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta

import tenacity

_ANY = tenacity.Retrying()


class Backoff:
    """Waits that double: `first_s`, 2 x `first_s`, … up to `longest_s`, each with jitter on top.

    Args:
        first_s: wait after the first failure, seconds.
        longest_s: no wait is longer, but for its jitter.
        jitter: share of the wait that is added at most, so that many do not come back at once.
        chance: returns a number in [0, 1).
    """

    def __init__(
        self, first_s: float, longest_s: float, *, jitter: float = 0.0, chance: Callable[[], float] = random.random
    ) -> None:
        self._doubling = tenacity.wait_exponential(multiplier=first_s, max=longest_s)
        self._jitter = jitter
        self._chance = chance

    def after_s(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row; none after none."""
        if failures <= 0:
            return 0.0
        state = tenacity.RetryCallState(_ANY, None, (), {})
        state.attempt_number = failures
        return self._doubling(state) * (1.0 + self._jitter * self._chance())

    def after(self, failures: int) -> timedelta:
        """The same as a duration."""
        return timedelta(seconds=self.after_s(failures))


class Reconnecting:
    """Waits between attempts to keep something alive, forgotten once it lived for long enough.

    Args:
        backoff: how long they are.
        healthy_s: what lived this long was healthy.
    """

    def __init__(self, backoff: Backoff, healthy_s: float = 60.0) -> None:
        self._backoff = backoff
        self._healthy_s = healthy_s
        self._failures = 0

    def after_s(self, lived_s: float) -> float:
        """Seconds to wait after it lived for `lived_s` (0 when it could not begin)."""
        if lived_s >= self._healthy_s:
            self._failures = 0
        self._failures += 1
        return self._backoff.after_s(self._failures)
