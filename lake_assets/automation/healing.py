"""Which partitions are tried again.

Belongs here: the queue of holes and its order. Does not belong here: the hot band (`hot`), archives (`promotion`).

Four kinds of holes: a partition that was never committed, one that was committed only while it was open, one in
quarantine, and a committed one for which REST could not give a stream that it still keeps. A missing source that REST
does not keep any more stays open in the ledger until an archive resolves it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from lake_assets.automation.attempts import Attempts
from lake_assets.build.open_hours import OpenHours
from lake_assets.schema.table import Table
from lake_assets.tables.um_minute import UM_MINUTE
from lake_resources.backoff import Backoff
from lake_resources.layout import TableLayout
from lake_resources.storage.ledger.ledger import MissingSource

BACKOFF = Backoff(5 * 60.0, 6 * 3600.0)

Cause = Literal["missing", "incomplete", "quarantined", "source"]


@dataclass(frozen=True)
class HealableHour:
    """A partition to try again, by its start. `state` is another one as soon as anything about it changed."""

    symbol: str
    hour: datetime
    cause: Cause
    state: str


@dataclass(frozen=True)
class HealRun:
    """One run: the partitions that begin from `first` to `last` (inclusive) of one symbol."""

    symbol: str
    first: datetime
    last: datetime
    causes: tuple[str, ...]


def heal_start(
    now: datetime, days: int, memories: Mapping[str, timedelta | None], table: Table = UM_MINUTE
) -> datetime:
    """Start of the oldest partition that is tried again.

    Args:
        now: the moment of asking, UTC.
        days: how far back at most.
        memories: how far back REST has each stream (None: all of it). What REST no longer has of a stream without
            which nothing can be built is nothing that trying again could bring.
        table: whose partitions.
    """
    required = [memories[name] for name, use in table.uses.items() if use.required and name in memories]
    back = min([timedelta(days=days), *(memory for memory in required if memory is not None)])
    return table.layout.start_of(now - back)


def healable_hours(
    symbol: str,
    *,
    hours: OpenHours,
    sources: Iterable[MissingSource],
    memories: Mapping[str, timedelta | None],
    now: datetime,
    layout: TableLayout = UM_MINUTE.layout,
) -> list[HealableHour]:
    """All holes of a symbol, one per partition, oldest first.

    Args:
        symbol: whose hours.
        hours: absent, incomplete and quarantined partitions.
        sources: open missing sources.
        memories: how far back REST has each stream (None: all of it); a stream that REST does not serve is no key.
        now: the moment of asking, UTC.
        layout: of the table.
    """
    found: dict[datetime, HealableHour] = {}
    for row in sources:
        hour = _asked_hour(row)
        if row.source != "rest" or hour is None or row.stream not in memories:
            continue
        memory = memories[row.stream]
        if memory is None or hour >= now - memory:
            start = layout.start_of(hour)
            found[start] = HealableHour(symbol, start, "source", row.stream)
    for hour in hours.absent:
        found[hour] = HealableHour(symbol, hour, "missing", "absent")
    for hour, (_, content_hash) in hours.incomplete.items():
        found[hour] = HealableHour(symbol, hour, "incomplete", content_hash[:12])
    for hour, detail in hours.quarantined.items():
        found[hour] = HealableHour(symbol, hour, "quarantined", detail)
    return [found[hour] for hour in sorted(found)]


def plan_healing(
    holes: Sequence[HealableHour],
    now: datetime,
    *,
    cap: int,
    memories: Mapping[str, timedelta | None],
    attempts: Attempts,
    layout: TableLayout = UM_MINUTE.layout,
) -> list[HealRun]:
    """The runs of this tick: at most `cap` partitions, neighbours of a symbol together. Attempts are noted.

    Those that REST is about to forget something of come first; those of which it forgets nothing any more come last,
    the newest of them first. Only attempts on holes that there still are are remembered.
    """
    ready = [hole for hole in holes if attempts.ready(_key(layout, hole), hole.state, now, BACKOFF)]
    limits = sorted({memory for memory in memories.values() if memory is not None})
    chosen = sorted(ready, key=lambda hole: _urgency(hole.hour, now, limits))[:cap]
    for hole in chosen:
        attempts.note(_key(layout, hole), hole.state, now)
    attempts.keep(_key(layout, hole) for hole in holes)
    return list(_runs(chosen, layout.step))


def _urgency(hour: datetime, now: datetime, limits: Sequence[timedelta]) -> tuple[timedelta, timedelta]:
    """What sorts first the partition that REST forgets something of next."""
    age = now - hour
    return next((limit - age for limit in limits if limit > age), timedelta.max), age


def _runs(holes: Sequence[HealableHour], step: timedelta) -> Iterator[HealRun]:
    run: list[HealableHour] = []
    for hole in sorted(holes, key=lambda hole: (hole.symbol, hole.hour)):
        if run and (hole.symbol != run[-1].symbol or hole.hour != run[-1].hour + step):
            yield _run(run)
            run = []
        run.append(hole)
    if run:
        yield _run(run)


def _run(holes: list[HealableHour]) -> HealRun:
    causes = tuple(sorted({hole.cause for hole in holes}))
    return HealRun(holes[0].symbol, holes[0].hour, holes[-1].hour, causes)


def _asked_hour(row: MissingSource) -> datetime | None:
    try:
        return datetime.strptime(row.period, "%Y-%m-%dT%H").replace(tzinfo=UTC)
    except ValueError:
        return None  # a day or a month of an archive


def _key(layout: TableLayout, hole: HealableHour) -> str:
    return f"{hole.symbol} {layout.text(hole.hour)}"
