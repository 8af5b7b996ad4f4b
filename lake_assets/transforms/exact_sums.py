"""Sums of decimals that the exchange prints, as exact as it prints them.

Belongs here: adding up prices, quantities and their products without the error of doubles, so that a sum equals the
figure that the exchange publishes of the same trades, in its last digit. Does not belong here: what is summed up.
"""

from __future__ import annotations

import numpy as np
import polars as pl

_MOST_DECIMALS = 8
"""Decimals that Binance prints of a price or a quantity, at most."""
_EXACT = 2**53
"""Up to here every whole number is a double."""


def decimals_of(values: pl.Series) -> int:
    """The fewest decimals, at most 8, in which every one of these doubles is written exactly as it was read.

    Args:
        values: doubles read from decimal texts; NULLs are left out.
    """
    # numpy divides; polars would multiply by the inverse of a constant, which is off in the last digit.
    known = values.drop_nulls().to_numpy()
    for decimals in range(_MOST_DECIMALS):
        if np.array_equal(np.round(known * 10.0**decimals) / 10.0**decimals, known):
            return decimals
    return _MOST_DECIMALS


def in_units(value: pl.Expr, decimals: int) -> pl.Expr:
    """Doubles as whole numbers of 10**-decimals, in 128 bits: products and sums of them do not round."""
    return (value * 10.0**decimals).round(0).cast(pl.Int128)


def from_units(units: pl.Series, decimals: int) -> pl.Series:
    """Whole numbers of 10**-decimals as the doubles nearest to them."""
    if bool(units.abs().lt(_EXACT).all()):
        return pl.Series(units.name, units.cast(pl.Float64).to_numpy() / 10.0**decimals)
    # Python divides whole numbers of any length correctly; one that is no double would be rounded twice.
    divisor = 10**decimals
    found = [None if each is None else each / divisor for each in units.to_list()]
    return pl.Series(units.name, found, dtype=pl.Float64)
