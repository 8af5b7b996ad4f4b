"""When a symbol is traded, by the exchange's own list, and what of a partition its listing or its end takes away.

Belongs here: reading the list, keeping what it says in the ledger, rows and first values that cannot exist because of
it. Does not belong here: which hours are asked for (`audit.listing`), what a hole excuses (`validation.rules`).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from lake_assets.lake import Lake
from lake_assets.schema.stream_use import StreamUse
from lake_assets.tables.declared import TABLES
from lake_resources.binance.witness import Grid, Settlements
from lake_resources.clock import from_epoch_ms
from lake_resources.errors import ExchangeError
from lake_resources.known_hole import BY_LISTING, KnownHole
from lake_resources.storage.ledger.ledger import Ledger, Listing

_YEAR_10000_MS = 253_402_300_800_000
_PERPETUAL_DELIVERY = datetime(2100, 1, 1, tzinfo=UTC)
"""Perpetual contracts carry a delivery date of 2100-12-25; a nearer one is the end of trading."""


def refresh_listing(lake: Lake, symbol: str) -> None:
    """Ask the exchange when the symbol is traded, and keep the answer; no answer changes nothing."""
    if not lake.ask_rest or not lake.rest.market.lists_dates:
        return
    try:
        listed = lake.rest.exchange_info().get("symbols", ())
    except ExchangeError:
        return
    found = next((row for row in listed if row.get("symbol") == symbol), None)
    if found is None:
        return
    first, last = _instant(found.get("onboardDate")), _instant(found.get("deliveryDate"))
    end = None if last is None or last >= _PERPETUAL_DELIVERY else last
    lake.ledger.record_listing(Listing(symbol, first, end), at=lake.clock())


def listing_of(lake: Lake, symbol: str) -> Listing:
    """When the symbol is traded, as the lake knows it; the exchange is asked where the lake knows nothing yet."""
    found = lake.ledger.listing(symbol)
    if found is None and not lake.judging:
        refresh_listing(lake, symbol)
        found = lake.ledger.listing(symbol)
    return found or Listing(symbol, None, None)


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
        if begun < listing.first:
            yield KnownHole(layout.row_stream, symbol, begun, listing.first, cause, BY_LISTING)
        table = TABLES.get(layout.name)
        for use in () if table is None else table.streams:
            if use.silence == "lost" and (late := first_value_after(use)):
                yield KnownHole(use.name, symbol, begun, listing.first + late, cause, BY_LISTING)
    if listing.end is not None and layout.start_of(listing.end) < listing.end:
        over = layout.start_of(listing.end) + layout.step
        cause = f"{symbol} was traded until {listing.end:%Y-%m-%d %H:%M}"
        yield KnownHole(layout.row_stream, symbol, listing.end, over, cause, BY_LISTING)


def first_value_after(use: StreamUse) -> timedelta:
    """How long after a listing the first value of a series may come that is carried from then on."""
    match use.stream.witness:
        case Settlements(longest=longest):
            return longest
        case Grid(step) if use.carried_after is not None:
            # The next instant of the grid, the step that it is about, and what it takes until it is known.
            return 2 * step + use.carried_after
    return timedelta()


def _instant(epoch_ms: object) -> datetime | None:
    if not isinstance(epoch_ms, int) or not 0 < epoch_ms < _YEAR_10000_MS:
        return None
    return from_epoch_ms(epoch_ms)
