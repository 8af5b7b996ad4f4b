"""Rows and checks of several symbols in one pass, their hours laid out beside each other on one line of time.

Belongs here: laying out, the one pass over all lanes, cutting it apart again. Does not belong here: what is read for a
symbol (`rows`), formulas and rules, which are those of one symbol (`transforms`, `validation`).

A lane is the line of time moved by whole days, by more than any formula or rule looks back or ahead, so that no symbol
sees another's rows and each gets the bytes that it gets by itself. What is not plainly sound is left to be built by
itself: then its checks name instants and values in words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from lake_assets.build.hours import JudgedRows
from lake_assets.build.prepared_day import PreparedDay
from lake_assets.build.reconcile import minute_coverage
from lake_assets.build.rows import MinutesRead
from lake_assets.transforms.assemble import BARS, MinuteInputs, assemble
from lake_assets.transforms.trades import unlike_bars
from lake_assets.validation.gate import PartitionWindow, gate, with_provisional
from lake_assets.validation.outcome import CheckOutcome
from lake_assets.validation.parity import archive_parity, minutes_beside, trades_by_hour
from lake_resources.binance.um_streams import AGG_TRADES
from lake_resources.clock import DAY, HOUR
from lake_resources.spans import rows_within

_APART = 64 * DAY
"""From one lane to the next."""


@dataclass(frozen=True)
class Lane:
    """One symbol's part of the pass.

    Attributes:
        day: what is to be built; it `fits_a_lane`.
        read: what its rows are made of.
    """

    day: PreparedDay
    read: MinutesRead


def fits_a_lane(day: PreparedDay) -> bool:
    """Whether no source of a day is held against another, and none is cut in minutes, so that one pass is enough.

    Args:
        day: what is to be built.
    """
    order, span = day.order, day.span
    if not order.builder.in_lanes or order.lake.judging or day.holes():
        return False
    reach = timedelta(hours=max(found.use.look_back_hours for found in day.sources.values()))
    if span[1] - span[0] + reach + timedelta(minutes=order.lake.max_ffill_minutes) >= _APART / 2:
        return False
    hours, trades = [plan.hour for plan in day.todo], day.sources[AGG_TRADES.name]
    if any("archive" in trades.ref(hour).kind or hour in trades.takes for hour in hours) or trades.losses(hours):
        return False
    return not any(found.parities or found.disputes or found.instead for found in day.sources.values())


def judged_in_lanes(lanes: Sequence[Lane]) -> list[JudgedRows | None]:
    """Rows and checks of days of several symbols, made as those of one.

    Args:
        lanes: of different symbols, of one table and lake; at least one.

    Returns:
        For each lane its rows and checks; None where they are not plainly sound, and the day must be built by itself.
    """
    lake, shifts = lanes[0].day.order.lake, [index * _APART for index in range(len(lanes))]
    streams = _laid_out([lane.read.streams for lane in lanes], shifts)
    windows = [
        PartitionWindow(plan.window.start + shift, plan.window.expected_end + shift)
        for lane, shift in zip(lanes, shifts, strict=True)
        for plan in lane.day.todo
    ]
    starts = [window.start for window in windows]
    frame = assemble(streams, max_ffill_minutes=lake.max_ffill_minutes)
    frame = frame.filter(pl.col("timestamp").dt.truncate("1h").is_in(starts))
    frame, filled = with_provisional(lake.table, frame, windows)
    verdicts = gate(lake.table, frame, filled, ())
    bars = _moved([lane.read.bars for lane in lanes], "timestamp", shifts)
    unlike = set(unlike_bars(streams.klines, bars)["timestamp"].dt.truncate("1h").to_list())
    against_klines = _trades_against_klines(lanes, shifts, streams, frame)
    own = zip(filled, (verdicts[start] for start in starts), (against_klines[start] for start in starts), strict=True)
    parts = [rows_within(frame, "timestamp", start, start + lake.store.layout.step) for start in starts]
    back = [-shift for lane, shift in zip(lanes, shifts, strict=True) for _ in lane.day.todo]
    whole = _moved(parts, "timestamp", back)
    found: list[JudgedRows | None] = []
    at = 0
    sizes = iter(part.height for part in parts)
    for lane, shift in zip(lanes, shifts, strict=True):
        checks, kept, height = dict[datetime, list[CheckOutcome]](), list[PartitionWindow](), 0
        sound = True
        for plan in lane.day.todo:
            window, of_gate, of_trades = next(own)
            size = next(sizes)
            rows = whole.slice(at + height, size)
            height += size
            kept.append(PartitionWindow(plan.hour, window.expected_end - shift))
            sound &= all(each.passed for each in (*of_gate, of_trades)) and window.start not in unlike
            coverage = minute_coverage(lane.day.order.symbol, lane.day.sources, plan.hour, rows)
            checks[plan.hour] = [*of_gate, coverage, archive_parity(()), of_trades]
        found.append(JudgedRows(whole.slice(at, height), kept, checks) if sound else None)
        at += height
    return found


def _trades_against_klines(
    lanes: Sequence[Lane], shifts: Sequence[timedelta], streams: MinuteInputs, frame: pl.DataFrame
) -> dict[datetime, CheckOutcome]:
    """The check `trades_vs_klines` of each hour of all lanes, from the minutes whose trades are known."""
    hours = [
        [(plan.hour + shift, lane.day.sources[AGG_TRADES.name].covered(plan.hour)) for plan in lane.day.todo]
        for lane, shift in zip(lanes, shifts, strict=True)
    ]
    assert streams.trades is not None
    known = frame.filter(pl.col("count_buy_trades").is_not_null()).select("timestamp")
    trades = streams.trades.join(known, on="timestamp", how="semi")
    klines = streams.klines.join(known, left_on="open_time", right_on="timestamp", how="semi")
    minutes = minutes_beside(klines, trades, [at for own in hours for at, covered in own if covered])
    # Each lane is summed by itself, as one hour where it is one: how doubles add up depends on what lies beside them.
    found: dict[datetime, CheckOutcome] = {}
    for own in hours:
        starts = [at for at, _ in own]
        rows = rows_within(minutes, "timestamp", starts[0], starts[-1] + HOUR)
        if sum(covered for _, covered in own) == 1:
            rows = rows.with_columns(rows.get_column("hour").set_sorted())
        found |= trades_by_hour(rows, starts)
    return found


def _laid_out(streams: Sequence[MinuteInputs], shifts: Sequence[timedelta]) -> MinuteInputs:
    """The streams of all lanes as one."""

    def moved(frames: Sequence[pl.DataFrame | None], time: str) -> pl.DataFrame | None:
        there = [(frame, shift) for frame, shift in zip(frames, shifts, strict=True) if frame is not None]
        return _moved([frame for frame, _ in there], time, [shift for _, shift in there]) if there else None

    klines = [rows_within(each.klines, "open_time", each.start, each.end) for each in streams]
    return MinuteInputs(
        start=min(each.start + shift for each, shift in zip(streams, shifts, strict=True)),
        end=max(each.end + shift for each, shift in zip(streams, shifts, strict=True)),
        klines=_moved(klines, "open_time", shifts),
        bars={name: moved([each.bars[name] for each in streams], "open_time") for name in BARS},
        trades=moved([each.trades for each in streams], "timestamp"),
        book=moved([each.book for each in streams], "timestamp"),
        metrics=moved([each.metrics for each in streams], "create_time"),
        funding=moved([each.funding for each in streams], "calc_time"),
        coverage=_moved([each.coverage for each in streams], "hour", shifts),
        live=moved([each.live for each in streams], "timestamp"),
    )


def _moved(frames: Sequence[pl.DataFrame], time: str, shifts: Sequence[timedelta]) -> pl.DataFrame:
    """Frames of the same columns as one, the times of each moved by its shift."""
    whole = pl.concat(frames, rechunk=True)
    unit = whole.schema[time]
    assert isinstance(unit, pl.Datetime)
    by = pl.concat(
        pl.Series([shift], dtype=pl.Duration(unit.time_unit)).new_from_index(0, frame.height)
        for frame, shift in zip(frames, shifts, strict=True)
    )
    return whole.with_columns(pl.col(time) + by)
