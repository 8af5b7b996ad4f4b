"""Spans of time on columns of polars.

Belongs here: the half-open span as a condition and as a cut of rows, the instant as a literal. Does not belong here:
which spans there are, reading texts (`instants`).
"""

from __future__ import annotations

from bisect import bisect_left
from datetime import datetime, timedelta

import polars as pl

from lake_resources.clock import EPOCH

_MICROSECOND = timedelta(microseconds=1)


def within(time: pl.Expr | str, start: datetime, end: datetime) -> pl.Expr:
    """Whether a time lies in `[start, end)`; NULL where there is no time.

    Args:
        time: a column of UTC, of any unit, or its name.
        start: first instant, UTC.
        end: first instant after the span, UTC.
    """
    column = pl.col(time) if isinstance(time, str) else time
    return (column >= instant(start)) & (column < instant(end))


def rows_within(rows: pl.DataFrame, time: str, start: datetime, end: datetime) -> pl.DataFrame:
    """Rows whose time lies in `[start, end)`, in their order.

    Of rows that are in order of time it is a slice: a query of polars takes longer than all of these steps.

    Args:
        rows: any frame.
        time: name of a column of UTC, of any unit.
        start: first instant, UTC.
        end: first instant after the span, UTC.
    """
    times = rows.get_column(time)
    if times.null_count() or not times.is_sorted():
        return rows.filter(within(time, start, end))
    first = bisect_left(times, start)
    return rows.slice(first, max(bisect_left(times, end, lo=first) - first, 0))


def instant(at: datetime) -> pl.Expr:
    """An instant of UTC as a literal in microseconds.

    Of an aware datetime polars makes a literal by a query of its own, which takes longer than to filter an hour of
    rows.
    """
    return pl.lit((at - EPOCH) // _MICROSECOND, dtype=pl.Int64).cast(pl.Datetime("us", "UTC"))
