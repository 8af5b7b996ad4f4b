"""Committed hours whose verdict is not clean, read from the ledger: the one place that everybody asks.

Belongs here: that one reading. Does not belong here: making a verdict (`validation.hour_verdict`), what follows of it.
"""

from __future__ import annotations

from datetime import datetime

from lake_assets.validation.hour_verdict import BARS_DIFFER, CLEAN, Verdict, verdict_of
from lake_assets.windows import hours_between
from lake_resources.storage.ledger.ledger import Ledger

_OF_VALUES = {"schema", "ohlc"}
"""Rules of the gate that rows break by what they say."""


def doubted_hours(ledger: Ledger, symbol: str, start: datetime, end: datetime) -> dict[datetime, Verdict]:
    """Verdicts of the committed hours that overlap `[start, end)` and are neither clean nor explained, in order.

    Hours of a lake of before, which were never judged, are none of them: `lake judge` judges them.

    Args:
        ledger: ledger of the table.
        symbol: whose hours.
        start: first instant, UTC.
        end: first instant after the window, UTC.
    """
    found = ledger.verdicts(symbol, start, end, CLEAN)
    return {hour: verdict_of(kind, detail) for hour, (kind, detail) in found.items()}


def rows_in_doubt(ledger: Ledger, symbol: str, stream: str, start: datetime, end: datetime) -> dict[datetime, str]:
    """Hours whose rows of a required stream cannot be right though none is missing, with the reason.

    These are hours whose klines say what the trades that they count do not, and hours that the gate refuses for their
    values: whoever said them is asked again.

    Args:
        ledger: ledger of the table.
        symbol: whose hours.
        stream: a stream that the table cannot do without.
        start: first instant, UTC.
        end: first instant after the window, UTC.
    """
    beginning = f"{stream}: {BARS_DIFFER}"
    doubted = doubted_hours(ledger, symbol, start, end)
    told = {hour: text for hour, found in doubted.items() for text in found.reasons if text.startswith(beginning)}
    refused = {
        hour: f"{stream}: the gate refuses the hour for its values"
        for entry in ledger.quarantined(symbol, start, end)
        if _OF_VALUES.intersection(entry.codes)
        for hour in hours_between(entry.start, entry.accounted_until)
    }
    return refused | told
