"""What it means to declare a column.

Belongs here: the `Column` record, the bounds a value must keep, the words that its fields may hold.
Does not belong here: any column (`minute_columns` and its like), or what follows from a list of them (`table`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import polars as pl

from lake_assets.schema.rolling import Rollup

SupportClass = Literal["HARD_REQUIRED", "BACKFILL_AVAILABLE", "LIVE_ONLY"]
Group = Literal["canonical", "coverage"]
Sources = tuple[str, str, str]
"""Where values come from in the cold, the warm and the hot band, in words for a reader; `-` for nowhere."""

Quiet = Literal["always", "zero", "null", "carried", "computed"]
"""What a column holds in a row in which its stream was whole and nothing of it happened: it has a value in every row
(`always`), 0 (`zero`), NULL (`null`), the last value before (`carried`), or it follows from other columns of the row
(`computed`)."""

Role = Literal["open", "high", "low", "close", "volume"]
"""Part of a column in the rules of a bar: one of its four prices, or an amount that is never negative."""

LIVE = "live"
"""In the place of a stream: what only a collector can know that was running at the time."""


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


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a table: everything that the rest of the platform knows about it by name.

    Attributes:
        name: column name.
        dtype: polars type.
        unit: unit in words; empty for booleans.
        support_class: HARD_REQUIRED (never NULL), BACKFILL_AVAILABLE (has a history), LIVE_ONLY (collectors only).
        sources: where the value comes from in the cold, warm and hot band, in words.
        fill_policy: when it is NULL, 0 or carried forward, in words.
        definition: the formula.
        stream: name of the stream without which the value is not known; `LIVE` where only a collector knows it.
        rollup: how the value of a longer bar follows from those of its rows.
        quiet: what the column holds where the stream is whole and nothing happened.
        wire: the stream's own column that this one repeats as it is; empty where a formula makes it.
        witness: column that tells whether the stream was there in a row, where the value is NULL also because nothing
            happened; it is NULL (a flag that is never NULL: false) where the stream was not there. Empty: itself.
        role: its part in the rules of a bar.
        hole_excuses: a known hole of its stream excuses a NULL in it, though it is required.
        group: `canonical`, or `coverage` (the flags).
        bounds: limits of a value.
        never_null: a NULL is an error in any row, though the column is none of the required ones (flags).
        carried_for: how long after its instant a value stands at most, where that is fixed. The policy's words are part
            of what each file says of its schema, and stay as they were when this makes them exact.
        position: 1-based place in the table; `numbered` gives it.
    """

    name: str
    dtype: pl.DataType
    unit: str
    support_class: SupportClass
    sources: Sources
    fill_policy: str
    definition: str
    stream: str
    rollup: Rollup
    quiet: Quiet
    wire: str = ""
    witness: str = ""
    role: Role | None = None
    hole_excuses: bool = False
    group: Group = "canonical"
    bounds: Bounds = UNBOUNDED
    never_null: bool = False
    carried_for: timedelta | None = None
    position: int = 0

    @property
    def cold_source(self) -> str:
        """Where the value comes from for hours older than the warm band; `-` for nowhere."""
        return self.sources[0]

    @property
    def warm_source(self) -> str:
        """Where the value comes from in the warm band."""
        return self.sources[1]

    @property
    def hot_source(self) -> str:
        """Where the value comes from in the hot band."""
        return self.sources[2]

    @property
    def required(self) -> bool:
        """Whether a row without a value is refused (known holes excepted where they excuse it)."""
        return self.support_class == "HARD_REQUIRED"

    @property
    def nullable(self) -> bool:
        """Whether a NULL can be right, known holes of the exchange apart."""
        return not (self.required or self.never_null)

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
