"""When a symbol is (and was) traded, by the exchange's own list: hours outside are no holes.

Belongs here: reading the list. Does not belong here: deciding what to backfill.
"""

from __future__ import annotations

from datetime import UTC, datetime

from lake_assets.ingest.lake import Lake
from lake_resources.errors import ExchangeError
from lake_resources.storage.catalog import HOUR, floor_hour

_PERPETUAL_DELIVERY = datetime(2100, 1, 1, tzinfo=UTC)
"""Perpetual contracts carry a delivery date of 2100-12-25; a nearer one is the end of trading."""


def traded_window(lake: Lake, symbol: str, start: datetime, end: datetime) -> tuple[datetime, datetime]:
    """The part of `[start, end)` in which the symbol is traded, in whole hours; all of it where nothing is known.

    An exchange that does not answer, or no longer lists the symbol, leaves the window as it is, and hours that are
    committed count as traded whatever the list says: nothing is left out that might be there.
    """
    try:
        listed = lake.rest.exchange_info().get("symbols", ())
    except ExchangeError:
        return start, end
    found = next((row for row in listed if row.get("symbol") == symbol), None)
    if found is None:
        return start, end
    first, last = _instant(found.get("onboardDate")), _instant(found.get("deliveryDate"))
    held = lake.ledger.first_hour(symbol)
    if first is not None:
        # The hour of the first trade is never whole.
        whole = floor_hour(first) if first == floor_hour(first) else floor_hour(first) + HOUR
        start = max(start, whole if held is None else min(held, whole))
    if last is not None and last < _PERPETUAL_DELIVERY:
        end = min(end, floor_hour(last))
    return start, max(start, end)


def _instant(epoch_ms: object) -> datetime | None:
    return datetime.fromtimestamp(epoch_ms / 1000, UTC) if isinstance(epoch_ms, int) and epoch_ms > 0 else None
