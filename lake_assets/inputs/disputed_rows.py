"""Rows of which an archive and REST say different values: whose are taken, row by row.

Belongs here: that choice. Does not belong here: noticing the difference (`disputes`), what trades prove
(`trade_sources`), what a difference makes of the hour (`validation.hour_verdict`).

Which of two is right a third one says, where there is one: aggTrades add up to the volumes of one of both. Without a
third what REST said stays: it was there first, REST is asked again before, and what is contradicted proves nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

import polars as pl

from lake_assets.inputs.stream_sources import StreamSources, Take
from lake_assets.source import HourSource
from lake_resources.storage.provenance import SourceRef, minutes_text

WITNESSED = frozenset({"volume", "quote_volume", "count"})
"""Columns of bars that the trades of a minute add up to."""


@dataclass(frozen=True)
class BarsByTrades:
    """What aggTrades say of the bars beside them.

    Attributes:
        proven: minutes of which the bars that were taken are what the trades of some source add up to.
        answered: by hour, what REST said of its bars, and the minutes in which only that is what trades add up to.
    """

    proven: frozenset[datetime] = frozenset()
    answered: Mapping[datetime, tuple[HourSource, frozenset[datetime]]] = field(default_factory=dict)


def settled(found: StreamSources, bars: BarsByTrades | None = None) -> StreamSources:
    """The sources of a stream with each disputed row from the one of both that is believed.

    Args:
        found: sources of a stream, with what archive and REST say differently.
        bars: what aggTrades say, where `found` are their bars.
    """
    by_trades = BarsByTrades() if bars is None else bars
    instead = {}
    for hour in sorted(found.disputes.keys() | by_trades.answered.keys()):
        answer, times = _answered(found, hour, by_trades)
        if answer is not None and times and hour in found.by_hour and found.by_hour[hour].paths:
            instead[hour] = Take("rest", answer.paths[0], tuple(sorted(times))), answer
    if not instead:
        return found
    by_hour = dict(found.by_hour)
    for hour, (take, answer) in instead.items():
        if found.ref(hour).kind == "rest":  # what REST says now replaces what it said before
            by_hour[hour] = answer
        else:
            by_hour[hour] = _with(found.by_hour[hour], take, answer)
    kept = {hour: take for hour, (take, _) in instead.items() if found.ref(hour).kind != "rest"}
    return replace(found, by_hour=by_hour, instead=kept)


def _answered(
    found: StreamSources, hour: datetime, bars: BarsByTrades
) -> tuple[HourSource | None, frozenset[datetime]]:
    """The answer of REST for an hour, and times of the rows that are taken from it."""
    answer, times = bars.answered.get(hour, (None, frozenset()))
    if hour not in found.disputes:
        return answer, times
    said, parity = found.disputes[hour]
    cells = parity.differences.filter(~pl.col("column").str.starts_with("row"))
    # Where trades fit the archive's bar and not the other, that one is the wrong one as a whole.
    refuted = cells.filter(pl.col("timestamp").is_in(list(bars.proven)) & pl.col("column").is_in(list(WITNESSED)))
    unproven = cells.join(refuted, on="timestamp", how="anti")
    return said, times | frozenset(unproven["timestamp"].to_list())


def _with(source: HourSource, take: Take, answer: HourSource) -> HourSource:
    """A source of which some rows are taken from an answer."""
    ref = source.ref
    said = answer.ref.reference
    reference = ref.reference if said in ref.reference else f"{ref.reference}+{said}"
    detail = {**ref.detail, "rest": minutes_text(each.minute for each in take.minutes)}
    kind = "archive+rest" if ref.kind == "archive" else ref.kind
    return HourSource(SourceRef(ref.stream, kind, reference, detail), source.paths)
