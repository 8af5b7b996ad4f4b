"""What was tried lately, so that nothing is tried twice within its backoff.

Belongs here: the memory of attempts as a sensor's cursor. Does not belong here: what is worth trying.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from lake_resources.backoff import Backoff


@dataclass(frozen=True)
class Attempt:
    """How often something was tried without any change, when last, and what its state was then.

    Attributes:
        count: attempts since the state last changed.
        at: the last one, UTC.
        state: a fingerprint; when it is another one now, the attempt was not in vain.
    """

    count: int
    at: datetime
    state: str


@dataclass
class Attempts:
    """Attempts by name."""

    entries: dict[str, Attempt] = field(default_factory=dict)

    @classmethod
    def load(cls, text: str | None) -> Attempts:
        """Read what `dump` wrote; nothing, or another format, is an empty memory."""
        try:
            rows: Mapping[str, tuple[int, str, str]] = json.loads(text or "{}")
            return cls(
                {key: Attempt(int(n), datetime.fromisoformat(at), state) for key, (n, at, state) in rows.items()}
            )
        except (ValueError, TypeError, AttributeError):
            return cls()

    def dump(self) -> str:
        """JSON for a cursor; the same memory gives the same text."""
        rows = {key: [entry.count, entry.at.isoformat(), entry.state] for key, entry in self.entries.items()}
        return json.dumps(rows, sort_keys=True, separators=(",", ":"))

    def ready(self, key: str, state: str, now: datetime, backoff: Backoff) -> bool:
        """Whether something may be tried: never tried, changed since, or its backoff is over.

        An attempt that lies ahead was noted before the clock was set back, and keeps nothing waiting for that long.
        """
        held = self.entries.get(key)
        if held is None or held.state != state or now < held.at:
            return True
        return now - held.at >= backoff.after(held.count)

    def tried(self, key: str, state: str) -> bool:
        """Whether something was tried in this state, however long ago."""
        held = self.entries.get(key)
        return held is not None and held.state == state

    def note(self, key: str, state: str, now: datetime) -> None:
        """Remember an attempt made now."""
        held = self.entries.get(key)
        count = held.count + 1 if held is not None and held.state == state else 1
        self.entries[key] = Attempt(count, now, state)

    def forget_before(self, instant: datetime) -> None:
        """Drop attempts older than `instant`, so that the memory does not grow."""
        self.entries = {key: entry for key, entry in self.entries.items() if entry.at >= instant}

    def keep(self, keys: Iterable[str]) -> None:
        """Drop all attempts but those of some names."""
        wanted = set(keys)
        self.entries = {key: entry for key, entry in self.entries.items() if key in wanted}
