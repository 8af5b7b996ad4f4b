"""When symbols are traded, in the ledger: what the exchange's own list said last.

Belongs here: rows of `listings`. Does not belong here: asking the exchange, which hours are expected because of it.
The exchange takes delisted symbols off its list some day; what it said of them is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from lake_resources.storage.catalog import utc
from lake_resources.storage.ledger.table_rows import TableRows
from lake_resources.storage.ledger.tables import LISTINGS


@dataclass(frozen=True)
class Listing:
    """When a symbol is traded, UTC.

    Attributes:
        first: first instant of trading, or None where the exchange does not say.
        end: end of trading, or None while none is known.
    """

    symbol: str
    first: datetime | None
    end: datetime | None

    def is_untraded(self, start: datetime, end: datetime) -> bool:
        """Whether the symbol is traded at no instant of `[start, end)`, UTC."""
        return (self.first is not None and self.first >= end) or (self.end is not None and self.end <= start)


class ListingRows(TableRows):
    """Statements on `listings`."""

    def record_listing(self, listing: Listing, *, at: datetime) -> None:
        """Keep what the exchange says now; writes only what is new."""
        if self.listing(listing.symbol) == listing:
            return
        row = {
            "market": self.layout.market,
            "symbol": listing.symbol,
            "first_utc": listing.first,
            "end_utc": listing.end,
            "said_at_utc": at,
        }
        with self.engine.writing() as connection:
            self.engine.upsert(connection, LISTINGS, [row])

    def listing(self, symbol: str) -> Listing | None:
        """What the exchange said last, or None where it never did."""
        c = LISTINGS.c
        query = sa.select(c.symbol, c.first_utc, c.end_utc).where(self.of_market(LISTINGS), c.symbol == symbol)
        with self.reading() as connection:
            found = connection.execute(query).one_or_none()
        return None if found is None else Listing(*found)

    def untraded(self, symbol: str, starts: Iterable[datetime]) -> set[datetime]:
        """Those of some partitions (their starts, UTC) in which the symbol is not traded at all.

        One that the listing or the end of trading falls into is none of them; where nothing is known, none is.
        """
        found, step = self.listing(symbol), self.layout.step
        return set() if found is None else {start for start in starts if found.is_untraded(start, start + step)}

    def listings_of(self, symbols: Sequence[str]) -> list[Listing]:
        """What the exchange said last of those symbols of which it said something."""
        c = LISTINGS.c
        query = sa.select(c.symbol, c.first_utc, c.end_utc).where(self.of_market(LISTINGS), c.symbol.in_(symbols))
        with self.reading() as connection:
            return [Listing(*row) for row in connection.execute(query)]

    def traded_after(self, symbols: Iterable[str], instant: datetime) -> tuple[str, ...]:
        """Those of the symbols whose trading is not known to have ended until `instant`, in their order."""
        c = LISTINGS.c
        query = sa.select(c.symbol).where(self.of_market(LISTINGS), c.end_utc <= utc(instant))
        with self.reading() as connection:
            ended = set(connection.execute(query).scalars())
        return tuple(symbol for symbol in symbols if symbol not in ended)
