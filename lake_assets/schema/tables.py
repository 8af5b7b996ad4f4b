"""What follows from the declared columns: schemas, hash, required set, keys.

Belongs here: views of a list of columns for polars, Arrow and the ledger.
Does not belong here: the columns themselves (`columns`), checks of a frame (`validation.gate`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING

import polars as pl

from lake_assets.schema.column import Column
from lake_assets.schema.minute_columns import COLUMNS
from lake_resources.binance.market import UM
from lake_resources.layout import TableLayout

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Table:
    """A table of the lake.

    Attributes:
        layout: its name, market, grain, partitions and place.
        columns: its columns in file order.
        primary_key: columns that identify a row; `symbol` is in the path, not in the file.
        sort_order: columns a file is sorted by.
    """

    layout: TableLayout
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...]
    sort_order: tuple[str, ...]

    @property
    def name(self) -> str:
        """Table name."""
        return self.layout.name

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
        return tuple(column.name for column in self.columns if column.support_class == "HARD_REQUIRED")

    @cached_property
    def polars_schema(self) -> pl.Schema:
        """Names and polars types, in order."""
        return pl.Schema({column.name: column.dtype for column in self.columns})

    @cached_property
    def arrow_schema(self) -> pa.Schema:
        """The same as an Arrow schema, with unit and class of each column as field metadata."""
        import pyarrow as pa  # 30 MiB that only writers of this schema need: the collector lives without

        bare = pl.DataFrame(schema=self.polars_schema).to_arrow().schema
        return pa.schema(
            [
                bare.field(column.name).with_metadata({"unit": column.unit, "support_class": column.support_class})
                for column in self.columns
            ]
        )

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

    def empty(self) -> pl.DataFrame:
        """A frame of no rows with exactly these columns."""
        return pl.DataFrame(schema=self.polars_schema)


MINUTE = Table(
    TableLayout(
        name="um_minute",
        title="minute table",
        market=UM.name,
        market_directory=UM.directory,
        directory="minute",
        grain=timedelta(minutes=1),
        span="hour",
        row_stream="klines_1m",
        tiers=("day", "month"),
    ),
    COLUMNS,
    primary_key=("symbol", "timestamp"),
    sort_order=("timestamp",),
)
