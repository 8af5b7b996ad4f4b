"""Synthetic hours of a small minute table, for the tests of storage.

Belongs here: candidates and ledger rows with every field settable. Does not belong here: the lake's real columns.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from lake_resources.storage.commit import PartitionCandidate, commit_partitions
from lake_resources.storage.ledger.ledger import Partition
from lake_resources.storage.provenance import SourceKind, SourceRef
from lake_resources.storage.reader import scan
from lake_resources.storage.store import Store
from lake_tests.support.stores import store_at

SYMBOL = "BTCUSDT"
DAY = datetime(2026, 2, 15, tzinfo=UTC)
NOW = datetime(2026, 2, 20, 12, 34, 56, tzinfo=UTC)
SCHEMA = pl.Schema({"timestamp": pl.Datetime("us", "UTC"), "close": pl.Float64(), "count": pl.Int64()})
ARCHIVE: Mapping[str, SourceKind] = {"klines_1m": "archive", "agg_trades": "archive"}
REST: Mapping[str, SourceKind] = {"klines_1m": "rest", "agg_trades": "rest"}


def at(hour: float) -> datetime:
    """An instant so many hours after the start of the test day."""
    return DAY + timedelta(hours=hour)


def clock() -> datetime:
    """A frozen clock, days after the test day."""
    return NOW


@functools.lru_cache(maxsize=2048)  # a month of hours, which many tests commit
def frame(hour: datetime, rows: int = 60, value: float = 1.0) -> pl.DataFrame:
    """The first `rows` minutes of an hour; `value` tells versions apart."""
    return pl.DataFrame(
        {
            "timestamp": [hour + timedelta(minutes=minute) for minute in range(rows)],
            "close": [value] * rows,
            "count": list(range(rows)),
        },
        schema=SCHEMA,
    )


def candidate(
    hour: datetime,
    *,
    rows: int = 60,
    value: float = 1.0,
    kinds: Mapping[str, SourceKind] = ARCHIVE,
    complete: bool | None = None,
) -> PartitionCandidate:
    """A candidate; complete when it has 60 rows, unless said otherwise."""
    return PartitionCandidate(
        start=hour,
        frame=frame(hour, rows, value),
        metadata={"lake.table": "minute"},
        sources={stream: SourceRef(stream, kind, f"{stream}-{kind}") for stream, kind in kinds.items()},
        complete=rows == 60 if complete is None else complete,
        expected_rows=60,
        inputs_hash=f"{value}",
        schema_hash="schema",
        code_version="1",
    )


def partition(hour: datetime, *, symbol: str = SYMBOL, rows: int = 60, complete: bool | None = None) -> Partition:
    """A ledger row with no file behind it."""
    return Partition(
        symbol=symbol,
        start=hour,
        path=f"some/{hour:%Y%m%d%H}.parquet",
        row_count=rows,
        expected_rows=60,
        min_ts=hour if rows else None,
        max_ts=hour + timedelta(minutes=rows - 1) if rows else None,
        schema_hash="schema",
        content_hash="c" * 64,
        size_bytes=1,
        inputs_hash="inputs",
        complete=rows == 60 if complete is None else complete,
        sources={"klines_1m": SourceRef("klines_1m", "archive", "zip", {"period": "2026-02-15"})},
        code_version="1",
        committed_at=NOW,
    )


def lake(root: Path) -> Store:
    """An empty lake below `root`."""
    return store_at(root)


def commit(store: Store, *candidates: PartitionCandidate, **options: Any) -> list[str]:
    """Commit hours of `SYMBOL` as `commit_partitions` does; the status of each."""
    return [found.status for found in commit_partitions(store, SYMBOL, candidates, clock=clock, **options)]


def closes(store: Store, hours: int = 24) -> list[float | None]:
    """`close` of the stored minutes from `at(0)` on, by the lake's reader."""
    return scan(store, SYMBOL, at(0), at(hours), schema=SCHEMA).collect()["close"].to_list()
