"""An archive and an answer of REST beside each other: hours of which both say different values.

Belongs here: comparing them hour by hour. Does not belong here: whose values are taken (`disputed_rows`), asking REST
again (`sources`), aggTrades, whose rows have a witness of their own (`trade_sources`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from lake_assets.validation.parity import StreamParity, compare_stream
from lake_resources.binance.stream import Stream
from lake_resources.clock import HOUR
from lake_resources.storage.ledger.ledger import Capture


def compare_answers(
    stream: Stream,
    settle: timedelta,
    archives: Mapping[datetime, Path],
    answers: Mapping[datetime, tuple[Capture, Path]],
) -> dict[datetime, StreamParity]:
    """Archive against answer, for each hour that has both; none where a file does not read, which its reader tells.

    Args:
        stream: of what.
        settle: rows that were younger when REST was asked may not have been in its answer yet; that is no difference.
        archives: typed archive by hour.
        answers: what REST said by hour, and its file.
    """
    hours = sorted(archives.keys() & answers.keys())
    if not hours:
        return {}
    time = pl.col(stream.time_column)
    columns = list(stream.columns)
    try:
        paths = list(dict.fromkeys(archives[hour] for hour in hours))
        inside = (time >= hours[0]) & (time < hours[-1] + HOUR)
        filed = pl.concat([pl.scan_parquet(path, glob=False).filter(inside).select(columns) for path in paths])
        archived = filed.collect().sort(stream.time_column)
        said = {hour: pl.read_parquet(answers[hour][1], glob=False) for hour in hours}
    except (pl.exceptions.PolarsError, OSError):
        return {}
    if stream.is_klines:
        # Files stamped in microseconds end a minute at .999999, REST at .999.
        archived = archived.with_columns(pl.col("close_time").dt.truncate("1ms"))
    found = {}
    for hour in hours:
        capture, _ = answers[hour]
        start, end = capture.window_start, min(capture.window_end, capture.captured_at - settle)
        found[hour] = compare_stream(stream, _between(archived, stream, hour), said[hour], start, end)
    return found


def _between(rows: pl.DataFrame, stream: Stream, hour: datetime) -> pl.DataFrame:
    """Rows of an hour, of a frame that is sorted by time."""
    times = rows[stream.time_column]
    edges = pl.Series([hour, hour + HOUR], dtype=times.dtype)
    first, end = times.search_sorted(edges, side="left").to_list()
    return rows.slice(first, end - first)
