"""Which commits of the resident builder Dagster is told at this tick.

Belongs here: the rule, its memory in the sensor's cursor. Does not belong here: recording events (`jobs.told_commits`),
building.

A commit is told once. The open hour is told at most every five minutes, and once more when it is sealed, so that a day
of it is some hundred events and not thousands.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from lake_assets.automation.attempts import Attempts
from lake_resources.storage.ledger.ledger import Partition

TOLD_EVERY = timedelta(minutes=5)
"""Of an hour that is not sealed."""


@dataclass(frozen=True)
class ToldHour:
    """What Dagster shows of an hour.

    Attributes:
        content: first 16 characters of the content hash.
        expected_rows: rows that had to exist then.
        at: when it was told, UTC.
    """

    content: str
    expected_rows: int
    at: datetime

    def shows(self, row: Partition) -> bool:
        """Whether this is what is committed."""
        return (self.content, self.expected_rows) == (row.content_hash[:16], row.expected_rows)


def due_reports(rows: Iterable[Partition], told: Mapping[datetime, ToldHour], now: datetime) -> list[Partition]:
    """Commits of one symbol that Dagster is to be told now, in order.

    Args:
        rows: what is committed.
        told: what Dagster shows, by hour; hours that are not known are left out.
        now: the moment of the tick, UTC.
    """
    return [row for row in rows if _is_due(row, told.get(row.start), now)]


def due_together(
    held: Mapping[str, Sequence[Partition]], told: Mapping[str, Mapping[datetime, ToldHour]], now: datetime
) -> dict[str, list[Partition]]:
    """Commits of all symbols that Dagster is to be told now; symbols without any are left out.

    Open hours of all symbols are told together, so that a run and its file carry them all: who is due waits for those
    that were told less than five minutes ago and have changed since. Sealed hours, and new ones, wait for nobody.

    Args:
        held: what is committed, by symbol.
        told: what Dagster shows, by symbol and hour.
        now: the moment of the tick, UTC.
    """
    of = {symbol: told.get(symbol, {}) for symbol in held}
    waiting = any(
        row.start in of[symbol]
        and not of[symbol][row.start].shows(row)
        and not _is_due(row, of[symbol][row.start], now)
        for symbol, rows in held.items()
        for row in rows
    )
    found = {symbol: due_reports(rows, of[symbol], now) for symbol, rows in held.items()}
    if waiting:
        found = {
            symbol: [row for row in rows if row.complete or row.start not in of[symbol]]
            for symbol, rows in found.items()
        }
    return {symbol: rows for symbol, rows in found.items() if rows}


def _is_due(row: Partition, told: ToldHour | None, now: datetime) -> bool:
    if told is None:
        return True
    if told.shows(row):
        return False
    # What was told ahead of now was told before the clock was set back.
    return row.complete or not timedelta() <= now - told.at < TOLD_EVERY


@dataclass
class HotMemory:
    """What the hot band's sensor remembers between ticks.

    Attributes:
        attempts: what its own runs tried.
        told: what Dagster shows, by symbol and hour.
    """

    attempts: Attempts = field(default_factory=Attempts)
    told: dict[str, dict[datetime, ToldHour]] = field(default_factory=dict)

    @classmethod
    def load(cls, text: str | None) -> HotMemory:
        """Read what `dump` wrote; the cursor of an earlier version holds attempts alone, another text is forgotten."""
        try:
            found: Mapping[str, Any] = json.loads(text or "{}")
            if "told" not in found:
                return cls(Attempts.load(text))
            told = {
                symbol: {
                    _instant(hour): ToldHour(str(content), int(expected), _instant(at))
                    for hour, content, expected, at in hours
                }
                for symbol, hours in found["told"].items()
            }
            return cls(Attempts.load(found["attempts"]), told)
        except (ValueError, TypeError, AttributeError, KeyError, OverflowError):
            return cls()

    def dump(self) -> str:
        """JSON for a cursor; the same memory gives the same text.

        Dagster keeps it with every tick, so that it is as short as can be: instants are whole epoch seconds.
        """
        told = {
            symbol: [
                [int(hour.timestamp()), each.content, each.expected_rows, int(each.at.timestamp())]
                for hour, each in hours.items()
            ]
            for symbol, hours in self.told.items()
        }
        return json.dumps({"attempts": self.attempts.dump(), "told": told}, sort_keys=True, separators=(",", ":"))

    def note(self, symbol: str, hour: datetime, told: ToldHour) -> None:
        """Remember what Dagster shows of an hour; of what was known before, the first moment stays."""
        hours = self.told.setdefault(symbol, {})
        known = hours.get(hour)
        if known is None or (known.content, known.expected_rows) != (told.content, told.expected_rows):
            hours[hour] = told

    def forget_before(self, start: datetime) -> None:
        """Drop hours that have left the band."""
        self.told = {
            symbol: {hour: each for hour, each in hours.items() if hour >= start} for symbol, hours in self.told.items()
        }


def _instant(epoch_s: Any) -> datetime:
    return datetime.fromtimestamp(int(epoch_s), UTC)
