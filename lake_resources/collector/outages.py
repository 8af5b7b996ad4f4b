"""When no socket of a route was heard, from what the journal remembers of connections.

Belongs here: the spans. Does not belong here: reading the journal, what was lost in them (trades are healed, the order
book and liquidations are not).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from lake_resources.collector.journal import ConnectionRow

NOTED_WITHIN = timedelta(minutes=2)
"""An open connection notes its last frame every minute: so long after a note it counts as heard."""


@dataclass(frozen=True)
class Outage:
    """No socket of the route was heard in `[start, end)`."""

    route: str
    start: datetime
    end: datetime


def outages(rows: Iterable[ConnectionRow], route: str, start: datetime, end: datetime, now: datetime) -> list[Outage]:
    """Spans of `[start, end)`, up to now, in which no connection of a route was heard.

    A connection counts from its opening to its last frame: the silence before it was given up does not.

    Args:
        rows: connections of any route.
        route: `market` or `public`.
        start: UTC.
        end: UTC.
        now: the moment of looking.
    """
    end = min(end, now)
    reached, found = start, []
    spans = sorted((row.opened_at, _heard_until(row, now)) for row in rows if row.route == route)
    for first, last in spans:
        if first >= end:
            break
        if first > reached:
            found.append(Outage(route, reached, first))
        reached = max(reached, last)
    if reached < end:
        found.append(Outage(route, reached, end))
    return [each for each in found if each.start < each.end]


def _heard_until(row: ConnectionRow, now: datetime) -> datetime:
    last = row.last_frame_at or row.opened_at
    return now if row.closed_at is None and now - last <= NOTED_WITHIN else last
