"""What was looked for and not found: the ledger's events of it, and when it is worth asking again.

Belongs here: opening and closing rows of `missing_sources`. Does not belong here: asking any source.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from lake_assets.lake import Lake

ASK_AGAIN_AFTER = timedelta(minutes=10)
"""The minute tables are built every few seconds while they are hot; Vision is not asked for the same absent file
as often. The archive's own asset always asks."""


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


def _period(hour: datetime) -> str:
    return f"{hour:%Y-%m-%dT%H}"
