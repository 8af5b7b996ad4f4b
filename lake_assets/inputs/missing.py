"""What was looked for and not found: the ledger's events of it, and when it is worth asking again.

Belongs here: opening and closing rows of `missing_sources`. Does not belong here: asking any source.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta

from lake_assets.lake import Lake
from lake_assets.schema.stream_use import StreamUse
from lake_resources.backoff import Backoff

ASK_AGAIN_AFTER = timedelta(minutes=10)
"""The minute tables are built every few seconds while they are hot; Vision is not asked for the same absent file
as often. The archive's own asset always asks."""


NOT_WHOLE = "not whole"
"""How a reason begins where REST did answer, and no witness calls the answer whole: it is asked again after a pause."""
DAMAGED_ROWS = "archive rows"
"""Source of a missing-source event: the file is there, and some of what is in it could not be taken."""
BEYOND, OFF_GRID = "reach beyond", "off the grid"
"""What the record of a file says that has rows of another time than its own: all of its rows may be put off."""
_PAUSES = Backoff(60.0, 6 * 3600.0)


def may_ask_again(lake: Lake, symbol: str, stream: str, hour: datetime, now: datetime) -> bool:
    """Whether REST may be asked for an hour again: pauses double after each answer that was not whole."""
    for row in lake.ledger.missing_sources(symbol, stream):
        if row.source == "rest" and row.period == _period(hour) and row.reason.startswith(NOT_WHOLE):
            return now - row.last_seen >= _PAUSES.after(row.attempts) or now < row.last_seen
    return True


def misplaced_hours(lake: Lake, symbol: str, use: StreamUse, hours: Iterable[datetime]) -> dict[datetime, str]:
    """Hours whose archive has rows of another time than its own, with what was said of it."""
    told = {
        row.period: row.reason
        for row in lake.ledger.missing_sources(symbol, use.name)
        if row.source == DAMAGED_ROWS and (BEYOND in row.reason or OFF_GRID in row.reason)
    }
    return {hour: told[period] for hour in hours if told and (period := use.period(hour.date())) in told}


def note_damaged(
    lake: Lake, symbol: str, stream: str, hours: Iterable[datetime], torn: dict[datetime, str], now: datetime
) -> None:
    """Record hours of which an archive lacks rows, whoever replaces them, and close the record of sound ones."""
    open_rows = {r.period: r.reason for r in lake.ledger.missing_sources(symbol, stream) if r.source == DAMAGED_ROWS}
    for hour, reason in torn.items():
        if open_rows.get(_period(hour)) != reason:
            lake.ledger.record_missing(symbol, stream, _period(hour), DAMAGED_ROWS, reason, at=now)
    for period in sorted({_period(hour) for hour in hours if hour not in torn} & open_rows.keys()):
        lake.ledger.resolve_missing(symbol, stream, period, DAMAGED_ROWS, at=now)


def note_found_unlike(lake: Lake, symbol: str, stream: str, told: Mapping[datetime, str], now: datetime) -> None:
    """Record hours of which REST says other values than what the lake has: they are built again from both.

    Args:
        lake: the lake.
        symbol: whose hours.
        stream: of what.
        told: hours, with what differs; the reason begins with `NOT_WHOLE`.
        now: when that was.
    """
    for hour, reason in told.items():
        lake.ledger.record_missing(symbol, stream, _period(hour), "rest", reason, at=now)


def note_missing(
    lake: Lake,
    symbol: str,
    stream: str,
    *,
    failures: dict[datetime, str],
    out_of_reach: dict[datetime, str],
    found: Iterable[datetime],
    now: datetime,
) -> None:
    """Record hours that REST should have given and did not, and close the record of those that have a source now.

    Args:
        lake: the lake.
        symbol: whose hours.
        stream: of what.
        failures: hours that were asked for in vain, with what was found; each time counts.
        out_of_reach: hours that need not be asked for, with the reason; written once.
        found: hours that have a source.
        now: when that was.
    """
    open_rows = {row.period: row.reason for row in lake.ledger.missing_sources(symbol, stream) if row.source == "rest"}
    for hour, reason in (failures | out_of_reach).items():
        if hour in failures or open_rows.get(_period(hour)) != reason:
            lake.ledger.record_missing(symbol, stream, _period(hour), "rest", reason, at=now)
    for period in sorted({_period(hour) for hour in found} & open_rows.keys()):
        lake.ledger.resolve_missing(symbol, stream, period, "rest", at=now)


def asked_lately(lake: Lake, symbol: str, stream: str, period: str, now: datetime) -> bool:
    """Whether Vision was asked for a file a moment ago, in vain."""
    return any(
        row.source == "archive" and row.period == period and timedelta(0) <= now - row.last_seen < ASK_AGAIN_AFTER
        for row in lake.ledger.missing_sources(symbol, stream)
    )


def hours_of(rows: Iterable[tuple[str, str]], stream: str, day: date) -> list[datetime]:
    """Hours of a day among the (stream, period) of missing sources."""
    prefix = f"{day:%Y-%m-%d}T"
    return [
        datetime.strptime(period, "%Y-%m-%dT%H").replace(tzinfo=UTC)
        for name, period in rows
        if name == stream and period.startswith(prefix)
    ]


def _period(hour: datetime) -> str:
    return f"{hour:%Y-%m-%dT%H}"
