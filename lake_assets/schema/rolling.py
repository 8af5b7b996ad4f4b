"""How a column of a longer bar follows from the column of its rows.

Belongs here: the `Rollup` record and the ways of rolling up that columns are declared with. Does not belong here: which
column rolls up how (its declaration), making bars (`transforms.rollup`).

A value that needs a row that is there but whose value is not known is NULL.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True)
class Rollup:
    """How a column of a bar follows from the rows of the bar.

    Attributes:
        text: the rule in words.
        build: the expression over the rows of a bar, given the column's name; None leaves the column out of bars.
        name: the column's name in the bar; empty keeps the one of the rows.
        needs: columns of the rows that it is computed from; empty means the column itself.
    """

    text: str
    build: Callable[[str], pl.Expr] | None
    name: str = ""
    needs: tuple[str, ...] = ()


def if_known(value: pl.Expr, *columns: str) -> pl.Expr:
    """`value` where no row of the bar lacks a value in any of the columns, else NULL."""
    return pl.when(pl.all_horizontal(pl.col(column).null_count() == 0 for column in columns)).then(value)


def ratio(top: str, bottom: str, otherwise: pl.Expr) -> pl.Expr:
    """Sum of one column over the sum of another, or `otherwise` where the latter is 0; NULL if a value is unknown."""
    total = pl.col(bottom).sum()
    return if_known(pl.when(total > 0).then(pl.col(top).sum() / total).otherwise(otherwise), top, bottom)


def exact_total(column: str) -> pl.Expr:
    """Sum of doubles that have 8 decimals or fewer, as the decimals add up: without the error of adding doubles."""
    return pl.col(column).cast(pl.Decimal(38, 8)).sum().cast(pl.Float64)


FIRST = Rollup("of the first row", lambda column: pl.col(column).first())
LAST = Rollup("of the last row", lambda column: pl.col(column).last())
HIGHEST = Rollup("largest; NULL if a row's is", lambda column: if_known(pl.col(column).max(), column))
LOWEST = Rollup("smallest; NULL if a row's is", lambda column: if_known(pl.col(column).min(), column))
LATEST = Rollup("largest of those rows that have one", lambda column: pl.col(column).max())
EARLIEST = Rollup("smallest of those rows that have one", lambda column: pl.col(column).min())


def of_traded(text: str, column: str, count: str, pick: Callable[[pl.Expr], pl.Expr]) -> Rollup:
    """A price of the rows in which something was traded; where nothing was in any, the one that they carry.

    A quiet row repeats the price before it, which may lie outside of what was traded in the bar.

    Args:
        text: the rule in words.
        column: the price.
        count: column of the number of trades.
        pick: the price of a bar from those of its rows.
    """
    traded = pl.col(count) > 0

    def build(name: str) -> pl.Expr:
        value = pl.col(name)
        return if_known(pl.coalesce(pick(value.filter(traded)), pick(value)), name, count)

    return Rollup(f"{text} row with trades; of quiet rows alone what they carry", build, needs=(column, count))


EXACT_SUM = Rollup(
    "sum of the decimals as they are printed; NULL if a row's is", lambda column: if_known(exact_total(column), column)
)
SUM = Rollup("sum; NULL if a row's is", lambda column: if_known(pl.col(column).sum(), column))
MEAN = Rollup("mean of the rows; NULL if a row's is", lambda column: if_known(pl.col(column).mean(), column))
ALL_TRUE = Rollup("true in every row", lambda column: if_known(pl.col(column).all(), column))
ANY_TRUE = Rollup("true in any row; NULL if a row's is", lambda column: if_known(pl.col(column).any(), column))
NOT_DERIVABLE = Rollup("left out: it does not follow from the rows", None)
BAR_START = Rollup("start of the bar, UTC; the bar is [timestamp, timestamp + timeframe)", None)
