"""Days of 24 full-width hours through gate and commit, from the first hour to the 10,000th.

Belongs here: rows that pass the gate, the loop, its figures. Does not belong here: making rows from archives
(`lake_day`), reading the result (`reads`), judging the figures.
"""

from __future__ import annotations

import argparse
import sqlite3
import statistics
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from lake_assets.lake import CODE_VERSION
from lake_assets.tables.um_minute import UM_MINUTE
from lake_assets.validation.gate import PartitionWindow, gate, passes
from lake_assets.validation.outcome import outcomes_to_json
from lake_resources.clock import HOUR
from lake_resources.storage.commit import PartitionCandidate, commit_partitions
from lake_resources.storage.disk import fsync_file
from lake_resources.storage.provenance import SourceRef
from lake_resources.storage.store import Store
from lake_tests.bench.meter import cpu_s, metered
from lake_tests.support.stores import store_at

SYMBOL = "BTCUSDT"
FIRST = datetime(2022, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 11, 20, 15, 30, 30, tzinfo=UTC)
_SOURCES = {
    name: SourceRef(name, "archive", "0123456789abcdef" * 4)
    for name in ("klines_1m", "mark_price_klines_1m", "index_price_klines_1m", "agg_trades", "metrics", "funding_rate")
}


def day_rows(start: datetime, seed: int) -> pl.DataFrame:
    """A day of the minute table whose values are new in every minute, as real ones are."""
    rng = np.random.default_rng(seed)
    close = np.round(64_000 + np.cumsum(rng.normal(0, 15, 1440)), 1)
    columns: dict[str, object] = {}
    for column in UM_MINUTE.columns:
        if column.name == "timestamp":
            columns[column.name] = [start + timedelta(minutes=n) for n in range(1440)]
        elif column.name in ("open", "high", "low", "close") or "price" in column.name:
            columns[column.name] = close
        elif column.dtype == pl.Boolean:
            columns[column.name] = [column.name == "has_ls_ratio"] * 1440
        elif column.dtype.is_integer():
            columns[column.name] = rng.integers(1, 5_000, 1440)
        elif column.dtype.is_float():
            columns[column.name] = np.round(rng.uniform(0.01, 0.99, 1440), 6)
        else:
            raise AssertionError(f"{column.name} is {column.dtype}")
    frame = pl.DataFrame(columns)
    return frame.cast(UM_MINUTE.polars_schema)


def commit_day(store: Store, frame: pl.DataFrame, start: datetime) -> None:
    """Gate and commit one day, as a build does it."""
    hours = [start + n * HOUR for n in range(24)]
    verdicts = gate(UM_MINUTE, frame, [PartitionWindow(hour, hour + HOUR) for hour in hours], [])
    candidates = []
    for number, hour in enumerate(hours):
        if not passes(verdicts[hour]):
            raise SystemExit([outcome.text() for outcome in verdicts[hour]])
        candidates.append(
            PartitionCandidate(
                start=hour,
                frame=frame.slice(number * 60, 60),
                metadata={"lake.symbol": SYMBOL, "lake.hour": hour.isoformat()},
                sources=_SOURCES,
                complete=True,
                expected_rows=60,
                inputs_hash="0123456789abcdef" * 4,
                schema_hash=UM_MINUTE.schema_hash,
                code_version=CODE_VERSION,
                checks=outcomes_to_json(verdicts[hour]),
            )
        )
    outcomes = commit_partitions(store, SYMBOL, candidates, clock=lambda: NOW)
    assert all(outcome.status == "committed" for outcome in outcomes)


class Floor:
    """The least that a durable commit does: a file with zstd, an fsync, a rename, and a row of SQLite, per hour."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True)
        self._root = root
        self._rows = sqlite3.connect(root / "rows.sqlite", isolation_level=None)
        self._rows.execute("PRAGMA journal_mode = WAL")
        self._rows.execute("CREATE TABLE hours (start TEXT PRIMARY KEY, path TEXT, size INTEGER)")

    def commit_day(self, frame: pl.DataFrame, start: datetime) -> None:
        """The same 24 frames, nothing else."""
        for number in range(24):
            hour = start + number * HOUR
            path, staged = self._root / f"{hour:%Y%m%dT%H}.parquet", self._root / "staged"
            frame.slice(number * 60, 60).write_parquet(staged, compression="zstd")
            fsync_file(staged)
            staged.rename(path)
            self._rows.execute("INSERT INTO hours VALUES (?, ?, ?)", (f"{hour}", path.name, path.stat().st_size))


def main() -> None:
    """Commit `days` days into a lake that stays."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("--days", type=int, default=417, help="417 days are the first 10,000 hours")
    given = parser.parse_args()
    store, floor = store_at(given.root), Floor(given.root / "floor")
    walls, cpus, floor_walls, floor_cpus = [], [], [], []
    with metered() as figures:
        for number in range(given.days):
            start = FIRST + number * 24 * HOUR
            frame = day_rows(start, number)
            wall, cpu = time.perf_counter(), cpu_s()
            floor.commit_day(frame, start)
            floor_walls.append((time.perf_counter() - wall) / 24 * 1000)
            floor_cpus.append((cpu_s() - cpu) / 24 * 1000)
            wall, cpu = time.perf_counter(), cpu_s()
            commit_day(store, frame, start)
            walls.append((time.perf_counter() - wall) / 24 * 1000)
            cpus.append((cpu_s() - cpu) / 24 * 1000)
        part = max(1, given.days // 10)
        figures |= {
            "wall_ms_per_hour": statistics.mean(walls),
            "cpu_ms_per_hour": statistics.mean(cpus),
            "first_cpu_ms": statistics.median(cpus[:part]),
            "last_cpu_ms": statistics.median(cpus[-part:]),
            "first_wall_ms": statistics.median(walls[:part]),
            "last_wall_ms": statistics.median(walls[-part:]),
            "floor_wall_ms": statistics.mean(floor_walls),
            "floor_cpu_ms": statistics.mean(floor_cpus),
        }


if __name__ == "__main__":
    main()
