"""Raw slices of a simulated exchange that begin on a day of the tests.

Belongs here: names and instants that tests of slices share. Does not belong here: any assertion.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from lake_resources.storage.ledger.slice_rows import SliceSet

OF = SliceSet("klines", "BTCUSDT", "1m")
FIRST = datetime(2026, 11, 17, tzinfo=UTC)
SPAN = timedelta(minutes=1000)
MINUTE_MS = 60_000


def ms(instant: datetime) -> int:
    """Epoch milliseconds."""
    return int(instant.timestamp() * 1000)
