"""A span of a stream that the exchange itself does not have.

Belongs here: the record, which the project's own list and the ledger share. Does not belong here: either of them, what
a hole excuses.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

BY_LISTING = "exchangeInfo"
"""Reference of a hole that is one because the symbol is not traded then, by the exchange's own list."""


@dataclass(frozen=True)
class KnownHole:
    """A span of one stream that the exchange does not have.

    Attributes:
        stream: name of the stream, e.g. `mark_price_klines_1m`.
        symbol: symbol, or `*` for all.
        start: first instant that is missing, UTC.
        end: first instant after the hole, UTC (half-open).
        cause: what is known about it.
        reference: where that is written.
    """

    stream: str
    symbol: str
    start: datetime
    end: datetime
    cause: str
    reference: str
