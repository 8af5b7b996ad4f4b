"""Which hours of the warm band are tried again.

Belongs here: the queue of holes and its order. Does not belong here: the hot band (`hot`), archives (`promotion`).

Three kinds of holes: an hour that was never committed, an hour in quarantine, and a committed hour for which REST could
not give a stream that it still keeps. A missing source that REST does not keep any more stays open in the ledger until
an archive resolves it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from lake_assets.automation.attempts import Attempts, Backoff
from lake_assets.windows import HOUR
from lake_resources.storage.ledger import MissingSource

WARM_REACH = timedelta(days=7)
SHORTEST_MEMORY = timedelta(hours=48)
"""REST keeps aggTrades this long: hours that are about to leave it come first."""
BACKOFF = Backoff(timedelta(minutes=5), timedelta(hours=6))

Cause = Literal["missing", "quarantined", "source"]


@dataclass(frozen=True)
class Hole:
    """An hour to try again. `state` is another one as soon as anything about it changed."""

    symbol: str
    hour: datetime
    cause: Cause
    state: str


@dataclass(frozen=True)
class HealRun:
    """One run: the hours `first` to `last` (inclusive) of one symbol."""

    symbol: str
    first: datetime
    last: datetime
    causes: tuple[str, ...]


def find_holes(
    symbol: str,
    *,
    missing: Iterable[datetime],
    quarantined: Mapping[datetime, str],
    sources: Iterable[MissingSource],
    reach: Mapping[str, timedelta | None],
    now: datetime,
) -> list[Hole]:
    """All holes of a symbol, one per hour, oldest first.

    Args:
        symbol: whose hours.
        missing: hours that are not committed.
        quarantined: open quarantine rows: why, by hour.
        sources: open missing sources.
        reach: how far back REST has each stream (None: all of it); a stream that REST does not serve is no key.
        now: the moment of asking, UTC.
    """
    found: dict[datetime, Hole] = {}
    for row in sources:
        hour = _asked_hour(row)
        if row.source != "rest" or hour is None or row.stream not in reach:
            continue
        memory = reach[row.stream]
        if memory is None or hour >= now - memory:
            found[hour] = Hole(symbol, hour, "source", row.stream)
    for hour in missing:
        found[hour] = Hole(symbol, hour, "missing", "absent")
    for hour, detail in quarantined.items():
        found[hour] = Hole(symbol, hour, "quarantined", detail)
    return [found[hour] for hour in sorted(found)]


def plan_healing(holes: Sequence[Hole], now: datetime, *, cap: int, attempts: Attempts) -> list[HealRun]:
    """The runs of this tick: at most `cap` hours, neighbours of a symbol together. Attempts are noted.

    Hours that are about to leave REST's shortest memory first (oldest of them first), then the others, newest first.
    """
    ready = [hole for hole in holes if attempts.ready(_key(hole), hole.state, now, BACKOFF)]
    edge = now - SHORTEST_MEMORY
    urgent = sorted((hole for hole in ready if hole.hour >= edge), key=lambda hole: hole.hour)
    others = sorted((hole for hole in ready if hole.hour < edge), key=lambda hole: hole.hour, reverse=True)
    chosen = [*urgent, *others][:cap]
    for hole in chosen:
        attempts.note(_key(hole), hole.state, now)
    attempts.forget_before(now - WARM_REACH - 2 * BACKOFF.longest)
    return list(_runs(chosen))


def _runs(holes: Sequence[Hole]) -> Iterator[HealRun]:
    run: list[Hole] = []
    for hole in sorted(holes, key=lambda hole: (hole.symbol, hole.hour)):
        if run and (hole.symbol != run[-1].symbol or hole.hour != run[-1].hour + HOUR):
            yield _run(run)
            run = []
        run.append(hole)
    if run:
        yield _run(run)


def _run(holes: list[Hole]) -> HealRun:
    causes = tuple(sorted({hole.cause for hole in holes}))
    return HealRun(holes[0].symbol, holes[0].hour, holes[-1].hour, causes)


def _asked_hour(row: MissingSource) -> datetime | None:
    try:
        return datetime.strptime(row.period, "%Y-%m-%dT%H").replace(tzinfo=UTC)
    except ValueError:
        return None  # a day or a month of an archive


def _key(hole: Hole) -> str:
    return f"{hole.symbol} {hole.hour:%Y-%m-%dT%H}"
