"""The part of a range in which a symbol is (or was) traded, by the exchange's own list: hours outside are no holes.

Belongs here: bounding a range. Does not belong here: reading the list (`inputs.trading_time`), what to backfill.
"""

from __future__ import annotations

from datetime import datetime

from lake_assets.audit.ranges import require_order
from lake_assets.inputs.trading_time import refresh_listing
from lake_assets.lake import Lake


def traded_window(lake: Lake, symbol: str, start: datetime, end: datetime) -> tuple[datetime, datetime]:
    """The partitions of `[start, end)` in which the symbol is traded; all of it where nothing is known.

    Those that its listing and its end fall into are among them. Where the exchange does not answer, or no longer lists
    the symbol, what it said last counts. Partitions that are committed before the listing count as traded whatever
    the list says: nothing is left out that might be there.

    Raises:
        SettingsError: the range itself is empty.
    """
    require_order(start, end)
    refresh_listing(lake, symbol)
    found = lake.ledger.listing(symbol)
    if found is None:
        return start, end
    held = lake.ledger.first_partition(symbol)
    layout = lake.store.layout
    if found.first is not None:
        first = layout.start_of(found.first)
        start = max(start, first if held is None else min(held, first))
    if found.end is not None:
        end = min(end, layout.end_of(found.end))
    return start, max(start, end)
