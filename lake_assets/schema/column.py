"""What it means to declare a column.

Belongs here: the `Column` record and the bounds a value must keep.
Does not belong here: any column; those are in `columns`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import polars as pl

SupportClass = Literal["HARD_REQUIRED", "BACKFILL_AVAILABLE", "LIVE_ONLY"]
Group = Literal["canonical", "coverage"]


@dataclass(frozen=True)
class Bounds:
    """Limits that every non-NULL value keeps.

    Attributes:
        lower: smallest value, or None.
        upper: largest value (inclusive), or None.
        above: the value must be greater than `lower`, not equal to it (prices).
    """

    lower: float | None = None
    upper: float | None = None
    above: bool = False

    def text(self) -> str:
        """The bounds for a reader, e.g. `> 0` or `0..1`; empty where there are none."""
        if self.lower is not None and self.upper is not None:
            return f"{self.lower:g}..{self.upper:g}"
        if self.lower is not None:
            return f"{'>' if self.above else '≥'} {self.lower:g}"
        return "" if self.upper is None else f"≤ {self.upper:g}"


UNBOUNDED = Bounds()
POSITIVE = Bounds(lower=0, above=True)
NOT_NEGATIVE = Bounds(lower=0)
FRACTION = Bounds(lower=0, upper=1)
SIGNED_FRACTION = Bounds(lower=-1, upper=1)


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        position: 1-based place in the table.
        name: column name.
        dtype: polars type.
        unit: unit in words; empty for booleans.
        support_class: HARD_REQUIRED (never NULL), BACKFILL_AVAILABLE (has a history), LIVE_ONLY (collectors only).
        cold_source: where the value comes from for hours older than the warm band; `-` for nowhere.
        warm_source: the same for the warm band.
        hot_source: the same for the hot band.
        fill_policy: when it is NULL, 0 or carried forward.
        definition: the formula.
        group: canonical, or coverage (the flags).
        bounds: limits of a value.
        nullable: False where a NULL is an error in any row (known exchange holes excepted).
    """

    position: int
    name: str
    dtype: pl.DataType
    unit: str
    support_class: SupportClass
    cold_source: str
    warm_source: str
    hot_source: str
    fill_policy: str
    definition: str
    group: Group
    bounds: Bounds
    nullable: bool

    @property
    def lower(self) -> float | None:
        """Smallest value, or None."""
        return self.bounds.lower

    @property
    def upper(self) -> float | None:
        """Largest value, or None."""
        return self.bounds.upper

    @property
    def dtype_text(self) -> str:
        """The type as the data contract writes it, e.g. `Datetime(us, UTC)`."""
        if isinstance(self.dtype, pl.Datetime):
            return f"Datetime({self.dtype.time_unit}, {self.dtype.time_zone})"
        return str(self.dtype)
