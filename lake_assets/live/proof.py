"""What the collector has for the minute table: live rows of a window, and where they prove that nothing is missing.

Belongs here: reading live rows for `assemble`, coverage of trades, the identity of what was read.
Does not belong here: making live rows (`collect`), choosing between them and other sources (`sources`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from lake_assets.live.row_files import LiveRows
from lake_assets.schema.column import LIVE
from lake_assets.transforms.live.live_coverage import trade_coverage
from lake_assets.transforms.live.live_rows import live_input, live_trades
from lake_assets.transforms.trades import TRADE_FEATURES
from lake_resources.storage.provenance import SourceRef

_AROUND = timedelta(minutes=10)
"""Trades this far beyond a window may prove that it is whole."""


@dataclass(frozen=True)
class LiveHours:
    """Live rows of one symbol for some hours.

    Attributes:
        live: columns `LIVE_INPUT`, with the look-back that was asked for; None where there is no row at all.
        trades: columns `TRADE_FEATURES`, of the minutes in which `live` says `has_agg_trades`.
        heard: hours of which every required minute has all its aggTrades, with where they come from; kind `ws`.
        refs: hours that have live rows, with where they come from; kind `ws`.
    """

    live: pl.DataFrame | None
    trades: pl.DataFrame
    heard: Mapping[datetime, SourceRef]
    refs: Mapping[datetime, SourceRef]


NOTHING = LiveHours(None, pl.DataFrame(schema=TRADE_FEATURES), {}, {})
"""Where no collector was."""


def read_live(
    rows: LiveRows,
    symbol: str,
    required: Mapping[datetime, datetime],
    ends: Mapping[datetime, datetime],
    klines: Callable[[], pl.DataFrame],
    *,
    look_back: timedelta,
) -> LiveHours:
    """Live rows for hours of the minute table.

    Args:
        rows: live rows of the lake.
        symbol: upper case.
        required: per hour (its start, UTC), the first minute that need not be there yet.
        ends: per hour, the first minute that is not wanted; the same, or later while the hour is open.
        klines: gives the wire frame of `klines_1m` of these hours, whose counts prove minutes that ids do not; called
            only where there are live rows.
        look_back: book features of so long before an hour are carried into it.
    """
    start, end = min(required), max(ends.values())
    held = rows.read(symbol, start - max(look_back, _AROUND), end + _AROUND)
    if held.is_empty():
        return NOTHING
    counts = klines().select(timestamp="open_time", trade_count="count").unique("timestamp", keep="none")
    coverage = trade_coverage(held, counts, start - look_back, end)
    live, trades = live_input(held, coverage), live_trades(held, coverage)
    heard, refs = {}, {}
    for hour, last in required.items():
        if not _between(held, hour, ends[hour]).is_empty():
            refs[hour] = SourceRef(LIVE, "ws", _digest(_between(live, hour - look_back, ends[hour])))
        minutes = _between(coverage, hour, last)
        if minutes.height and minutes["has_agg_trades"].all():
            heard[hour] = SourceRef("agg_trades", "ws", _digest(_between(trades, hour, last)))
    return LiveHours(live, trades, heard, refs)


def _between(frame: pl.DataFrame, start: datetime, end: datetime) -> pl.DataFrame:
    return frame.filter(pl.col("timestamp").is_between(start, end, closed="left"))


def _digest(rows: pl.DataFrame) -> str:
    """Identity of the values, whatever file they came in."""
    return hashlib.sha256(rows.write_ndjson().encode()).hexdigest()
