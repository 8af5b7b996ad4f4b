"""The weight governor: one budget of exchange requests for all that share an address, and the memory of bans.

Belongs here: what is granted, waiting, bans. Does not belong here: where it is counted (`governor_counts`), the limits
and what a request costs (`binance.market`), what an answer means (`answers`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from lake_resources.binance.market import BUCKETS
from lake_resources.clock import MINUTE_MS, Clock, epoch_ms, from_epoch_ms, system_clock
from lake_resources.errors import Banned, SettingsError
from lake_resources.governor_counts import Counts, FileCounts
from lake_resources.settings_values import GovernorPlace

# An answer that left the exchange this shortly before now belongs to the minute that just ended.
EDGE_MS = 2_500


class WeightGovernor:
    """Grants requests so that all processes sharing a place together stay below `share` of each limit.

    The hosts' clocks must be kept by NTP: windows follow the UTC clock minute, as the exchange's do.

    Args:
        place: where it counts: a SQLite file of this host, created when absent, or what hosts of one address share.
        clock: the current instant.
        share: part of each limit that may be used, in (0, 1].
        sleep: takes seconds.
    """

    def __init__(
        self,
        place: Path | GovernorPlace,
        clock: Clock = system_clock,
        share: float = 0.8,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._counts = _counts_at(place)
        self._clock = clock
        self._sleep = sleep
        self._allowed = {name: int(bucket.capacity * share) for name, bucket in BUCKETS.items()}

    def acquire(self, host: str, bucket: str, cost: int) -> None:
        """Count `cost` against `bucket`, sleeping until it fits.

        Args:
            host: `host:port` of the exchange.
            bucket: name of one of the markets' buckets.
            cost: weight of the request (or 1, for the buckets that count requests).

        Raises:
            Banned: a ban of this host has not ended.
            SettingsError: the share is too small for this request ever to fit.
        """
        allowed = self._allowed[bucket]
        if cost > allowed:
            raise SettingsError(
                f"A request of cost {cost} never fits into {allowed} of bucket {bucket}",
                remedy="Raise LAKE_WEIGHT_SHARE",
            )
        awake_ms = 0
        while True:
            wake_ms = self._try_acquire(host, bucket, cost, allowed, awake_ms)
            if wake_ms is None:
                return
            now_ms = max(self._now_ms(), awake_ms)
            self._sleep(max(wake_ms - now_ms, 1) / 1000)
            # A clock that stands still in a test must not hang: what was slept has passed.
            awake_ms = max(wake_ms, now_ms)

    def _try_acquire(self, host: str, bucket: str, cost: int, allowed: int, awake_ms: int) -> int | None:
        """None when granted, else the epoch ms at which to try again."""
        with self._counts.transaction() as counted:
            # Read under the lock, so that two processes cannot enter their minutes in the wrong order.
            now_ms = max(self._now_ms(), awake_ms)
            stops = counted.stops(host)
            ban_ms, pause_ms = stops.get("ban", 0), stops.get("pause", 0)
            if ban_ms > now_ms:
                raise Banned(host, f"banned until {_iso(ban_ms)}", until_ms=ban_ms)
            if pause_ms > now_ms:
                return pause_ms
            minute = now_ms // MINUTE_MS
            oldest = minute - BUCKETS[bucket].minutes + 1
            # Up to one minute ahead: the clock may have stepped back since another process counted.
            if counted.spent(host, bucket, oldest, minute + 1) + cost > allowed:
                return (minute + 1) * MINUTE_MS
            if not counted.add(host, bucket, minute, cost):
                counted.forget(host, bucket, oldest)
            return None

    def observe(self, host: str, bucket: str, used_weight: int, answered_at: datetime | None = None) -> None:
        """Raise the counter of the running minute to what the exchange says was used.

        Args:
            host: `host:port` of the exchange.
            bucket: name of a market's budget of request weight.
            used_weight: header `X-MBX-USED-WEIGHT-1M`.
            answered_at: the answer's `Date`. An answer of the minute that just ended says nothing of this one.
        """
        with self._counts.transaction() as counted:
            now_ms = self._now_ms()
            minute = now_ms // MINUTE_MS
            if answered_at is not None:
                answered_ms = epoch_ms(answered_at)
                if answered_ms // MINUTE_MS == minute - 1 and now_ms - answered_ms < EDGE_MS:
                    return
            counted.raise_to(host, bucket, minute, used_weight)

    def pause(self, host: str, until_ms: int) -> None:
        """Let nobody call `host` before `until_ms` (after a 429); acquire waits."""
        self._stop(host, "pause", until_ms)

    def ban(self, host: str, until_ms: int) -> None:
        """Remember on disk that `host` banned this address until `until_ms`; acquire raises."""
        self._stop(host, "ban", until_ms)

    def used(self, host: str, bucket: str) -> int:
        """What is counted in the running window of `bucket`."""
        with self._counts.transaction() as counted:
            minute = self._now_ms() // MINUTE_MS
            return counted.spent(host, bucket, minute - BUCKETS[bucket].minutes + 1, minute + 1)

    def close(self) -> None:
        """Close connections; the next call opens them again."""
        self._counts.close()

    def _stop(self, host: str, kind: str, until_ms: int) -> None:
        with self._counts.transaction(durable=True) as counted:
            counted.stop(host, kind, until_ms)

    def _now_ms(self) -> int:
        return epoch_ms(self._clock())


def _counts_at(place: Path | GovernorPlace) -> Counts:
    if isinstance(place, Path):
        return FileCounts(place)
    if not place.url:
        return FileCounts(place.path)
    # Only here: one host does not pay for loading it, nor needs it installed.
    try:
        from lake_resources.governor_postgres import ServerCounts
    except ImportError as error:
        raise SettingsError(
            "LAKE_EGRESS_ID is set, and the driver of Postgres is not installed",
            remedy="Install what several machines need: pip install 'minute-lake[scale]'",
        ) from error

    return ServerCounts(place.url, place.egress_id)


def _iso(epoch_ms: int) -> str:
    return from_epoch_ms(epoch_ms).isoformat(timespec="seconds")
