"""What a chart shows: bars with their volumes, holes as holes, marks for what is provisional, doubted or revised.

Belongs here: rows and certificate → series. Does not belong here: drawing them (`component`), Streamlit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from lake_assets.at_rest import store_of
from lake_assets.quality.certificate import Certificate
from lake_assets.reading import load
from lake_assets.schema.table import Table
from lake_assets.transforms.rollup import COMPLETE, TIMEFRAMES, Timeframe, rolled_columns
from lake_resources.clock import Clock
from lake_resources.settings import LakeSettings

POINTS = 10_000
"""Bars that a chart has at most: a year of minutes opens as hours, and finer as one looks closer."""
UP, DOWN, PROVISIONAL, DOUBTED, REVISED = "#26a69a", "#ef5350", "#9e9e9e", "#ff9800", "#2962ff"
HOLE, EXPLAINED = "rgba(239,83,80,0.25)", "rgba(120,120,120,0.18)"


@dataclass(frozen=True)
class Asked:
    """What is to be seen.

    Attributes:
        table: which table.
        symbol: whose rows.
        start, end: the window, half-open, UTC; it is widened to whole bars.
        timeframe: length of a bar; None for the shortest that keeps to `points`.
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
class Chart:
    """Series ready to draw, and what they are worth.

    Attributes:
        timeframe: length of a bar.
        start, end: the window in whole bars, UTC.
        frame: the rows that are there.
        certificate: of the window.
        series: `candles`, `volume`, `holes` and, by column, the lines of `panes`: points with a `time` in epoch
            seconds; one with a time alone is a bar that nobody has.
    """

    timeframe: Timeframe
    start: datetime
    end: datetime
    frame: pl.DataFrame
    certificate: Certificate
    series: dict[str, Any]


def fitting(table: Table, start: datetime, end: datetime, points: int = POINTS) -> Timeframe:
    """The shortest timeframe of a table in which a window has at most so many bars, else the longest."""
    fit = [name for name, length in TIMEFRAMES.items() if not length % table.layout.grain]
    return next((name for name in fit if (end - start) / TIMEFRAMES[name] <= points), fit[-1])


def chart_of(asked: Asked, *, settings: LakeSettings, clock: Clock) -> Chart:
    """The chart of a window, read from the lake.

    Raises:
        LakeError: as `reading.load`; a window that ends before it starts is none of whole rows.
    """
    table = asked.table
    timeframe = asked.timeframe or fitting(table, asked.start, asked.end, asked.points)
    length = TIMEFRAMES[timeframe]
    start, end = _floor(asked.start, length), _floor(asked.end + length - timedelta(microseconds=1), length)
    columns = [*table.prices, *table.volumes[:1], *(name for name in asked.panes if name in rolled_columns(table))]
    lazy, certificate = load(
        asked.symbol, start, end, columns, table=table, timeframe=timeframe, settings=settings, clock=clock
    )
    frame = lazy.collect()
    store = store_of(settings, table)
    try:
        revised = {each.timestamp for each in store.ledger.revisions(asked.symbol, start, end)}
    finally:
        store.close()
    marks = _marks(frame, certificate, revised, length)
    series = _series(frame, table, certificate, marks, asked.panes) | {
        "holes": _holes(certificate, length, {row["time"] for row in _points(frame, table, [])}),
    }
    return Chart(timeframe, start, end, frame, certificate, series)


def panes_of(table: Table) -> tuple[str, ...]:
    """Columns that can be drawn as lines: numbers that bars of any length have, beside prices and the volume."""
    bars = {*table.prices, *table.volumes[:1], table.layout.time_column}
    return tuple(name for name in rolled_columns(table) if name not in bars and table.column(name).dtype.is_numeric())


def _floor(instant: datetime, length: timedelta) -> datetime:
    midnight = instant.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight + (instant - midnight) // length * length


def _points(frame: pl.DataFrame, table: Table, columns: Sequence[str]) -> list[dict[str, Any]]:
    time = pl.col(table.layout.time_column).dt.epoch("s").alias("time")
    return frame.select(time, *columns).to_dicts()


def _marks(
    frame: pl.DataFrame, certificate: Certificate, revised: set[datetime], length: timedelta
) -> dict[int, tuple[str, str]]:
    """Color and text of the bars that are not simply proven, by epoch second."""
    table, layout = certificate.table, certificate.table.layout
    found: dict[int, tuple[str, str]] = {}
    changed = {int(_floor(each, length).timestamp()) for each in revised}
    partial = set()
    if COMPLETE in frame.columns:
        partial = set(frame.filter(~pl.col(COMPLETE))[layout.time_column].to_list())
    for at in frame[layout.time_column].to_list():
        second = int(at.timestamp())
        doubts = [certificate.doubts[each] for each in layout.between(at, at + length) if each in certificate.doubts]
        if at + length > certificate.as_of:
            found[second] = (PROVISIONAL, "provisional: it may still change")
        elif doubts:
            found[second] = (DOUBTED, doubts[0].text)
        elif at in partial:
            found[second] = (DOUBTED, f"not all {table.row_word}s of it are there")
        elif second in changed:
            found[second] = (REVISED, "revised: a better source said otherwise")
    return found


def _series(
    frame: pl.DataFrame,
    table: Table,
    certificate: Certificate,
    marks: dict[int, tuple[str, str]],
    panes: Sequence[str],
) -> dict[str, Any]:
    names = dict(zip(table.prices, ("open", "high", "low", "close"), strict=True))
    volume = table.volumes[0] if table.volumes else None
    candles, volumes = [], []
    for row in _points(frame, table, [*names, *([volume] if volume else [])]):
        up = row[table.prices[3]] >= row[table.prices[0]]
        color, text = marks.get(row["time"], (UP if up else DOWN, ""))
        bar = {"time": row["time"], **{name: row[column] for column, name in names.items()}}
        candles.append(bar | ({"wickColor": color, "borderColor": color, "text": text} if text else {}))
        if volume and row[volume] is not None:
            volumes.append({"time": row["time"], "value": row[volume], "color": f"{UP if up else DOWN}80"})
    lines = {
        name: [
            {"time": row["time"]} if row[name] is None else {"time": row["time"], "value": row[name]}
            for row in _points(frame, table, [name])
        ]
        for name in panes
        if name in frame.columns
    }
    return {"candles": candles, "volume": volumes, "panes": lines, "symbol": certificate.symbol}


def _holes(certificate: Certificate, length: timedelta, there: set[int]) -> list[dict[str, Any]]:
    """The bars that nobody has, one point each, with the cause; a hole within a bar that is there only marks it."""
    points: dict[int, dict[str, Any]] = {}
    for hole in certificate.holes:
        at = _floor(hole.start, length)
        while at < hole.end:
            second = int(at.timestamp())
            if second not in there:
                color = EXPLAINED if hole.explained else HOLE
                points[second] = {"time": second, "value": 1, "color": color, "text": hole.cause}
            at += length
    return [points[second] for second in sorted(points)]
