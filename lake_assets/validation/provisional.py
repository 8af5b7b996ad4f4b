"""Rows that are closed but younger than the safety lag: which of them may be shown already.

Belongs here: cutting the tail of an open partition at the first row that is not whole. Does not belong here: what must
exist (`windows.expected_end`), the verdict on the partition (`gate`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import polars as pl

from lake_assets.schema.table import Table
from lake_assets.validation.gate import PartitionWindow


def with_provisional(
    table: Table, frame: pl.DataFrame, windows: Sequence[PartitionWindow]
) -> tuple[pl.DataFrame, list[PartitionWindow]]:
    """Take the closed rows that are younger than the safety lag, up to the first that is not whole.

    Args:
        table: the table that the rows are of.
        frame: built rows, sorted by time (UTC).
        windows: the partitions that are built, with the rows that must exist.

    Returns:
        The frame without rows that come after a gap or lack a required column there, and the windows that the rest has
        to fill. Rows that must exist are left for the gate to judge.
    """
    time, drop = pl.col(table.layout.time_column), pl.lit(value=False)
    filled = []
    for window in windows:
        end = window.start + table.layout.step
        if window.expected_end == end:
            filled.append(window)
            continue
        tail = frame.filter(time.is_between(window.expected_end, end, closed="left"))
        cut = _first_unsound(table, tail, window.expected_end)
        filled.append(PartitionWindow(window.start, cut))
        if cut < end:
            drop = drop | time.is_between(cut, end, closed="left")
    return frame.filter(~drop), filled


def _first_unsound(table: Table, tail: pl.DataFrame, start: datetime) -> datetime:
    """The time of the first row from `start` on that is absent or lacks a required column."""
    whole = tail.filter(pl.all_horizontal(pl.col(name).is_not_null() for name in table.required))
    expected = start
    for found in whole[table.layout.time_column].to_list():
        if found != expected:
            break
        expected += table.layout.grain
    return expected
