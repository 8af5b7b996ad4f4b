"""Rows of a table rolled up to longer bars.

Belongs here: bars by the rule that each column is declared with. Does not belong here: the rules (`schema.rolling`),
reading rows, filling gaps. A bar with absent rows is made of those that are there, so its sums are partial; it says so
in a count of its rows and in `complete`. A value that needs a row that is there but whose value is not known is NULL.
What cannot be derived from rows exactly (percentiles, ratios without their denominators) is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Literal

import polars as pl

from lake_assets.schema.table import Table
from lake_resources.errors import SettingsError

Timeframe = Literal["1s", "1m", "5m", "15m", "1h", "1d"]
Incomplete = Literal["mark", "omit"]

TIMEFRAMES: dict[Timeframe, timedelta] = {
    "1s": timedelta(seconds=1),
    "1m": timedelta(minutes=1),
    "5m": timedelta(minutes=5),
    "15m": timedelta(minutes=15),
    "1h": timedelta(hours=1),
    "1d": timedelta(days=1),
}
COMPLETE = "complete"
"""Column that a roll-up adds: whether all rows of the bar are there."""


def count_column(table: Table) -> str:
    """Name of the column that a roll-up adds next to the time: how many rows are there, e.g. `minutes`."""
    return f"{table.row_word}s"


def own_timeframe(table: Table) -> Timeframe:
    """The timeframe whose bars are the table's own rows."""
    return next(name for name, length in TIMEFRAMES.items() if length == table.layout.grain)


def is_grain(table: Table, timeframe: Timeframe) -> bool:
    """Whether rows of that timeframe are the table's own.

    Raises:
        SettingsError: the timeframe is no whole number of rows of the table.
    """
    length, grain = TIMEFRAMES[timeframe], table.layout.grain
    if length % grain:
        fitting = ", ".join(name for name, each in TIMEFRAMES.items() if not each % grain)
        raise SettingsError(
            f"the {table.layout.title} has no rows of {timeframe}", remedy=f"Ask for a timeframe of {fitting}"
        )
    return length == grain


def rolled_columns(table: Table, columns: Sequence[str] | None = None) -> tuple[str, ...]:
    """Columns of the table that a bar has, of those wanted (default: all that can be derived).

    Raises:
        SettingsError: a wanted column is not one of the table, or cannot be derived from its rows.
    """
    if columns is None:
        return tuple(column.name for column in table.columns if column.rollup.build is not None)
    wanted = [name for name in dict.fromkeys(columns) if name != table.layout.time_column]
    for name in wanted:
        if name not in table.names:
            raise SettingsError(
                f"the {table.layout.title} has no column {name!r}", remedy="See docs/data-dictionary.md"
            )
        if table.column(name).rollup.build is None:
            raise SettingsError(
                f"{name} has no value for bars longer than a {table.row_word}",
                remedy=f"Ask for it in the timeframe {own_timeframe(table)}",
            )
    return tuple(wanted)


def needed_columns(table: Table, columns: Sequence[str]) -> tuple[str, ...]:
    """Columns of the rows that these columns of a bar are computed from, the time first."""
    needed = (name for column in columns for name in (table.column(column).rollup.needs or (column,)))
    return tuple(dict.fromkeys((table.layout.time_column, *needed)))


def rollup(
    table: Table,
    rows: pl.LazyFrame,
    timeframe: Timeframe,
    columns: Sequence[str] | None = None,
    *,
    incomplete: Incomplete = "mark",
) -> pl.LazyFrame:
    """Bars of a timeframe, aligned to UTC midnight.

    Args:
        table: the table that the rows are of.
        rows: its rows, sorted by time, each time at most once; at least the columns of `needed_columns`.
        timeframe: length of a bar; the table's own gives the rows themselves, with the two further columns.
        columns: columns of the table, default all that can be derived; the time comes first in any case.
        incomplete: bars that lack a row are kept, of the rows that are there, with `complete` false; or they are left
            out. They are never filled.

    Returns:
        The time, how many rows are there (`count_column`), `complete` (these are all), then the columns by their names
        in a bar (`vwap_1m` is named `vwap` there). A bar of which no row is there is no row.

    Raises:
        SettingsError: the timeframe is shorter than a row of the table, or a column cannot be had in it.
    """
    time, count = table.layout.time_column, count_column(table)
    if is_grain(table, timeframe):
        chosen = pl.exclude(time) if columns is None else pl.col([n for n in columns if n != time])
        marks = pl.lit(1, pl.Int64).alias(count), pl.lit(value=True).alias(COMPLETE)
        return rows.select(time, *marks, chosen)
    built = []
    for column in rolled_columns(table, columns):
        rule = table.column(column).rollup
        if rule.build is not None:
            built.append(rule.build(column).alias(rule.name or column))
    length = TIMEFRAMES[timeframe]
    bars = rows.group_by_dynamic(time, every=length, closed="left", label="left").agg(
        pl.len().cast(pl.Int64).alias(count), *built
    )
    whole = (pl.col(count) == length // table.layout.grain).alias(COMPLETE)
    bars = bars.select(time, count, whole, pl.exclude(time, count))
    return bars.filter(pl.col(COMPLETE)) if incomplete == "omit" else bars
