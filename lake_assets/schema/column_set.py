"""What follows from a list of declared columns: schemas, hash, and who has which part.

Belongs here: views of declared columns for polars, Arrow, the ledger, transforms and checks. Does not belong here: the
columns themselves (`minute_columns` and its like), what else a table is made of (`table`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property

import polars as pl

from lake_assets.schema.column import Column, Quiet, Role

_PRICES: tuple[Role, ...] = ("open", "high", "low", "close")


def numbered(*columns: Column) -> tuple[Column, ...]:
    """Columns with their 1-based places."""
    return tuple(replace(column, position=position) for position, column in enumerate(columns, start=1))


@dataclass(frozen=True, eq=False)
class ColumnSet:
    """The columns of a table, in file order; one declaration is equal to itself alone."""

    columns: tuple[Column, ...]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """All column names in order."""
        return tuple(column.name for column in self.columns)

    @cached_property
    def canonical(self) -> tuple[str, ...]:
        """The names without the coverage flags, in order (58 of the minute table)."""
        return tuple(column.name for column in self.columns if column.group == "canonical")

    @cached_property
    def flags(self) -> tuple[str, ...]:
        """The names of the coverage flags, in order (8 of the minute table)."""
        return tuple(column.name for column in self.columns if column.group == "coverage")

    @cached_property
    def required(self) -> tuple[str, ...]:
        """Names of the HARD_REQUIRED columns (12 of the minute table)."""
        return tuple(column.name for column in self.columns if column.required)

    @cached_property
    def never_null_flags(self) -> tuple[str, ...]:
        """Names of the columns that are true or false in every row, though they are not among the required ones."""
        return tuple(column.name for column in self.columns if column.never_null)

    @cached_property
    def collected(self) -> dict[str, pl.DataType]:
        """Names and types of the columns that only a collector can fill, flags included."""
        return {column.name: column.dtype for column in self.columns if column.support_class == "LIVE_ONLY"}

    @cached_property
    def prices(self) -> tuple[str, ...]:
        """Names of open, high, low and close, in this order; empty where the table has no bars."""
        by_role = {column.role: column.name for column in self.columns if column.role}
        return tuple(by_role[role] for role in _PRICES if role in by_role)

    @cached_property
    def volumes(self) -> tuple[str, ...]:
        """Names of the amounts of a bar, none of which is ever negative."""
        return tuple(column.name for column in self.columns if column.role == "volume")

    @cached_property
    def excused_by(self) -> dict[str, str]:
        """The required columns whose NULLs a known hole of their stream excuses, with that stream."""
        return {column.name: column.stream for column in self.columns if column.required and column.hole_excuses}

    def of_stream(self, stream: str, *quiet: Quiet) -> tuple[Column, ...]:
        """Columns that come from a stream; with `quiet`, those that hold that where nothing happened."""
        return tuple(
            column for column in self.columns if column.stream == stream and (not quiet or column.quiet in quiet)
        )

    def verbatim(self, stream: str) -> dict[str, str]:
        """The columns that repeat a column of the stream as it is, with the stream's name of it."""
        return {column.name: column.wire for column in self.of_stream(stream) if column.wire}

    @cached_property
    def polars_schema(self) -> pl.Schema:
        """Names and polars types, in order."""
        return pl.Schema({column.name: column.dtype for column in self.columns})

    @cached_property
    def schema_hash(self) -> str:
        """SHA-256, hex, over one line `name|dtype|unit|class|fill policy|definition` per column, in order.

        It changes when what a column means changes, not only when its type does.
        """
        lines = [
            f"{c.name}|{c.dtype_text}|{c.unit}|{c.support_class}|{c.fill_policy}|{c.definition}\n" for c in self.columns
        ]
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def column(self, name: str) -> Column:
        """The column of that name.

        Raises:
            KeyError: there is none.
        """
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> dict[str, Column]:
        return {column.name: column for column in self.columns}

    def witness(self, name: str) -> str:
        """The column that tells of each row whether the stream of the column of that name was there."""
        return self.column(name).witness or name

    def absent(self, name: str) -> pl.Expr:
        """True in rows for which nothing of the column's stream was ingested."""
        witness = self.column(self.witness(name))
        value = pl.col(witness.name)
        return ~value if witness.never_null else value.is_null()

    def empty(self) -> pl.DataFrame:
        """A frame of no rows with exactly these columns."""
        return pl.DataFrame(schema=self.polars_schema)
