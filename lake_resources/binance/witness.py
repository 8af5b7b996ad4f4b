"""What proves that a span of a stream is whole, declared with the stream.

Belongs here: the kinds of witness and what each needs to know. Does not belong here: judging rows by them, which needs
a file or an answer; the streams (`um_streams`, `spot_streams`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True)
class Grid:
    """The clock itself: a row at every instant of a grid, each once, whatever happened in the market.

    Attributes:
        step: distance of two rows by the stream's time column; the grid begins at the epoch.
        bars_of_trades: the rows are bars of trades, whose number, volume and notional belong together. Bars of other
            prices have a count and no volume.
    """

    step: timedelta
    bars_of_trades: bool = False


@dataclass(frozen=True)
class Total:
    """A sum over a stream's rows that another stream states as well.

    Attributes:
        factors: columns whose product is summed up, e.g. price and quantity.
        equals: column of the other stream that holds the same sum.
    """

    factors: tuple[str, ...]
    equals: str


@dataclass(frozen=True)
class ContiguousIds:
    """Ids without a gap from the row before the span to the row after it, and sums that bars state as well.

    The ids of the fills need not touch from row to row: fills of the insurance fund and of auto-deleveraging are in no
    row. A row belongs to the bar of its time; one that lies at a bar's edge may hold fills of the next bar, so sums are
    held to be equal over an hour and not over a minute. A quiet bar beside rows contradicts as rows beside a quiet bar
    do.

    Attributes:
        row_id: column of the row's id, which grows by one from row to row.
        first_fill: column of the id of a row's first fill.
        last_fill: column of the id of its last fill.
        against: name of the bar stream of the same market that states the sums.
        fills: its column that holds the number of fills: the sum of `last_fill - first_fill + 1`.
        totals: further sums that its bars state.
    """

    row_id: str
    first_fill: str
    last_fill: str
    against: str
    fills: str
    totals: tuple[Total, ...]


@dataclass(frozen=True)
class Settlements:
    """A schedule that changes: a row at each instant that the interval before and after it makes due.

    Attributes:
        interval_hours: column of the hours to the next settlement; sources that do not tell it leave it null, and it is
            the distance of two rows then.
        longest: longest interval there is; a longer distance of two rows is a missing settlement.
        jitter: a row's time lies at most this far from its instant.
    """

    interval_hours: str
    longest: timedelta
    jitter: timedelta


@dataclass(frozen=True)
class NoWitness:
    """Nothing that is published proves it: a span is unproven, however many rows it has.

    Attributes:
        reason: why, as a clause for people.
    """

    reason: str


Witness = Grid | ContiguousIds | Settlements | NoWitness
