"""Rows of a wire frame in one order and each once, whatever order and repetition they came in.

Belongs here: the one rule for repeated keys.
Does not belong here: anything that looks at more than key and equality of rows.
"""

from __future__ import annotations

import polars as pl


def distinct_rows(frame: pl.DataFrame, key: str) -> pl.DataFrame:
    """The rows sorted by `key`, one per key.

    Repeated rows are dropped. Where rows of one key contradict each other, the one that is greatest over all columns
    (NULL is least) stays, so that the result does not depend on the order they came in.
    """
    ordered = frame.sort(key)
    if ordered[key].is_unique().all():
        return ordered
    columns = [key, *(name for name in frame.columns if name != key)]
    return frame.sort(columns).unique(key, keep="last", maintain_order=True)
