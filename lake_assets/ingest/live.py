"""What the collector has for the minute table: live rows of a window, and where they prove that nothing is missing.

Belongs here: reading live rows for `assemble`, coverage of trades per hour, the identity of what was read.
Does not belong here: making live rows (`collect`), choosing between them and other sources (`sources`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from lake_assets.ingest.live_rows import LiveRows
from lake_assets.transforms.live_coverage import trades_complete
from lake_assets.transforms.live_rows import live_input, live_trades
from lake_resources.storage.provenance import SourceRef

HOUR = timedelta(hours=1)
_AROUND = timedelta(minutes=10)
"""Trades beyond the edge of a window prove that it is whole."""


@dataclass(frozen=True)
class LiveHours:
    """Live rows of one symbol for some hours.

    Attributes:
        live: columns `LIVE_INPUT`, with the look-back that was asked for.
        trades: columns `TRADE_FEATURES`, of the hours in `trades_covered` that are True.
        trades_covered: per hour, whether every aggTrade of it (up to the end of the window) was heard.
        refs: per hour that has rows, where they came from; kind `ws`.
    """

    live: pl.DataFrame
    trades: pl.DataFrame
    trades_covered: Mapping[datetime, bool]
    refs: Mapping[datetime, SourceRef]


def read_live(
    rows: LiveRows, symbol: str, hours: Sequence[datetime], end: datetime, *, look_back: timedelta = HOUR
) -> LiveHours:
    """Live rows for hours of the minute table.

    Args:
        rows: live rows of the lake.
        symbol: upper case.
        hours: starts of hours, UTC.
        end: first minute that is not wanted: the end of the last hour, or earlier while it is open.
        look_back: book features of so long before the first hour are in `live`, to be carried forward.
    """
    start = min(hours)
    held = rows.read(symbol, start - max(look_back, _AROUND), end + _AROUND)
    within = held.filter(pl.col("timestamp") < end)
    covered = {hour: hour < end and trades_complete(held, hour, min(hour + HOUR, end)) for hour in hours}
    traded = within.filter(pl.col("timestamp").dt.truncate("1h").is_in([hour for hour in hours if covered[hour]]))
    parts = {hour: within.filter(pl.col("timestamp").is_between(hour, hour + HOUR, closed="left")) for hour in hours}
    return LiveHours(
        live=live_input(within.filter(pl.col("timestamp") >= start - look_back)),
        trades=live_trades(traded),
        trades_covered=covered,
        refs={hour: SourceRef("live", "ws", _digest(part)) for hour, part in parts.items() if part.height},
    )


def _digest(rows: pl.DataFrame) -> str:
    """Identity of the values, whatever file they came in."""
    return hashlib.sha256(rows.write_ndjson().encode()).hexdigest()
