"""Which hours of the hot band are built at this tick.

Belongs here: the rule, from ledger rows and an instant. Does not belong here: launching runs (`sensors`).

An hour is due when a minute has closed that it does not have, once more when it closes for good (the safety lag is
over), and a last time when the slow series of it have settled. A sealed hour is left alone, unless the collector
learned more of it since: a healed trade, a row folded again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from lake_assets.automation.attempts import Attempts
from lake_assets.tables.um_minute import UM_MINUTE
from lake_assets.windows import expected_end
from lake_resources.backoff import Backoff
from lake_resources.clock import HOUR, MINUTE
from lake_resources.storage.ledger.ledger import Capture, Partition

JUST_CLOSED = timedelta(seconds=2)
"""A minute is asked for this long after its end: the exchange needs a moment to close its klines."""
SETTLED_AFTER = max(feed.settle for feed in UM_MINUTE.uses.values())
"""After the end of an hour; then an answer to any stream does not change any more."""
BACKOFF = Backoff(20.0, 5 * 60.0)
"""Between attempts on an hour that changed nothing: the exchange is down, or the gate refuses the rows."""


@dataclass(frozen=True)
class HotHour:
    """An hour of the hot band as the ledger has it.

    Attributes:
        rows_until: end of its last minute; the start of the hour when it has none.
        complete: all minutes that a closed hour must have are there.
        unsettled: a raw answer it was built from was taken before its stream settled.
        heard_later: live rows of it were written after it was committed.
        fingerprint: another one as soon as anything about it changed.
    """

    rows_until: datetime
    complete: bool
    unsettled: bool
    heard_later: bool
    fingerprint: str


@dataclass(frozen=True)
class HotRun:
    """One run: the hours `first` to `last` (inclusive) of `symbols`."""

    symbols: tuple[str, ...]
    first: datetime
    last: datetime
    hours: tuple[tuple[str, datetime], ...]


def hot_window(now: datetime, hot_hours: int, *, first: datetime) -> tuple[datetime, datetime] | None:
    """Start of the oldest hour of the band, and the end of the open one; None where there is no such hour yet.

    Args:
        now: the moment of asking, UTC.
        hot_hours: how far the band reaches back from the open hour.
        first: the lake's first hour, UTC; an hour before it is no partition, and a run that asked for it would fail.
    """
    start, end = max(hot_start(now, hot_hours), first), hot_start(now, 0) + HOUR
    return (start, end) if start < end else None


def hot_start(now: datetime, hot_hours: int) -> datetime:
    """Start of the oldest hour of the band: what is older is healing's.

    Args:
        now: the moment of asking, UTC.
        hot_hours: how far the band reaches back from the open hour.
    """
    return now.replace(minute=0, second=0, microsecond=0) - hot_hours * HOUR


def hot_hours(
    partitions: Sequence[Partition], captures: Collection[Capture], heard_at: Mapping[datetime, datetime]
) -> dict[datetime, HotHour]:
    """What the lake has of one symbol, by hour.

    Args:
        partitions: committed hours.
        captures: current answers of REST that are not final.
        heard_at: when live rows of an hour were written last, UTC.
    """
    early = {row.hour for row in captures if row.captured_at < row.hour + HOUR + SETTLED_AFTER}
    return {
        row.start: HotHour(
            rows_until=row.start if row.max_ts is None else row.max_ts + MINUTE,
            complete=row.complete,
            unsettled=row.start in early,
            heard_later=row.start in heard_at and heard_at[row.start] > row.committed_at,
            fingerprint=f"{row.content_hash[:12]}{row.expected_rows}{int(row.complete)}{int(row.start in early)}"
            f"{_seconds(heard_at.get(row.start) if row.complete else None)}",
        )
        for row in partitions
    }


def is_due(hour: datetime, held: HotHour | None, now: datetime, lag_minutes: int) -> bool:
    """Whether building the hour would add something.

    Args:
        hour: its start, UTC.
        held: what the ledger has of it, or None.
        now: the moment of asking, UTC.
        lag_minutes: safety lag.
    """
    closed_until = expected_end(UM_MINUTE.layout, hour, now - JUST_CLOSED, 0)
    if closed_until <= hour:
        return False
    if held is None:
        return True
    if held.complete:
        return held.unsettled and now >= hour + HOUR + SETTLED_AFTER
    return held.rows_until < closed_until or expected_end(UM_MINUTE.layout, hour, now, lag_minutes) == hour + HOUR


def plan_tick(
    held: Mapping[str, Mapping[datetime, HotHour]],
    now: datetime,
    *,
    window: tuple[datetime, datetime],
    lag_minutes: int,
    attempts: Attempts,
) -> HotRun | None:
    """The one run of this tick, or None. Attempts are noted in `attempts`.

    The open hour and the one before go first, so that a band that has to be filled does not keep them waiting.

    Args:
        held: hours that the ledger has, by symbol; every hot symbol is a key.
        now: the moment of the tick, UTC.
        window: start of the oldest hour that may be asked for, and end of the open one (`hot_window`).
        lag_minutes: safety lag.
        attempts: what was tried at earlier ticks.
    """
    start, end = window
    newest = end - 2 * HOUR
    hours = [start + index * HOUR for index in range((end - start) // HOUR)]
    due = [
        (symbol, hour)
        for symbol, rows in held.items()
        for hour in hours
        if (
            is_due(hour, rows.get(hour), now, lag_minutes)
            and attempts.ready(_key(symbol, hour), _state(rows.get(hour)), now, BACKOFF)
        )
        or (_learned(rows.get(hour)) and not attempts.tried(_key(symbol, hour), _state(rows.get(hour))))
    ]
    chosen = [item for item in due if item[1] >= newest] or due
    attempts.forget_before(start)
    if not chosen:
        return None
    for symbol, hour in chosen:
        attempts.note(_key(symbol, hour), _state(held[symbol].get(hour)), now)
    return HotRun(
        symbols=tuple(dict.fromkeys(symbol for symbol, _ in chosen)),
        first=min(hour for _, hour in chosen),
        last=max(hour for _, hour in chosen),
        hours=tuple(chosen),
    )


def _learned(held: HotHour | None) -> bool:
    """Whether a sealed hour may gain from what the collector wrote since; that is tried once."""
    return held is not None and held.complete and held.heard_later


def _seconds(instant: datetime | None) -> str:
    return "" if instant is None else f"@{instant.timestamp():.0f}"


def _key(symbol: str, hour: datetime) -> str:
    return f"{symbol} {hour:%Y-%m-%dT%H}"


def _state(held: HotHour | None) -> str:
    return "absent" if held is None else held.fingerprint
