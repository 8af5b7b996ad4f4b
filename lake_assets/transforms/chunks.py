"""Re-cutting a stream of frames at minute edges, so that a day is aggregated without being held in memory.

Belongs here: the carry of an unfinished minute from one chunk to the next.
Does not belong here: what is computed of a minute (`trades`, `book`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from itertools import islice

import polars as pl

from lake_resources.errors import RowsOutOfOrder

HELD_BACK = timedelta(minutes=1)
"""Minutes are released once rows of the next but one have come: aggTrades are stored by id, and at Binance the time
of neighbouring ids can step back a little, also over a minute edge."""


class MinuteCut:
    """Takes chunks of rows and gives back whole minutes; memory is bounded by one chunk and two minutes of rows.

    Args:
        time_column: a Datetime column of the chunks, UTC.
    """

    def __init__(self, time_column: str) -> None:
        self._time = time_column
        self._carry: pl.DataFrame | None = None
        self._released: datetime | None = None

    def push(self, frame: pl.DataFrame) -> pl.DataFrame | None:
        """Take the next chunk; returns the minutes that are whole now, rows in their order of arrival.

        Raises:
            RowsOutOfOrder: a row belongs to a minute that was already released.
        """
        if frame.is_empty():
            return None
        earliest = _instant(frame[self._time].min())
        if self._released is not None and earliest < self._released:
            raise RowsOutOfOrder(
                f"{self._time} {earliest} came after the minutes before {self._released} were complete",
                remedy="Read the stream whole and sort it by its key",
            )
        merged = frame if self._carry is None else pl.concat([self._carry, frame])
        cut = _instant(merged[self._time].max()).replace(second=0, microsecond=0) - HELD_BACK
        ready, self._carry = _split(merged, self._time, cut)
        if ready.is_empty():
            return None
        self._released = cut
        # One chunk per column: the sum of a float column depends on how it is chunked.
        return ready.rechunk()

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


def _instant(value: object) -> datetime:
    assert isinstance(value, datetime)
    return value


def _split(frame: pl.DataFrame, time_column: str, cut: datetime) -> tuple[pl.DataFrame, pl.DataFrame]:
    times = frame[time_column]
    if times.is_sorted():
        at = times.search_sorted(cut, side="left")
        return frame[:at], frame[at:]
    early = times < cut
    return frame.filter(early), frame.filter(~early)


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
