"""When a symbol is (and was) traded, by the exchange's own list: hours outside are no holes.

Belongs here: reading the list, and keeping what it says in the ledger. Does not belong here: deciding what to backfill.
"""

from __future__ import annotations

from datetime import UTC, datetime

from lake_assets.audit.ranges import require_order
from lake_assets.lake import Lake
from lake_resources.clock import from_epoch_ms
from lake_resources.errors import ExchangeError
from lake_resources.storage.ledger.ledger import Listing

_YEAR_10000_MS = 253_402_300_800_000
_PERPETUAL_DELIVERY = datetime(2100, 1, 1, tzinfo=UTC)
"""Perpetual contracts carry a delivery date of 2100-12-25; a nearer one is the end of trading."""


def traded_window(lake: Lake, symbol: str, start: datetime, end: datetime) -> tuple[datetime, datetime]:
    """The part of `[start, end)` in which the symbol is traded, in whole hours; all of it where nothing is known.

    Where the exchange does not answer, or no longer lists the symbol, what it said last counts. Hours that are
    committed before the listing count as traded whatever the list says: nothing is left out that might be there.

    Raises:
        SettingsError: the range itself is empty.
    """
    require_order(start, end)
    refresh_listing(lake, symbol)
    found = lake.ledger.listing(symbol)
    if found is None:
        return start, end
    held = lake.ledger.first_partition(symbol)
    first, last = found.first_whole_hour, found.last_whole_hour_end
    if first is not None:
        start = max(start, first if held is None else min(held, first))
    if last is not None:
        end = min(end, last)
    return start, max(start, end)


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


def _instant(epoch_ms: object) -> datetime | None:
    if not isinstance(epoch_ms, int) or not 0 < epoch_ms < _YEAR_10000_MS:
        return None
    return from_epoch_ms(epoch_ms)
