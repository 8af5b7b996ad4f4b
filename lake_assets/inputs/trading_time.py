"""When a symbol is traded, by the exchange's own list: reading it, and keeping what it says in the ledger.

Belongs here: asking the exchange. Does not belong here: which hours are asked for (`audit.listing`), what of a
partition a listing takes away (`untraded`).
"""

from __future__ import annotations

from datetime import UTC, datetime

from lake_assets.lake import Lake
from lake_resources.clock import from_epoch_ms
from lake_resources.errors import ExchangeError
from lake_resources.storage.ledger.ledger import Listing

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


def _instant(epoch_ms: object) -> datetime | None:
    if not isinstance(epoch_ms, int) or not 0 < epoch_ms < _YEAR_10000_MS:
        return None
    return from_epoch_ms(epoch_ms)
