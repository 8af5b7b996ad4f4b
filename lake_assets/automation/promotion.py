"""When Vision is asked for a day, when that is an alarm, and which days are rebuilt from their archives.

Belongs here: these rules, from ledger rows and an instant. Does not belong here: asking (`sensors`), comparing values
(`build.reconcile`). Monthly archives (funding) are left to people: REST keeps that history whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from lake_assets.automation.attempts import Attempts
from lake_assets.schema.stream_use import StreamUse
from lake_assets.schema.table import Table
from lake_assets.tables.um_minute import UM_MINUTE
from lake_resources.backoff import Backoff
from lake_resources.clock import DAY
from lake_resources.storage.ledger.ledger import Archive, MissingSource, Partition

WATCHED_DAYS = 30
"""Days back from today that are promoted; late days have appeared after weeks."""
ALARM_AFTER = timedelta(days=1)
"""After an archive was due: two days after the day it covers."""
RECHECKED_FOR = timedelta(days=10)
RECHECK_EVERY = timedelta(hours=6)
GRACE = timedelta(hours=1)
"""A day with some of its archives waits this long for the others, so that it is rebuilt once."""
BACKOFF = Backoff(5 * 60.0, 6 * 3600.0)

_POLL_EVERY = (
    (timedelta(hours=4), timedelta(minutes=5)),
    (ALARM_AFTER + timedelta(hours=4), timedelta(minutes=30)),
    (timedelta(days=10), timedelta(hours=3)),
)
_POLL_LATER = timedelta(days=1)


@dataclass(frozen=True)
class DayState:
    """What the ledger has of one symbol's day of a table.

    Attributes:
        partitions: committed partitions of the day.
        archives: current archive by stream.
        missing: open missing-source row (of the archive) by stream.
        torn: hours that the current archive of a stream lacks trades of, by stream.
        absent: partitions of the day that are not committed; refused ones are none of them, healing tries them again.
        table: whose partitions.
    """

    symbol: str
    day: date
    partitions: tuple[Partition, ...]
    archives: Mapping[str, Archive]
    missing: Mapping[str, MissingSource]
    torn: Mapping[str, frozenset[datetime]] = field(default_factory=dict)
    absent: tuple[datetime, ...] = ()
    table: Table = UM_MINUTE

    @property
    def period(self) -> str:
        """The day in a file's name and as a partition key."""
        return self.day.isoformat()


@dataclass(frozen=True)
class Poll:
    """One CHECKSUM to ask for.

    Attributes:
        known_sha256: of the archive that the lake has, or None.
        late: it is an alarm if it is still not there.
    """

    symbol: str
    stream: str
    period: str
    known_sha256: str | None = None
    late: bool = False


@dataclass(frozen=True)
class Rebuild:
    """A day whose hours do not say what its archives say, or are not all there."""

    symbol: str
    day: date
    hours: int
    streams: tuple[str, ...]


def daily_uses(table: Table) -> dict[str, StreamUse]:
    """The streams of a table that are archived day by day, as it uses them."""
    return {name: use for name, use in table.uses.items() if use.stream.files.cadence == "daily"}


def named(symbol: str, table: Table) -> str:
    """A symbol as alarms name it: with its market where that is not the first one."""
    return symbol if table.layout.market == UM_MINUTE.layout.market else f"{table.layout.market} {symbol}"


def plan_polls(days: Sequence[DayState], now: datetime, *, cap: int, attempts: Attempts) -> list[Poll]:
    """The CHECKSUMs to ask for at this tick: absent archives that are due, and re-publications of known ones.

    Args:
        days: days since the symbol's first hour, whether they have hours or not.
        now: the moment of asking, UTC.
        cap: requests at most; the newest days first.
        attempts: when known archives were last compared; what is asked in the end is for `note_asked`.
    """
    polls: list[Poll] = []
    for state in sorted(days, key=lambda state: state.day, reverse=True):
        for name, use in daily_uses(state.table).items():
            if name in state.archives or not use.archive_due(state.day, now):
                continue
            held = state.missing.get(name)
            if held is None or now - held.last_seen >= _poll_every(use, state.day, now):
                late = now >= use.archive_due_at(state.day) + ALARM_AFTER
                polls.append(Poll(state.symbol, name, state.period, late=late))
    attempts.forget_before(now - RECHECKED_FOR)
    for state in days:
        polls += _rechecks(state, now, attempts)
    return polls[:cap]


def note_asked(polls: Sequence[Poll], now: datetime, attempts: Attempts) -> None:
    """Note the comparisons that were made. Of absent archives the ledger knows when they were asked for."""
    for poll in polls:
        if poll.known_sha256 is not None:
            attempts.note(_recheck_key(poll.symbol, poll.stream, poll.period), "", now)


def plan_rebuilds(days: Sequence[DayState], now: datetime, *, cap: int, attempts: Attempts) -> list[Rebuild]:
    """Days to rebuild from archives that are in the lake. Attempts are noted.

    Args:
        days: days since the symbol's first hour, whether they have hours or not.
        now: the moment of asking, UTC.
        cap: days at most, oldest first.
        attempts: rebuilds that were started before.
    """
    chosen: list[Rebuild] = []
    for state in sorted(days, key=lambda state: state.day):
        hours, streams = _outdated(state)
        if not hours or not _gathered(state, now):
            continue
        key = f"rebuild {state.symbol} {state.period}"
        vintages = ",".join(f"{name}={row.sha256[:8]}" for name, row in sorted(state.archives.items()))
        fingerprint = f"{hours} {vintages}"
        if len(chosen) < cap and attempts.ready(key, fingerprint, now, BACKOFF):
            attempts.note(key, fingerprint, now)
            chosen.append(Rebuild(state.symbol, state.day, hours, streams))
    return chosen


def alarm_text(poll: Poll, table: Table = UM_MINUTE) -> str:
    """What people are told about an archive of a table's stream that is late."""
    due = daily_uses(table)[poll.stream].archive_due_at(date.fromisoformat(poll.period))
    return (
        f"late: Vision has no {poll.stream} of {named(poll.symbol, table)} for {poll.period}, which was due at "
        f"{due:%Y-%m-%d %H:%M} UTC. The hours stay as REST gave them; Vision is asked again for weeks. "
        "See the runbook, section 'A day of an archive stays missing'"
    )


def _rechecks(state: DayState, now: datetime, attempts: Attempts) -> list[Poll]:
    """Comparisons of a day's known archives with what is published now."""
    known = {name: row for name, row in state.archives.items() if name in daily_uses(state.table)}
    if not known or now >= _first_due(state) + RECHECKED_FOR:
        return []
    if now - max(row.fetched_at for row in known.values()) < RECHECK_EVERY:
        return []
    pause = Backoff(RECHECK_EVERY.total_seconds(), RECHECK_EVERY.total_seconds())
    return [
        Poll(state.symbol, name, state.period, known_sha256=row.sha256)
        for name, row in sorted(known.items())
        if attempts.ready(_recheck_key(state.symbol, name, state.period), "", now, pause)
    ]


def _recheck_key(symbol: str, stream: str, period: str) -> str:
    return f"recheck {symbol} {stream} {period}"


def _outdated(state: DayState) -> tuple[int, tuple[str, ...]]:
    """How many partitions are not there, not whole or not from the day's current archives, and in which streams."""
    hours, streams, daily = len(state.absent), set[str](), daily_uses(state.table)
    for partition in state.partitions:
        other = {
            name
            for name, archive in state.archives.items()
            if name in daily and name in partition.sources and not _settled(state, partition, name, archive)
        }
        streams |= other
        hours += bool(other) or not partition.complete
    return hours, tuple(sorted(streams))


def _settled(state: DayState, partition: Partition, stream: str, archive: Archive) -> bool:
    """Whether building the hour again would take nothing from the archive."""
    source = partition.sources[stream]
    not_taken = not source.kind.startswith("archive") and partition.start in state.torn.get(stream, ())
    # A day that archive and answers were put together for has a reference of its own.
    put_together = state.table.layout.span == "day" and source.kind == "archive+rest"
    taken_since = put_together and partition.committed_at >= archive.fetched_at
    return not_taken or taken_since or source.reference.startswith(archive.sha256)


def _gathered(state: DayState, now: datetime) -> bool:
    """Whether all archives of the day are there, or have been waited for."""
    if not state.archives:
        return False
    expected = {name for name, use in daily_uses(state.table).items() if use.could_have_archive(state.day)}
    newest = max(row.fetched_at for row in state.archives.values())
    return expected <= state.archives.keys() or now - newest >= GRACE


def _poll_every(use: StreamUse, day: date, now: datetime) -> timedelta:
    late = now - use.archive_due_at(day)
    return next((interval for until, interval in _POLL_EVERY if late < until), _POLL_LATER)


def _first_due(state: DayState) -> datetime:
    return min(use.archive_due_at(state.day) for use in daily_uses(state.table).values())


def watched_days(now: datetime) -> tuple[datetime, datetime]:
    """The days that are promoted, as a half-open interval of instants; today is none of them."""
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return today - WATCHED_DAYS * DAY, today
