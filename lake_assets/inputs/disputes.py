"""An archive and an answer of REST beside each other: hours of which both say different values.

Belongs here: comparing them hour by hour. Does not belong here: whose values are taken (`sources`), asking REST
again (`sources`), aggTrades, whose rows have a witness of their own (`trade_sources`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from lake_assets.schema.stream_use import StreamUse
from lake_assets.validation.parity import StreamParity, compare_stream
from lake_resources.binance.stream import Stream
from lake_resources.binance.witness import Settlements
from lake_resources.clock import HOUR
from lake_resources.spans import within
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
    found = {}
    for capture, path in answers:
        try:
            said = pl.read_parquet(path, glob=False)
        except (pl.exceptions.PolarsError, OSError):
            continue
        start, end = capture.window_start, min(capture.window_end, capture.captured_at - settle)
        own = archived.filter(within(stream.time_column, capture.hour, capture.hour + HOUR))
        said = on_stamps_of(stream, own, said)
        found[capture.hour] = compare_stream(stream, _filled(stream, own, said), said, start, end)
    return found


def reached_by_disputes(
    use: StreamUse, disputes: Mapping[datetime, StreamParity], rows: pl.DataFrame, hours: Sequence[datetime]
) -> dict[datetime, str]:
    """Hours into which a value is carried that both sides state differently in an hour before, with the first of them.

    Args:
        use: the stream as the table uses it; of one that is not carried forward there are none.
        disputes: hours with values that differ.
        rows: its rows, of the hours and what is known around them.
        hours: starts of contiguous hours, in order.
    """
    if not use.look_back_hours or not disputes:
        return {}
    times = rows[use.stream.time_column].unique().sort()
    carried = timedelta(0) if use.carried_after is None else use.carried_after
    found: dict[datetime, str] = {}
    for hour, parity in sorted(disputes.items()):
        told = parity.differences.filter(~pl.col("column").str.starts_with("row"))["timestamp"].unique().sort()
        for at in told:
            after = times.filter(times > at)
            until = (after[0] if after.len() else hours[-1] + HOUR) + carried
            for each in hours:
                if each > hour and at + carried < each + HOUR and each < until:
                    found.setdefault(each, f"{parity.first}")
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
    said = on_stamps_of(stream, held, said)
    return compare_stream(stream, _filled(stream, _as_rest(stream, held), said), said, start, end)


def on_stamps_of(stream: Stream, held: pl.DataFrame, said: pl.DataFrame) -> pl.DataFrame:
    """Rows of one source with the stamps that another has of the same settlements.

    Each stamps a settlement some milliseconds after its instant. Of other streams the rows are returned as they are.

    Args:
        stream: of what.
        held: wire frame whose stamps are taken, each settlement once.
        said: wire frame; a settlement that `held` does not have keeps its stamp.
    """
    if not isinstance(stream.witness, Settlements):
        return said
    time, instant = stream.time_column, pl.col(stream.time_column).dt.round("1m")
    stamps = held.select(instant=instant, stamp=time).unique("instant", keep="first")
    stamped = said.with_columns(instant=instant).join(stamps, on="instant", how="left", maintain_order="left")
    return stamped.with_columns(pl.coalesce("stamp", time).alias(time)).select(said.columns)


def _filled(stream: Stream, rows: pl.DataFrame, said: pl.DataFrame) -> pl.DataFrame:
    """Rows with what they do not tell as the other side says it: a value that was not published contradicts nothing."""
    silent = [name for name, count in rows.null_count().row(0, named=True).items() if count and name in said.columns]
    if not silent:
        return rows
    told = said.select(*stream.key, *(pl.col(name).alias(f"{name} said") for name in silent))
    joined = rows.join(told, on=stream.key, how="left", maintain_order="left")
    return joined.with_columns(pl.coalesce(name, f"{name} said") for name in silent).select(rows.columns)


def _as_rest(stream: Stream, rows: pl.DataFrame) -> pl.DataFrame:
    """Rows as REST stamps them: files stamped in microseconds end a minute at .999999, REST at .999."""
    return rows.with_columns(pl.col("close_time").dt.truncate("1ms")) if stream.is_klines else rows
