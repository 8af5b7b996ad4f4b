"""Hours of the real minute table with nothing wrong, and a lake that holds them.

Belongs here: rows that pass the gate, committing them as the ingest does. Does not belong here: any defect, any
assertion.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from lake_assets.lake import CODE_VERSION
from lake_assets.tables.um_minute import UM_MINUTE
from lake_assets.transforms.assemble import assemble
from lake_resources.clock import HOUR, MINUTE
from lake_resources.storage.commit import PartitionCandidate, commit_partitions
from lake_resources.storage.provenance import SourceRef
from lake_resources.storage.store import Store
from lake_tests.support.stores import store_at
from lake_tests.support.wire_frames import inputs, kline, wire

SYMBOL = "BTCUSDT"
FIRST = datetime(2026, 1, 15, tzinfo=UTC)
NOW = datetime(2026, 2, 15, 12, 34, 56, tzinfo=UTC)
LAG = 3
_KLINES = ("klines_1m", "mark_price_klines_1m", "index_price_klines_1m")


def sound_rows(start: datetime, hours: int, seed: int = 7) -> pl.DataFrame:
    """Minutes of whole hours, a random walk from 100; columns without a source are NULL."""
    walk, rows, price = random.Random(seed), [], 100.0
    for index in range(60 * hours):
        first, price = price, round(price + walk.gauss(0, 0.05), 2)
        high, low = round(max(first, price) + 0.05, 2), round(min(first, price) - 0.05, 2)
        volume = round(walk.uniform(1, 5), 3)
        quote = round(volume * price, 5)
        rows.append(kline(start + index * MINUTE, (first, high, low, price), volume, quote, 20, volume / 2, quote / 2))
    frames = {name: wire(name, rows) for name in _KLINES}
    return assemble(
        inputs(
            start,
            start + hours * HOUR,
            klines=frames["klines_1m"],
            mark=frames["mark_price_klines_1m"],
            index=frames["index_price_klines_1m"],
        )
    )


def open_files(root: Path) -> Store:
    """The minute table of the lake at a root."""
    root.mkdir(parents=True, exist_ok=True)
    return store_at(root)


def candidate(
    hour: datetime, rows: pl.DataFrame, *, expected: int = 60, streams: Iterable[str] = _KLINES
) -> PartitionCandidate:
    """The hour as the ingest would offer it, with the archives of these streams as its sources."""
    return PartitionCandidate(
        start=hour,
        frame=rows,
        metadata={"lake.table": "minute"},
        sources={name: SourceRef(name, "archive", f"sha-{name}") for name in streams},
        complete=rows.height == 60,
        expected_rows=expected,
        inputs_hash=f"inputs {hour}",
        schema_hash=UM_MINUTE.schema_hash,
        code_version=CODE_VERSION,
    )


def commit_sound(
    store: Store,
    first: datetime,
    hours: int,
    symbol: str = SYMBOL,
    *,
    streams: Iterable[str] = _KLINES,
) -> None:
    """Commit whole sound hours."""
    rows = sound_rows(first, hours)
    parts = [candidate(first + n * HOUR, rows.slice(60 * n, 60), streams=streams) for n in range(hours)]
    commit_partitions(store, symbol, parts, clock=lambda: NOW)
