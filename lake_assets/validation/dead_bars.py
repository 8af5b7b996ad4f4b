"""Dead bars: an hour or more without any trade and with one flat price, next to bars that trade.

Belongs here: finding them in any bars, excusing those of known outages. Does not belong here: a verdict (`rulepack`).
A market that trades all the time does not fall silent for a whole hour: such bars are what an exchange writes while it
is down, and what a program writes that fills a hole with the last price.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from lake_resources.clock import HOUR
from lake_resources.known_hole import KnownHole

_TIME = pl.Datetime("us", "UTC")


@dataclass(frozen=True)
class DeadBars:
    """Bars of `[start, end)` in a row that are all dead.

    Attributes:
        bars: how many they are.
        price: the one price of them.
        excused: a known outage covers all of them.
    """

    start: datetime
    end: datetime
    bars: int
    price: float
    excused: bool = False

    @property
    def text(self) -> str:
        """One line for people."""
        what = "a dead bar" if self.bars == 1 else f"{self.bars} dead bars"
        known = ", in a known outage" if self.excused else ""
        return (
            f"suspicious: {what} {self.start:%Y-%m-%d %H:%M} to {self.end:%Y-%m-%d %H:%M}: volume 0 and one price "
            f"{self.price!r} next to bars that trade{known}"
        )


def dead_bars(
    bars: pl.DataFrame, columns: Sequence[str], step: timedelta, outages: Sequence[KnownHole] = ()
) -> list[DeadBars]:
    """Runs of dead bars of an hour or more, in order.

    A run counts where the bar before or after it trades and none of the two is silent otherwise: a frame that never
    trades has no dead bar, and one that ends with a dead bar has.

    Args:
        bars: in any order.
        columns: names of time, open, high, low, close and volume.
        step: distance of the bars.
        outages: known holes of the streams that the bars are made of; a run that lies in them is excused.
    """
    time, opened, high, low, close, volume = columns
    flat = (pl.col(opened) == pl.col(high)) & (pl.col(high) == pl.col(low)) & (pl.col(low) == pl.col(close))
    rows = (
        bars.select(
            at=pl.col(time).cast(_TIME),
            dead=((pl.col(volume) == 0) & flat).fill_null(value=False),
            busy=(pl.col(volume) > 0).fill_null(value=False),
            price=pl.col(close),
        )
        .drop_nulls("at")
        .sort("at")
    )
    if not rows["dead"].any():
        return []
    runs = (
        rows.with_columns(run=pl.col("dead").rle_id(), before=pl.col("busy").shift(1), after=pl.col("busy").shift(-1))
        .filter("dead")
        .group_by("run", maintain_order=True)
        .agg(
            pl.col("at").first().alias("start"),
            pl.col("at").last().alias("last"),
            pl.len().alias("bars"),
            pl.col("price").first(),
            pl.col("before").first(),
            pl.col("after").last(),
            pl.col("price").n_unique().alias("prices"),
            pl.col("at"),
        )
    )
    found = []
    for row in runs.to_dicts():
        end = row["last"] + step
        neighbours = [each for each in (row["before"], row["after"]) if each is not None]
        # Bars of a day say nothing of an hour, and less than an hour is quiet in a small market.
        if end - row["start"] < HOUR or not neighbours or not all(neighbours) or row["prices"] != 1:
            continue
        known = all(any(hole.start <= at < hole.end for hole in outages) for at in row["at"])
        found.append(DeadBars(row["start"], end, row["bars"], row["price"], excused=known))
    return found
