"""Looking back over the whole table: does the exchange still say what was appended?

Belongs here: which part of the table a day's look is about, comparing it, recording what was restated. Does not belong
here: changing a row (nothing does), the window before an append (`window`), when it runs.
A correction of the exchange that is older than the feed's window would stay unnoticed for ever without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta

import polars as pl

from lake_assets.feed_1h.bars import naive
from lake_assets.feed_1h.feed import Feed
from lake_assets.feed_1h.pull import pull_bars
from lake_assets.feed_1h.window import BarsAnswer, Difference, bars_by_hour, differences_of
from lake_resources.clock import HOUR
from lake_resources.storage.bars_duckdb import CHAIN_SCHEMA, DIFFERENCE_SCHEMA, ROW_SCHEMA

PARTS = 7
"""The whole table is looked at once in so many days."""
_SPAN = timedelta(days=30)


@dataclass(frozen=True)
class LookBack:
    """What a look back found.

    Attributes:
        compared: hours that both sides have.
        absent: hours of the table that the exchange does not have now, in order.
        differences: values that the exchange tells otherwise now; all of them are kept in the table's file.
        known: how many different values are on record altogether.
    """

    compared: int
    absent: tuple[datetime, ...]
    differences: tuple[Difference, ...]
    known: int

    @property
    def verdict(self) -> str:
        """`equal`, `restated`, or `nothing to compare`."""
        if self.differences or self.absent:
            return "restated"
        return "equal" if self.compared else "nothing to compare"


def look_back(feed: Feed, day: date | None = None) -> LookBack:
    """Compare rows of the table with the exchange's bars of now, and record what was restated; rows stay as they are.

    Args:
        feed: the feed.
        day: the part that is due on that day: in `PARTS` days in a row each hour is in one; None is the whole table.

    Raises:
        ExchangeError: the exchange did not answer; what was found before is recorded.
        StorageError: the table cannot be read or written.
    """
    compared, absent, found = 0, list[datetime](), list[Difference]()
    rows = feed.table.snapshot().rows
    for part in _parts(rows, day):
        pull = pull_bars(feed.rest, feed.clock, part["timestamp"][0], part["timestamp"][-1])
        answer = BarsAnswer.of(pull.bars, pull.asked_at)
        table = bars_by_hour(part)
        both = [hour for hour in table if hour in answer.bars]
        restated = [each for hour in both for each in differences_of(hour, table[hour], answer.bars[hour])]
        compared += len(both)
        absent += [hour for hour in table if hour not in answer.bars and hour + HOUR <= naive(pull.asked_at)]
        if restated:
            values = [(each.hour, each.column, each.table_value, each.exchange_value) for each in restated]
            with feed.table.writer() as writer:
                writer.append(
                    pl.DataFrame(schema=ROW_SCHEMA),
                    pl.DataFrame(schema=CHAIN_SCHEMA),
                    pl.DataFrame(values, schema=DIFFERENCE_SCHEMA, orient="row"),
                    seen_at=feed.clock(),
                )
        found += restated
    return LookBack(compared, tuple(absent), tuple(found), feed.table.differences().height)


def _parts(rows: pl.DataFrame, day: date | None) -> list[pl.DataFrame]:
    """The rows in spans of 30 days of the calendar since 1970, those that are due."""
    number = pl.col("timestamp").dt.epoch("s") // int(_SPAN.total_seconds())
    cut = rows.sort("timestamp").with_columns(_span=number)
    due = [
        part
        for (number,), part in cut.partition_by("_span", as_dict=True, maintain_order=True).items()
        if day is None or (int(number) + day.toordinal()) % PARTS == 0
    ]
    return [part.drop("_span") for part in due]
