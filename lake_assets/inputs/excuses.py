"""The known holes of the exchange that apply to a window, from the project's own list and from the ledger.

Belongs here: joining them. Does not belong here: what a hole excuses (`validation.rules`).
"""

from __future__ import annotations

from datetime import UTC, datetime

from lake_assets.at_rest import store_of
from lake_assets.inputs.untraded import untraded_spans
from lake_assets.schema.known_holes import holes_of, known_holes
from lake_resources.known_hole import KnownHole
from lake_resources.settings import LakeSettings
from lake_resources.storage.ledger.ledger import Ledger


def holes_known(ledger: Ledger, symbol: str, start: datetime, end: datetime) -> list[KnownHole]:
    """Holes that touch `[start, end)`: the project's own, those declared in the ledger, and what is not traded.

    That is what lies before a listing, or after the end of trading, in partitions that these fall into.
    """
    declared = ledger.known_holes(symbol, start, end)
    return [*holes_of(known_holes(), symbol, start, end), *declared, *untraded_spans(ledger, symbol, start, end)]


def declared_outages(settings: LakeSettings, symbol: str) -> list[KnownHole]:
    """Holes that were declared in the ledger of the settings at any time; a lake is not created by looking at it."""
    if not settings.may_have_ledger:
        return []
    store = store_of(settings)
    try:
        return store.ledger.known_holes(symbol, datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
    finally:
        store.close()
