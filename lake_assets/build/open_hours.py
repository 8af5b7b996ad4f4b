"""Partitions of a window that are not in the lake as they should be: absent, not whole, or in quarantine.

Belongs here: finding them in the ledger. Does not belong here: what is tried again (`automation.healing`), what of it
is a problem (`automation.health`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from lake_resources.storage.ledger.ledger import Ledger


@dataclass(frozen=True)
class OpenHours:
    """Partitions of one symbol, hours or days as the table has them, each in one of the three.

    Attributes:
        absent: never committed, and not refused.
        incomplete: committed while they were open, and never since: their first missing row and content hash.
        quarantined: refused by the gate, with the reason.
    """

    absent: tuple[datetime, ...]
    incomplete: Mapping[datetime, tuple[datetime, str]]
    quarantined: Mapping[datetime, str]


def open_hours(ledger: Ledger, symbol: str, start: datetime, end: datetime) -> OpenHours:
    """Open partitions of `[start, end)` of the table that the ledger is on.

    Both are starts of partitions, and `end` is so long ago that every partition before it could be whole. None of those
    in which the symbol is not traded, by its listing, is open.
    """
    if start >= end:
        return OpenHours((), {}, {})
    every = list(ledger.layout.between(start, end))
    untraded = ledger.untraded(symbol, every)
    every = [hour for hour in every if hour not in untraded]
    held = {row.start: row for row in ledger.partition_facts(symbol, start, end) if row.start not in untraded}
    refused = {row.start: row.detail for row in ledger.quarantined(symbol, start, end) if row.start not in untraded}
    return OpenHours(
        tuple(hour for hour in every if hour not in held and hour not in refused),
        {
            hour: (hour if row.max_ts is None else row.max_ts + ledger.layout.grain, row.content_hash)
            for hour, row in held.items()
            if not row.complete and hour not in refused
        },
        refused,
    )
