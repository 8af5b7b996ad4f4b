"""Looking at one symbol after the other, where one that is damaged does not keep the others waiting.

Belongs here: which errors are one symbol's own, and going on after them. Does not belong here: what is looked for, any
decision.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from typing import TypeVar

import polars as pl
import sqlalchemy as sa

from lake_resources.errors import LakeError

ITEM_ERRORS = (
    LakeError,
    OSError,
    sqlite3.Error,
    sa.exc.SQLAlchemyError,
    pl.exceptions.PolarsError,
    # A row of the ledger, or a file, whose text is not what was written there.
    ValueError,
    KeyError,
)
"""What a damaged, locked or half-written row or file of one symbol raises."""

Found = TypeVar("Found")


def look_at_each(
    symbols: Iterable[str], look: Callable[[str], Found], warn: Callable[[str], object]
) -> dict[str, Found]:
    """What is found of each symbol, in their order.

    A symbol that cannot be looked at is left out and told of; the next tick looks at it again.

    Args:
        symbols: whom to look at.
        look: finds what there is of one.
        warn: takes a line per symbol that is left out.

    Raises:
        LakeError, OSError, …: none could be looked at; the first one's error, so that the tick is shown as failed.
    """
    found: dict[str, Found] = {}
    errors: list[Exception] = []
    for symbol in symbols:
        try:
            found[symbol] = look(symbol)
        except ITEM_ERRORS as error:
            warn(f"{symbol} is left out of this tick: {type(error).__name__}: {error}")
            errors.append(error)
    if errors and not found:
        raise errors[0]
    return found
