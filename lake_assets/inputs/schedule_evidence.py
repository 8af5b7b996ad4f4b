"""Streams whose rows are due by the clock: which hours lack a row that their witness makes due.

Belongs here: grids (every instant, each once) and funding settlements (the interval before and after). Does not belong
here: aggTrades (`trade_sources`), asking a source again, what a lacking row means for the hour.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise

import polars as pl

from lake_assets.schema.stream_use import StreamUse
from lake_resources.binance.witness import Grid, Settlements
from lake_resources.clock import HOUR


def lacking_hours(use: StreamUse, rows: pl.DataFrame, hours: Sequence[datetime], now: datetime) -> dict[datetime, str]:
    """Hours that have a source and lack rows that are due, with what is lacking.

    Args:
        use: the stream as the table uses it.
        rows: its rows, of the hours and what is known around them; one that lacks a value is none.
        hours: hours with a source, UTC. One that is not over and settled is not judged.
        now: the instant of asking, UTC.
    """
    settled = [hour for hour in hours if hour + HOUR + use.settle <= now]
    if not settled:
        return {}
    match use.stream.witness:
        case Grid(step):
            return _off_grid(use, rows, settled, step)
        case Settlements() as witness:
            return _unsettled(use, rows, settled, witness)
    return {}


def _off_grid(use: StreamUse, rows: pl.DataFrame, hours: Sequence[datetime], step: timedelta) -> dict[datetime, str]:
    time = pl.col(use.stream.time_column)
    values = [name for name, dtype in use.stream.columns.items() if dtype.is_numeric() and name in rows.columns]
    told = pl.all_horizontal(pl.col(name).is_not_null() for name in values) if values else pl.lit(value=True)
    on_grid = rows.filter((time == time.dt.truncate(step)) & told).select(time).unique()
    counts = dict(on_grid.group_by(time.dt.truncate("1h")).len().iter_rows())
    due = HOUR // step
    return {
        hour: f"{use.name}: {counts.get(hour, 0)} of {due} rows of the hour {hour:%Y-%m-%d %H:%M}"
        for hour in hours
        if counts.get(hour, 0) < due
    }


def _unsettled(
    use: StreamUse, rows: pl.DataFrame, hours: Sequence[datetime], witness: Settlements
) -> dict[datetime, str]:
    """Hours after the instant at which a settlement was due that nobody has, up to the next that is known."""
    published = rows.select(
        pl.col(use.stream.time_column).dt.round("1m").alias("at"), hours=pl.col(witness.interval_hours)
    )
    told = dict(published.sort("at", "hours").iter_rows())
    times = list(told)
    gaps = {earlier: later - earlier for earlier, later in pairwise(times)}
    before = {later: later - earlier for earlier, later in pairwise(times)}
    found: dict[datetime, str] = {}
    for at in times:
        interval = told[at] * HOUR if told[at] is not None else before.get(at)
        gap = gaps.get(at)
        if interval is None or interval > witness.longest:
            continue
        if gap is not None:
            # Binance lengthens the interval: then the next settlement says so, or the one after it.
            then = told[at + gap]
            after = then * HOUR if then is not None else gaps.get(at + gap)
            if gap == interval or (gap <= witness.longest and after in (None, gap)):
                continue
        due = at + interval
        until = hours[-1] + HOUR if gap is None else at + gap
        text = f"{use.name}: no settlement at {due:%Y-%m-%d %H:%M}, {interval // HOUR} h after the last that is known"
        found |= {hour: text for hour in hours if due < hour + HOUR and hour < until}
    return found
