"""When a symbol is traded, by the exchange's own list, or its first bar: asking, and keeping the answer in the ledger.

Belongs here: asking the exchange. Does not belong here: which hours are asked for (`audit.listing`), what of a
partition a listing takes away (`untraded`).
"""

from __future__ import annotations

from datetime import UTC, datetime

from lake_assets.lake import Lake
from lake_resources.binance.rest.rest_client import BinanceRest
from lake_resources.clock import from_epoch_ms
from lake_resources.errors import ExchangeError
from lake_resources.storage.ledger.ledger import Listing

_YEAR_10000_MS = 253_402_300_800_000
_PERPETUAL_DELIVERY = datetime(2100, 1, 1, tzinfo=UTC)
"""Perpetual contracts carry a delivery date of 2100-12-25; a nearer one is the end of trading."""


def refresh_listing(lake: Lake, symbol: str) -> None:
    """Ask the exchange when the symbol is traded, and keep the answer; no answer changes nothing."""
    if not lake.ask_rest:
        return
    try:
        found = _listed(lake.rest, symbol) if lake.rest.market.lists_dates else _by_first_bar(lake.rest, symbol)
    except ExchangeError:
        return
    if found is not None:
        lake.ledger.record_listing(found, at=lake.clock())


def listing_of(lake: Lake, symbol: str, *, again: bool = False) -> Listing:
    """When the symbol is traded, as the lake knows it; the exchange is asked where the lake knows nothing yet.

    Args:
        lake: on a table.
        symbol: whose listing.
        again: ask also where the lake knows something.
    """
    found = lake.ledger.listing(symbol)
    if (found is None or again) and not lake.judging:
        refresh_listing(lake, symbol)
        found = lake.ledger.listing(symbol)
    return found or Listing(symbol, None, None)


def _listed(rest: BinanceRest, symbol: str) -> Listing | None:
    listed = rest.exchange_info().get("symbols", ())
    found = next((row for row in listed if row.get("symbol") == symbol), None)
    if found is None:
        return None
    first, last = _instant(found.get("onboardDate")), _instant(found.get("deliveryDate"))
    return Listing(symbol, first, None if last is None or last >= _PERPETUAL_DELIVERY else last)


def _by_first_bar(rest: BinanceRest, symbol: str) -> Listing | None:
    first = rest.first_traded(symbol) if rest.market.first_bars else None
    return None if first is None else Listing(symbol, first, None)


def _instant(epoch_ms: object) -> datetime | None:
    if not isinstance(epoch_ms, int) or not 0 < epoch_ms < _YEAR_10000_MS:
        return None
    return from_epoch_ms(epoch_ms)
