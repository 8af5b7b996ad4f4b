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


def whole_minutes(frames: Iterable[pl.DataFrame], time_column: str) -> Iterator[pl.DataFrame]:
    """Re-cut chunks so that every minute lies in exactly one frame.

    Memory is bounded by one chunk and two minutes of rows.

    Args:
        frames: chunks in about the order of time; rows may step back by less than the minute held back.
        time_column: a Datetime column of them, UTC.

    Yields:
        Non-empty frames of whole minutes, in ascending order of minutes; rows keep their order of arrival.

    Raises:
        RowsOutOfOrder: a row belongs to a minute that was already released. Read the stream whole then
            (`features_in_one_pass` does).
    """
    carry: pl.DataFrame | None = None
    released: datetime | None = None
    for frame in frames:
        if frame.is_empty():
            continue
        earliest = _instant(frame[time_column].min())
        if released is not None and earliest < released:
            raise RowsOutOfOrder(
                f"{time_column} {earliest} came after the minutes before {released} were complete",
                remedy="Read the stream whole and sort it by its key",
            )
        merged = frame if carry is None else pl.concat([carry, frame])
        cut = _instant(merged[time_column].max()).replace(second=0, microsecond=0) - HELD_BACK
        ready, carry = _split(merged, time_column, cut)
        if not ready.is_empty():
            released = cut
            # One chunk per column: the sum of a float column depends on how it is chunked.
            yield ready.rechunk()
    if carry is not None and not carry.is_empty():
        yield carry.rechunk()


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
