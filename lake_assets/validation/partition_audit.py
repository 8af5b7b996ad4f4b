"""The audit of a partition's rows as they lie on disk.

Belongs here: reason codes for what is wrong with the rows of one partition's file.
Does not belong here: opening the file (an unreadable one is the reader's to report), repairing it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

import polars as pl

from lake_assets.schema.table import Table
from lake_assets.validation.rules import absent_values, in_hole, ohlc_violations, value_violations
from lake_resources.known_hole import KnownHole
from lake_resources.spans import within


def partition_audit(
    table: Table,
    frame: pl.DataFrame | None,
    partition: datetime,
    start: datetime,
    end: datetime,
    *,
    holes: Sequence[KnownHole] = (),
) -> list[str]:
    """Reason codes of a partition's file, `["ok"]` where there is nothing to say.

    Codes: `missing_file`, `invalid_expected_range`, `missing_columns:a,b`, `unknown_columns:a`, `wrong_types:a`,
    `column_order`, `empty_partition`, `rows_outside_hour:n`, `duplicate_timestamps:n`,
    `row_count_mismatch:expected=:actual=:window=`, `timestamp_gap_or_order_error`, `hard_required_nulls:a:n,b:m`,
    `out_of_bounds:a:n` (also NaN and infinity), `ohlc_broken:rule:n`.

    Args:
        table: the declared table.
        frame: the rows of the file, or None where there is no file.
        partition: start of the partition the file is for, UTC; rows outside it are wrong whatever the window.
        start: first row asked for, within the partition.
        end: time after the last row of the window (half-open).
        holes: known holes of the symbol.
    """
    if not partition <= start < end <= partition + table.layout.step:
        return ["invalid_expected_range"]
    if frame is None:
        return ["missing_file"]
    codes = list(_columns(table, frame)) or list(_rows(table, frame, partition, start, end, holes))
    return codes or ["ok"]


def _columns(table: Table, frame: pl.DataFrame) -> Iterator[str]:
    declared = table.polars_schema
    if missing := [name for name in declared if name not in frame.columns]:
        yield f"missing_columns:{','.join(missing)}"
    if unknown := [name for name in frame.columns if name not in declared]:
        yield f"unknown_columns:{','.join(unknown)}"
    if wrong := [name for name, dtype in declared.items() if name in frame.columns and frame.schema[name] != dtype]:
        yield f"wrong_types:{','.join(wrong)}"
    if not missing and not unknown and frame.columns != list(declared):
        yield "column_order"


def _rows(
    table: Table, frame: pl.DataFrame, partition: datetime, start: datetime, end: datetime, holes: Sequence[KnownHole]
) -> Iterator[str]:
    time = pl.col(table.layout.time_column)
    inside = within(time, partition, partition + table.layout.step)
    outside = frame.filter(~inside.fill_null(value=False)).height
    if outside:
        yield f"rows_outside_hour:{outside}"
    window = frame.filter(within(time, start, end))
    if window.is_empty():
        # The exchange was down for the whole window: then nothing is what there must be.
        if not _expected(table, window, start, end, holes).is_empty():
            yield "empty_partition"
        return
    if repeated := window.height - window[table.layout.time_column].n_unique():
        yield f"duplicate_timestamps:{repeated}"
    yield from _times(table, window, start, end, holes)
    if nulls := _broken(window, {expr.meta.output_name(): expr for expr in absent_values(table, holes)}):
        yield f"hard_required_nulls:{nulls}"
    if bounds := _broken(window, {expr.meta.output_name(): expr for expr in value_violations(table)}):
        yield f"out_of_bounds:{bounds}"
    if ohlc := _broken(window, ohlc_violations(table)):
        yield f"ohlc_broken:{ohlc}"


def _times(
    table: Table, window: pl.DataFrame, start: datetime, end: datetime, holes: Sequence[KnownHole]
) -> Iterator[str]:
    expected = _expected(table, window, start, end, holes)
    if window.height != len(expected):
        yield f"row_count_mismatch:expected={len(expected)}:actual={window.height}:window={start:%H:%M}-{end:%H:%M}"
    elif not window[table.layout.time_column].equals(expected):
        yield "timestamp_gap_or_order_error"


def _expected(
    table: Table, window: pl.DataFrame, start: datetime, end: datetime, holes: Sequence[KnownHole]
) -> pl.Series:
    """The times that must be there, and those of a known hole that are there all the same."""
    time = table.layout.time_column
    grid = pl.select(pl.datetime_range(start, end, table.layout.grain, closed="left").alias(time))
    present = window[time].unique()
    return grid.filter(pl.col(time).is_in(present.implode()) | ~in_hole(holes, table.row_stream, time))[time]


def _broken(window: pl.DataFrame, rules: dict[str, pl.Expr]) -> str:
    counts = window.select(**{name: expr.sum() for name, expr in rules.items()}).row(0, named=True)
    return ",".join(f"{name}:{count}" for name, count in counts.items() if count)
