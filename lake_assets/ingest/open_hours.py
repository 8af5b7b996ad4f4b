"""Hours of a window that are not in the lake as they should be: absent, not whole, or in quarantine.

Belongs here: finding them in the ledger, and whether declared holes explain them. Does not belong here: what is tried
again (`automation.healing`), what of it is a problem (`automation.health`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from lake_assets.ingest.streams import FEEDS, HOUR
from lake_assets.schema.holes import Hole, holes_of, known_holes
from lake_resources.storage.ledger import Ledger

_MINUTE = timedelta(minutes=1)
_REQUIRED = frozenset(name for name, feed in FEEDS.items() if feed.required)


@dataclass(frozen=True)
class OpenHours:
    """Hours of one symbol, each in one of the three.

    Attributes:
        absent: never committed, and not refused.
        incomplete: committed while they were open, and never since: their first missing minute and content hash.
        quarantined: refused by the gate, with the reason.
    """

    absent: tuple[datetime, ...]
    incomplete: Mapping[datetime, tuple[datetime, str]]
    quarantined: Mapping[datetime, str]


def open_hours(ledger: Ledger, symbol: str, start: datetime, end: datetime) -> OpenHours:
    """Open hours of `[start, end)`; both are whole hours, and `end` is so long ago that every hour could be whole."""
    if start >= end:
        return OpenHours((), {}, {})
    held = {row.hour: row for row in ledger.partition_facts(symbol, start, end)}
    refused = {row.hour: row.detail for row in ledger.quarantined(symbol, start, end)}
    every = (start + index * HOUR for index in range((end - start) // HOUR))
    return OpenHours(
        tuple(hour for hour in every if hour not in held and hour not in refused),
        {
            hour: (hour if row.max_ts is None else row.max_ts + _MINUTE, row.content_hash)
            for hour, row in held.items()
            if not row.complete and hour not in refused
        },
        refused,
    )


def declared_holes(ledger: Ledger, symbol: str, start: datetime, end: datetime) -> list[Hole]:
    """Holes of `[start, end)` in streams without which no hour can be built."""
    found = [
        *holes_of(known_holes(), symbol, start, end),
        *(Hole(**vars(hole)) for hole in ledger.known_holes(symbol, start, end)),
    ]
    return [hole for hole in found if hole.stream in _REQUIRED]


def explained(holes: Iterable[Hole], start: datetime, end: datetime) -> bool:
    """Whether holes of one stream cover all of `[start, end)`."""
    at = dict.fromkeys(_REQUIRED, start)
    for hole in sorted(holes, key=lambda hole: hole.start):
        if hole.start <= at[hole.stream]:
            at[hole.stream] = max(at[hole.stream], hole.end)
    return max(at.values()) >= end
