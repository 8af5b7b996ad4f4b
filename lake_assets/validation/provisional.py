"""Minutes that are closed but younger than the safety lag: which of them may be shown already.

Belongs here: cutting the tail of an open hour at the first minute that is not whole. Does not belong here: what must
exist (`windows.expected_end`), the verdict on the hour (`gate`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import polars as pl

from lake_assets.schema.tables import MINUTE
from lake_assets.validation.gate import HourWindow

HOUR = timedelta(hours=1)
MINUTE_STEP = timedelta(minutes=1)


def with_provisional(frame: pl.DataFrame, windows: Sequence[HourWindow]) -> tuple[pl.DataFrame, list[HourWindow]]:
    """Take the closed minutes that are younger than the safety lag, up to the first that is not whole.

    Args:
        frame: assembled rows, sorted by `timestamp` (UTC).
        windows: the hours that are built, with the minutes that must exist.

    Returns:
        The frame without rows that come after a gap or lack a required column there, and the windows that the rest has
        to fill. Rows that must exist are left for the gate to judge.
    """
    drop = pl.lit(value=False)
    filled = []
    for window in windows:
        end = window.hour + HOUR
        if window.expected_end == end:
            filled.append(window)
            continue
        tail = frame.filter(pl.col("timestamp").is_between(window.expected_end, end, closed="left"))
        cut = _first_unsound(tail, window.expected_end)
        filled.append(HourWindow(window.hour, cut))
        if cut < end:
            drop = drop | pl.col("timestamp").is_between(cut, end, closed="left")
    return frame.filter(~drop), filled


def _first_unsound(tail: pl.DataFrame, start: datetime) -> datetime:
    """The first minute from `start` on that is absent or lacks a required column."""
    whole = tail.filter(pl.all_horizontal(pl.col(name).is_not_null() for name in MINUTE.required))
    expected = start
    for minute in whole["timestamp"].to_list():
        if minute != expected:
            break
        expected += MINUTE_STEP
    return expected
