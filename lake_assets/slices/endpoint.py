"""What an endpoint must declare so that its raw answers can be kept as slices.

Belongs here: the `SliceEndpoint` record. Does not belong here: an endpoint (a file of its own each), which there are
(`endpoints`), fetching (`loop`), statuses (`judgement`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lake_assets.slices.judgement import Judgement
from lake_assets.slices.keys import LIMIT, SliceKey
from lake_resources.binance.market import Endpoint, Market

Query = dict[str, str | int]
Positions = Callable[[object], list[int]]
"""Positions of the records of a decoded body, as sent.

Raises ValueError where the body has another shape."""
_END_OF_LINES = 1 << 62


@dataclass(frozen=True)
class SliceEndpoint:
    """One endpoint whose records lie on a line of instants (epoch ms) or of ids.

    Attributes:
        name: part of paths and of the ledger's keys, e.g. `klines`.
        market: the market that is asked.
        request: its endpoint, with path, limit and weight.
        intervals: how its records may be spaced; `id` where they are numbered.
        step: distance of two positions of an interval, in the unit of the line.
        query: parameters of the request for a window `[start, end]`, both ends inclusive, in Binance's order.
        positions: positions of the records of a body.
        first_query: parameters that ask for the first record there is.
        newest_query: parameters that ask for the newest record, where the exchange's clock does not tell how far the
            line reaches; None where it does.
        judge: status of an answer: key, positions found, how far the line reaches, what an earlier answer lacked.
    """

    name: str
    market: Market
    request: Endpoint
    intervals: tuple[str, ...]
    step: Callable[[str], int]
    query: Callable[[SliceKey, int], Query]
    positions: Positions
    first_query: Callable[[str, str], Query]
    newest_query: Callable[[str], Query] | None
    judge: Callable[[SliceKey, Sequence[int], int, Sequence[int] | None], Judgement]

    def records(self, body: object) -> list[int]:
        """Positions of the records of a decoded body, as sent.

        Raises:
            ValueError: the body has another shape, or a position that lies on no line.
        """
        found = self.positions(body)
        if not all(type(each) is int and 0 <= each < _END_OF_LINES for each in found):
            raise ValueError("an instant or id that no record has")
        return found

    def end(self, key: SliceKey) -> int:
        """Last position of a slice's window, inclusive."""
        return key.start + self.step(key.interval) * key.limit - 1

    def keys(self, symbol: str, interval: str, first: int, last: int) -> list[SliceKey]:
        """All slices from the first record to the last position that is wanted, in order.

        Args:
            symbol: e.g. `BTCUSDT`.
            interval: one of `intervals`.
            first: position of the symbol's first record: the lattice starts there.
            last: last position that is wanted, inclusive; before the first there is no slice.
        """
        span = self.step(interval) * LIMIT
        return [SliceKey(symbol, interval, start) for start in range(first, last + 1, span)]
