"""An archive and an answer of REST beside each other: hours of which both say different values.

Belongs here: comparing them hour by hour. Does not belong here: whose values are taken (`sources`), asking REST
again (`sources`), aggTrades, whose rows have a witness of their own (`trade_sources`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from lake_assets.validation.parity import StreamParity, compare_stream
from lake_resources.binance.stream import Stream
from lake_resources.clock import HOUR
from lake_resources.storage.ledger.ledger import Capture


def compare_answers(
    stream: Stream, settle: timedelta, archived: pl.DataFrame, answers: Sequence[tuple[Capture, Path]]
) -> dict[datetime, StreamParity]:
    """Archive against answer, by hour; none where an answer's file does not read, which its reader tells.

    Args:
        stream: of what.
        settle: rows that were younger when REST was asked may not have been in its answer yet; that is no difference.
        archived: wire frame of the archives, of all these hours.
        answers: what REST said of hours, and their files.
    """
    archived = _as_rest(stream, archived)
    time = pl.col(stream.time_column)
    found = {}
    for capture, path in answers:
        try:
            said = pl.read_parquet(path, glob=False)
        except (pl.exceptions.PolarsError, OSError):
            continue
        start, end = capture.window_start, min(capture.window_end, capture.captured_at - settle)
        inside = (time >= capture.hour) & (time < capture.hour + HOUR)
        found[capture.hour] = compare_stream(stream, archived.filter(inside), said, start, end)
    return found


def compare_rows(
    stream: Stream, held: pl.DataFrame, said: pl.DataFrame, start: datetime, end: datetime
) -> StreamParity:
    """What the lake holds of a window against what REST says of it, value by value.

    Args:
        stream: of what.
        held: wire frame of an archive, or of an earlier answer.
        said: wire frame of REST.
        start: first instant, UTC.
        end: first instant after the window.
    """
    return compare_stream(stream, _as_rest(stream, held), said, start, end)


def _as_rest(stream: Stream, rows: pl.DataFrame) -> pl.DataFrame:
    """Rows as REST stamps them: files stamped in microseconds end a minute at .999999, REST at .999."""
    return rows.with_columns(pl.col("close_time").dt.truncate("1ms")) if stream.is_klines else rows
