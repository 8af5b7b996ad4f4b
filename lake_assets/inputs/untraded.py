"""What of a partition the listing of its symbol, or the end of trading, takes away.

Belongs here: rows and first values that cannot exist because of it, from what the ledger knows; looking at a lake needs
no more. Does not belong here: reading the exchange's list (`trading_time`), what a hole excuses (`validation.rules`).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from lake_assets.schema.stream_use import StreamUse
from lake_assets.tables.declared import TABLES
from lake_resources.binance.witness import Grid, Settlements
from lake_resources.known_hole import BY_LISTING, KnownHole
from lake_resources.storage.ledger.ledger import Ledger, Listing


def untraded_spans(ledger: Ledger, symbol: str, start: datetime, end: datetime) -> list[KnownHole]:
    """Spans of partitions in which the symbol was not listed yet, or not traded any more, as holes of its streams.

    Only partitions that the listing or the end of trading falls into have such spans: rows that cannot exist, and first
    values of series that are carried, which come a while after the listing. A partition outside is not expected at all.

    Args:
        ledger: on the table.
        symbol: whose.
        start: first instant, UTC.
        end: first instant after the window, UTC.
    """
    listing = ledger.listing(symbol)
    if listing is None:
        return []
    return [hole for hole in _spans(ledger, listing) if hole.start < end and hole.end > start]


def _spans(ledger: Ledger, listing: Listing) -> Iterator[KnownHole]:
    layout, symbol = ledger.layout, listing.symbol
    if listing.first is not None:
        begun = layout.start_of(listing.first)
        cause = f"{symbol} is traded from {listing.first:%Y-%m-%d %H:%M} on"
        first_row = layout.row_start(listing.first)
        if begun < first_row:
            yield KnownHole(layout.row_stream, symbol, begun, first_row, cause, BY_LISTING)
        table = TABLES.get(layout.name)
        for use in () if table is None else table.streams:
            if use.silence == "lost" and (late := first_value_after(use)):
                yield KnownHole(use.name, symbol, begun, listing.first + late, cause, BY_LISTING)
    if listing.end is not None and layout.start_of(listing.end) < listing.end:
        cause = f"{symbol} was traded until {listing.end:%Y-%m-%d %H:%M}"
        yield KnownHole(layout.row_stream, symbol, listing.end, layout.end_of(listing.end), cause, BY_LISTING)


def first_value_after(use: StreamUse) -> timedelta:
    """How long after a listing the first value of a series may come that is carried from then on."""
    match use.stream.witness:
        case Settlements(longest=longest):
            return longest
        case Grid(step) if use.carried_after is not None:
            # The next instant of the grid, the step that it is about, and what it takes until it is known.
            return 2 * step + use.carried_after
    return timedelta()
