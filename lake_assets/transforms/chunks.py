"""Re-cutting a stream of frames at minute edges, so that a day is aggregated without being held in memory.

Belongs here: the carry of an unfinished minute from one chunk to the next.
Does not belong here: what is computed of a minute (`trades`, `book`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from itertools import islice

import numpy as np
import polars as pl

from lake_resources.clock import EPOCH, MINUTE_US
from lake_resources.errors import RowsOutOfOrder

_MICROSECOND = timedelta(microseconds=1)

HELD_BACK = timedelta(minutes=1)
"""Minutes are released once rows of the next but one have come: aggTrades are stored by id, and at Binance the time
of neighbouring ids can step back a little, also over a minute edge."""


class MinuteCut:
    """Takes chunks of rows and gives back whole minutes; memory is bounded by one chunk and two minutes of rows.

    Args:
        time_column: a Datetime column of the chunks, UTC, in microseconds, without NULL.
    """

    def __init__(self, time_column: str) -> None:
        self._time = time_column
        self._carry: pl.DataFrame | None = None
        self._released_us: int | None = None

    def push(self, frame: pl.DataFrame) -> pl.DataFrame | None:
        """Take the next chunk; returns the minutes that are whole now, rows in their order of arrival.

        Raises:
            RowsOutOfOrder: a row belongs to a minute that was already released.
        """
        if frame.is_empty():
            return None
        # One chunk per column: the sum of a float column depends on how it is chunked.
        merged = pl.concat([frame] if self._carry is None else [self._carry, frame]).rechunk()
        times = merged[self._time].to_physical().to_numpy()
        in_order = bool((times[1:] >= times[:-1]).all())
        first, last = (times[0], times[-1]) if in_order else (times.min(), times.max())
        if self._released_us is not None and first < self._released_us:
            came, whole = _instant(first), _instant(self._released_us)
            raise RowsOutOfOrder(
                f"{self._time} {came} came after the minutes before {whole} were complete",
                remedy="Read the stream whole and sort it by its key",
            )
        cut_us = int(last) // MINUTE_US * MINUTE_US - HELD_BACK // _MICROSECOND
        if in_order:
            at = int(np.searchsorted(times, cut_us))
            ready, self._carry = merged[:at], merged[at:]
        else:
            early = pl.Series(times < cut_us)
            ready, self._carry = merged.filter(early).rechunk(), merged.filter(~early)
        if ready.is_empty():
            return None
        self._released_us = cut_us
        return ready

    def rest(self) -> pl.DataFrame | None:
        """The minutes that no further chunk can reach, once there is none."""
        return None if self._carry is None or self._carry.is_empty() else self._carry.rechunk()


def whole_minutes(frames: Iterable[pl.DataFrame], time_column: str) -> Iterator[pl.DataFrame]:
    """Re-cut chunks so that every minute lies in exactly one frame.

    Args:
        frames: chunks in about the order of time; rows may step back by less than the minute held back.
        time_column: a Datetime column of them, UTC.

    Yields:
        Non-empty frames of whole minutes, in ascending order of minutes; rows keep their order of arrival.

    Raises:
        RowsOutOfOrder: a row belongs to a minute that was already released. Read the stream whole then
            (`features_in_one_pass` does).
    """
    cut = MinuteCut(time_column)
    for frame in frames:
        ready = cut.push(frame)
        if ready is not None:
            yield ready
    last = cut.rest()
    if last is not None:
        yield last


def _instant(microseconds: int) -> datetime:
    return EPOCH + int(microseconds) * _MICROSECOND


def features_in_one_pass(
    read: Callable[[], Iterable[pl.DataFrame]],
    features: Callable[[pl.DataFrame], pl.DataFrame],
    time_column: str,
) -> pl.DataFrame:
    """Features per minute of a whole stream, chunk by chunk; disordered streams are read again and held whole.

    Args:
        read: starts reading the stream from its beginning.
        features: `trade_features` or `book_features`; must not depend on the order of rows.
        time_column: the Datetime column the features bucket by.

    Returns:
        What `features` returns for the whole stream, sorted by `timestamp`.
    """
    try:
        parts = [features(frame) for frame in whole_minutes(read(), time_column)]
    except RowsOutOfOrder:
        parts = [features(pl.concat(read()))]
    if not parts:
        # No rows: the features of an empty frame, so that the columns are there.
        parts = [features(frame) for frame in islice(read(), 1)]
    return pl.concat(parts).sort("timestamp") if parts else pl.DataFrame(schema={"timestamp": pl.Datetime("us", "UTC")})
