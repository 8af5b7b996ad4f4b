"""The rules of a sound row, as expressions over a frame.

Belongs here: when a value or a row breaks the declared table.
Does not belong here: counting per hour and verdicts (`gate`, `partition_audit`), columns (`gate`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import polars as pl

from lake_assets.schema.table import Table
from lake_resources.known_hole import KnownHole
from lake_resources.spans import within


def value_violations(table: Table) -> list[pl.Expr]:
    """For each column that can break its declaration an expression, named as the column, that is true where it does.

    A value breaks it out of bounds, not finite, or NULL though the column never is; the NULLs of required columns are
    left to the check `required_columns`.
    """
    expressions = []
    for column in table.columns:
        value = pl.col(column.name)
        broken = []
        if column.dtype.is_float():
            broken.append(~value.is_finite())
        if column.bounds.lower is not None:
            broken.append(value <= column.bounds.lower if column.bounds.above else value < column.bounds.lower)
        if column.bounds.upper is not None:
            broken.append(value > column.bounds.upper)
        if not column.nullable and column.name not in table.required:
            broken.append(value.is_null())
        if broken:
            expressions.append(pl.any_horizontal(broken).alias(column.name))
    return expressions


def ohlc_violations(table: Table) -> dict[str, pl.Expr]:
    """For each way in which prices or volumes contradict themselves an expression that is true where they do.

    A table without prices or volumes has no rules about them.
    """
    # NaN compares greater than every number in polars, so finiteness is its own count.
    fractional = [name for name in table.volumes if table.column(name).dtype.is_float()]
    rules: dict[str, pl.Expr] = {}
    if table.prices:
        opened, high, low, close = table.prices
        prices = pl.col(table.prices)
        rules |= {
            "high_too_low": pl.col(high) < pl.max_horizontal(opened, close, low),
            "low_too_high": pl.col(low) > pl.min_horizontal(opened, close, high),
            "not_positive": pl.any_horizontal(prices <= 0),
        }
    finite = [*table.prices, *fractional]
    if finite:
        rules["not_finite"] = pl.any_horizontal(~pl.col(finite).is_finite())
    if table.volumes:
        rules["negative_volume"] = pl.any_horizontal(pl.col(table.volumes) < 0)
    return rules


def in_hole(holes: Sequence[KnownHole], stream: str, time: str) -> pl.Expr:
    """True where the column `time` lies in a known hole of the stream."""
    inside = [within(time, h.start, h.end) for h in holes if h.stream == stream]
    return pl.any_horizontal(inside) if inside else pl.lit(value=False)


def all_excused(holes: Sequence[KnownHole], stream: str, start: datetime, end: datetime) -> bool:
    """Whether known holes of the stream name every instant of `[start, end)`."""
    at = start
    for hole in sorted((hole for hole in holes if hole.stream == stream), key=lambda hole: hole.start):
        if hole.start > at:
            break
        at = max(at, hole.end)
    return at >= end


def absent_values(table: Table, holes: Sequence[KnownHole]) -> list[pl.Expr]:
    """For each required column an expression, named as the column: NULL or NaN, and no known hole excuses it."""
    return [(_empty(table, name) & ~_excuse(table, name, holes)).alias(name) for name in table.required]


def excused_values(table: Table, holes: Sequence[KnownHole]) -> list[pl.Expr]:
    """For each column that a hole can excuse an expression, named as the column: NULL or NaN, and excused."""
    return [(_empty(table, name) & _excuse(table, name, holes)).alias(name) for name in table.excused_by]


def _empty(table: Table, name: str) -> pl.Expr:
    value = pl.col(name)
    return value.is_null() | value.is_nan() if table.column(name).dtype.is_float() else value.is_null()


def _excuse(table: Table, name: str, holes: Sequence[KnownHole]) -> pl.Expr:
    if name not in table.excused_by:
        return pl.lit(value=False)
    return in_hole(holes, table.excused_by[name], table.layout.time_column)
