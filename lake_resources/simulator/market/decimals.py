"""Integers of a digit count as the decimal strings Binance prints.

Belongs here: exact printing, no floats. Does not belong here: which digits a field has.
"""

from __future__ import annotations

import polars as pl

from lake_resources.simulator.market.rng import Ints

_FEW = 2_000
"""Up to so many values plain formatting is faster than a data frame."""


def text_column(values: Ints, digits: int, pad: int = 0) -> pl.Series:
    """Decimal strings of a whole array.

    Args:
        values: integers of 10**-digits, may be negative.
        digits: decimals carried by the integers.
        pad: extra zeros to print after them.
    """
    frame = pl.DataFrame({"v": values})
    tail = "0" * pad
    if digits == 0:
        return frame.select(pl.col("v").cast(pl.String) + ("." + tail if pad else ""))["v"]
    size = pl.col("v").abs()
    text = pl.concat_str(
        pl.when(pl.col("v") < 0).then(pl.lit("-")).otherwise(pl.lit("")),
        (size // 10**digits).cast(pl.String),
        pl.lit("."),
        (size % 10**digits).cast(pl.String).str.zfill(digits),
        pl.lit(tail),
    )
    return frame.select(text.alias("v"))["v"]


def texts(values: Ints, digits: int, pad: int = 0) -> list[str]:
    """Decimal strings of a whole array, as a list."""
    if len(values) > _FEW:
        return text_column(values, digits, pad).to_list()
    tail = "0" * pad
    if digits == 0:
        return [f"{value}.{tail}" for value in values.tolist()] if pad else [str(value) for value in values.tolist()]
    scale = 10**digits
    return [
        f"{value // scale}.{value % scale:0{digits}d}{tail}" if value >= 0 else f"{text(value, digits)}{tail}"
        for value in values.tolist()
    ]


def text(value: int, digits: int) -> str:
    """One decimal string."""
    sign = "-" if value < 0 else ""
    whole, part = divmod(abs(value), 10**digits)
    return f"{sign}{whole}.{part:0{digits}d}" if digits else f"{sign}{whole}"
