"""Committed hours whose verdict is not clean, read from the ledger: the one place that everybody asks.

Belongs here: that one reading. Does not belong here: making a verdict (`validation.hour_verdict`), what follows of it.
"""

from __future__ import annotations

from datetime import datetime

from lake_assets.validation.hour_verdict import BARS_DIFFER, CLEAN, Verdict, verdict_of
from lake_resources.storage.ledger.ledger import Ledger


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


def unlike_their_trades(
    ledger: Ledger, symbol: str, stream: str, start: datetime, end: datetime
) -> dict[datetime, str]:
    """Committed hours whose klines say what the trades that they count do not, with the reason of their verdict.

    Args:
        ledger: ledger of the table.
        symbol: whose hours.
        stream: the stream of klines.
        start: first instant, UTC.
        end: first instant after the window, UTC.
    """
    beginning = f"{stream}: {BARS_DIFFER}"
    found = doubted_hours(ledger, symbol, start, end)
    told = {hour: [text for text in verdict.reasons if text.startswith(beginning)] for hour, verdict in found.items()}
    return {hour: texts[0] for hour, texts in told.items() if texts}
