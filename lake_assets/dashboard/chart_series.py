"""What a chart shows: bars with their volumes, holes as holes, marks for what is provisional, doubted or revised.

Belongs here: rows and certificate → columns to draw. Does not belong here: drawing them (`component`), Streamlit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import polars as pl

from lake_assets.at_rest import TableStore, store_of
from lake_assets.exports.export import ExportRequest, scan_export, tail_of
from lake_assets.live.live_tail import Listening, LiveTail
from lake_assets.quality.certificate import Certificate, certify, with_live
from lake_assets.reading import load
from lake_assets.schema.table import Table
from lake_assets.transforms.rollup import (
    COMPLETE,
    TIMEFRAMES,
    Timeframe,
    needed_columns,
    own_timeframe,
    rolled_columns,
    rollup,
)
from lake_resources.bar_values import PRICES
from lake_resources.clock import Clock
from lake_resources.settings import LakeSettings
from lake_resources.storage.extents import require_extents
from lake_resources.storage.reader import reading

POINTS = 10_000
"""Bars that a chart has at most: a year of minutes opens as hours, and finer as one looks closer."""
MOST = 100_000
"""Bars that a chart has at most where their length is chosen: a day of seconds."""
PROVISIONAL, DOUBTED, REVISED = "#9e9e9e", "#ff9800", "#2962ff"
HOLE, EXPLAINED = "rgba(239,83,80,0.25)", "rgba(120,120,120,0.18)"


@dataclass(frozen=True)
class AskedChart:
    """What is to be seen.

    Attributes:
        table: which table.
        symbol: whose rows.
        start, end: the window, half-open, UTC; it is widened to whole bars.
        timeframe: length of a bar; None for the shortest that keeps to `points`. One that would give more than `MOST`
            bars is taken for None.
        points: bars at most.
        panes: columns that are drawn as lines beside the price.
    """

    table: Table
    symbol: str
    start: datetime
    end: datetime
    timeframe: Timeframe | None = None
    points: int = POINTS
    panes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Band:
    """Bars that nobody has, one after the other.

    Attributes:
        time: start of the first, epoch seconds.
        count: how many.
        color, text: of the band and for the reader.
    """

    time: int
    count: int
    color: str
    text: str


@dataclass(frozen=True)
class Chart:
    """Columns ready to draw, and what they are worth.

    Attributes:
        timeframe: length of a bar.
        start, end: the window in whole bars, UTC.
        frame: the rows that are there.
        certificate: of the window.
        bars: a row per bar that is there, in order: `time` (epoch seconds), open, high, low, close, `volume`, `mark`
            (index into `marks`), then the panes by their names; all numbers, NULL where a value is not known.
        marks: color and text; the first is that of bars which are simply proven.
        bands: bars that nobody has.
        panes: names of the lines beside the price.
        at: when it was made, UTC.
    """

    timeframe: Timeframe
    start: datetime
    end: datetime
    frame: pl.DataFrame
    certificate: Certificate
    bars: pl.DataFrame
    marks: tuple[tuple[str, str], ...]
    bands: tuple[Band, ...]
    panes: tuple[str, ...]
    at: datetime

    @property
    def step(self) -> int:
        """Length of a bar in seconds."""
        return int(TIMEFRAMES[self.timeframe].total_seconds())


def fitting(table: Table, start: datetime, end: datetime, points: int = POINTS) -> Timeframe:
    """The shortest timeframe of a table in which a window has at most so many bars, else the longest."""
    fit = [name for name, length in TIMEFRAMES.items() if not length % table.layout.grain]
    return next((name for name in fit if (end - start) / TIMEFRAMES[name] <= points), fit[-1])


def chart_of(asked: AskedChart, *, settings: LakeSettings, clock: Clock) -> Chart:
    """The chart of a window, read from the lake.

    Raises:
        LakeError: as `reading.load`; a window that ends before it starts is none of whole rows.
    """
    table, timeframe = asked.table, asked.timeframe
    if timeframe is None or (asked.end - asked.start) / TIMEFRAMES[timeframe] > MOST:
        timeframe = fitting(table, asked.start, asked.end, asked.points)
    length = TIMEFRAMES[timeframe]
    start, end = _floor(asked.start, length), _floor(asked.end + length - timedelta(microseconds=1), length)
    panes = tuple(name for name in asked.panes if name in panes_of(table))
    now = clock()
    listening = Listening.by(settings, now) if table.heard else None
    store = store_of(settings, table)
    try:
        # The rows are read beside the ledger: neither waits for the other, and reading files leaves Python to it.
        with ThreadPoolExecutor(1) as beside:
            rows = beside.submit(_bars_read, store, asked.symbol, (start, end), timeframe, panes, listening)
            # Of the bars alone: where else the values of the lines come from takes longer to find than to draw a year.
            certificate = certify(
                store, asked.symbol, start, end, now=now, lag_minutes=settings.safety_lag_minutes, columns=_drawn(table)
            )
            require_extents(store, asked.symbol, start, end)
            revised = {_floor(each.timestamp, length) for each in store.ledger.revisions(asked.symbol, start, end)}
            frame, tail = rows.result()
    finally:
        store.close()
    if tail is not None:
        certificate = with_live(certificate, tail)
    texts = _texts(frame, certificate, revised, length)
    marks = (("", ""), *texts.select("color", "text").unique(maintain_order=True).drop_nulls().iter_rows())
    return Chart(
        timeframe, start, end, frame, certificate, _bars(frame, table, texts, marks, panes), marks,
        tuple(_bands(certificate, length, frame)), panes, now,
    )  # fmt: skip


def certificate_of(chart: Chart, *, settings: LakeSettings) -> Certificate:
    """The certificate of the rows that a chart shows, with the sources of its lines.

    Where partitions were committed since it was drawn it is that of the bars alone, as they were.
    """
    drawn, table = chart.certificate, chart.certificate.table
    columns = [*_drawn(table), *chart.panes]
    found = load(
        drawn.symbol, chart.start, chart.end, columns, table=table, settings=settings, clock=lambda: chart.at
    ).certificate
    if found.data_version != drawn.data_version:
        return drawn
    # The rows that were drawn: what the collector has by now are others.
    return replace(found, provisional_from=drawn.provisional_from, live_from=drawn.live_from, live_rows=drawn.live_rows)


def panes_of(table: Table) -> tuple[str, ...]:
    """Columns that can be drawn as lines: numbers that bars of any length have, beside prices and the volume."""
    bars = {*_drawn(table), table.layout.time_column}
    return tuple(name for name in rolled_columns(table) if name not in bars and table.column(name).dtype.is_numeric())


def _drawn(table: Table) -> tuple[str, ...]:
    """Columns of the bars: prices, and the volume where the table has one."""
    return (*table.prices, *table.volumes[:1])


def _bars_read(
    store: TableStore,
    symbol: str,
    window: tuple[datetime, datetime],
    timeframe: Timeframe,
    panes: Sequence[str],
    listening: Listening | None,
) -> tuple[pl.DataFrame, LiveTail | None]:
    """The bars of a window, and what the collector gave of them."""
    table, (start, end) = store.table, window
    wanted = tuple(dict.fromkeys((*_drawn(table), *panes)))
    request = ExportRequest(start, end, own_timeframe(table), needed_columns(table, wanted), live=listening)
    tail = tail_of(store, symbol, request)
    with reading(table.layout, symbol, start, end):
        return rollup(table, scan_export(store, symbol, request, tail), timeframe, wanted).collect(), tail


def _floor(instant: datetime, length: timedelta) -> datetime:
    midnight = instant.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight + (instant - midnight) // length * length


def _bars(
    frame: pl.DataFrame, table: Table, texts: pl.DataFrame, marks: Sequence[tuple[str, str]], panes: Sequence[str]
) -> pl.DataFrame:
    volume = pl.col(table.volumes[0]) if table.volumes else pl.lit(None)
    known = {text: number for number, (_, text) in enumerate(marks)}
    return frame.select(
        pl.col(table.layout.time_column).dt.epoch("s").alias("time"),
        *(pl.col(column).alias(name) for name, column in zip(PRICES, table.prices, strict=True)),
        volume.cast(pl.Float64).alias("volume"),
        texts["text"].replace_strict(known, default=0, return_dtype=pl.Int64).alias("mark"),
        *(pl.col(name).cast(pl.Float64) for name in panes),
    )


def _texts(frame: pl.DataFrame, certificate: Certificate, revised: set[datetime], length: timedelta) -> pl.DataFrame:
    """Columns `color` and `text` of each bar; NULL of one that is simply proven."""
    table, layout = certificate.table, certificate.table.layout
    at = pl.col(layout.time_column)
    # A bar is in doubt where a partition is that it lies in, or that lies in it: the first one says why.
    longer = length > layout.step
    doubts: dict[datetime, str] = {}
    provisional = {*certificate.open_partitions}
    for start, doubt in certificate.doubts.items():
        if doubt.kind == "provisional":
            provisional.add(start)
        else:
            doubts.setdefault(_floor(start, length) if longer else start, doubt.text)
    partition = at if longer else at.dt.truncate(layout.every)
    open_ = sorted({_floor(start, length) if longer else start for start in provisional})
    partial = ~pl.col(COMPLETE) if COMPLETE in frame.columns else pl.lit(value=False)
    kind = frame.schema[layout.time_column]
    starts = pl.Series(list(doubts), dtype=kind)
    texts = pl.Series(list(doubts.values()), dtype=pl.String)
    live_from = certificate.live_from or certificate.end
    found = frame.with_columns(
        _live=at + length > live_from,
        _provisional=(at + length > min(certificate.as_of, certificate.provisional_from or certificate.as_of))
        | partition.is_in(pl.Series(open_, dtype=kind).implode()),
        _doubt=partition.replace_strict(starts, texts, default=None, return_dtype=pl.String),
        _partial=partial,
        _revised=at.is_in(pl.Series(sorted(revised), dtype=kind).implode()),
    )
    cases = (
        (pl.col("_live"), PROVISIONAL, pl.lit("live: heard, and not committed yet")),
        (pl.col("_provisional"), PROVISIONAL, pl.lit("provisional: it may still change")),
        (pl.col("_doubt").is_not_null(), DOUBTED, pl.col("_doubt")),
        (pl.col("_partial"), DOUBTED, pl.lit(f"not all {table.row_word}s of it are there")),
        (pl.col("_revised"), REVISED, pl.lit("revised: a better source said otherwise")),
    )
    return found.select(
        color=pl.coalesce(pl.when(case).then(pl.lit(color)) for case, color, _ in cases),
        text=pl.coalesce(pl.when(case).then(text) for case, _, text in cases),
    )


def _bands(certificate: Certificate, length: timedelta, frame: pl.DataFrame) -> Iterator[Band]:
    """The bars that nobody has, with the cause; a hole within a bar that is there only marks it."""
    there = set(frame[certificate.table.layout.time_column].to_list()) if certificate.holes else set()
    done: datetime | None = None
    for hole in certificate.holes:
        color = EXPLAINED if hole.explained else HOLE
        at = _floor(hole.start, length)
        if done is not None and at < done:
            at = done
        first, count = at, 0
        while at < hole.end:
            if at in there:
                if count:
                    yield Band(int(first.timestamp()), count, color, hole.cause)
                first, count = at + length, 0
            else:
                count += 1
            at += length
        if count:
            yield Band(int(first.timestamp()), count, color, hole.cause)
        done = at
