"""How long trades of spot took to arrive, as the collector told it minute by minute.

Belongs here: finding what it told last. Does not belong here: what else its records hold (`spot_records`), measuring
(`lake_resources.collector`).
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import orjson

from lake_resources.binance.market import SPOT
from lake_resources.binance.ws.frames import CLOCK, EVERY_SYMBOL
from lake_resources.clock import MINUTE_MS, epoch_ms
from lake_resources.collector.segments import read_columns
from lake_resources.storage.catalog import MarketPaths


def latest_latency(root: Path, start: datetime, end: datetime) -> tuple[datetime, dict[str, int]] | None:
    """The newest minute of `[start, end)` of which the collector told how long its trades took.

    Args:
        root: directory of the lake.
        start: UTC.
        end: UTC.

    Returns:
        The end of that minute (UTC), and `p50`, `p95` and `max` in ms with the number of `frames`; None where none is.
    """
    segments = MarketPaths(root, SPOT.name).live_records_dir
    for minute in range(epoch_ms(end) // MINUTE_MS, epoch_ms(start) // MINUTE_MS - 1, -1):
        clocks = read_columns(segments, EVERY_SYMBOL, minute, minute + 1, frozenset((CLOCK,)))[CLOCK]
        told = [orjson.loads(payload).get("latency_ms") for payload in clocks.payload]
        if found := [each for each in told if each is not None]:
            return datetime.fromtimestamp(minute * 60, UTC), found[-1]
    return None
