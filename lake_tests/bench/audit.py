"""The audit of five years of one symbol, and the rulepack over a year: `python -m lake_tests.bench.audit [years]`.

Belongs here: making a lake of that size, timing; the last line is the figures. Does not belong here: the judging of
results by tests. A made lake repeats one day's values, so that making it does not take longer than auditing it.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from lake_assets.audit.cache import AuditCache
from lake_assets.audit.scan import audit_partitions
from lake_assets.lake import CODE_VERSION
from lake_assets.tables.um_minute import UM_MINUTE
from lake_assets.validation.rulepack import rulepack
from lake_resources.clock import HOUR
from lake_resources.storage.hashing import file_hash
from lake_resources.storage.ledger.ledger import Intent, Partition
from lake_resources.storage.provenance import SourceRef
from lake_resources.storage.store import Store
from lake_tests.bench.meter import cpu_s, peak_mib
from lake_tests.support.sound_hours import sound_rows
from lake_tests.support.stores import store_at

SYMBOL = "BTCUSDT"
FIRST = datetime(2021, 1, 1, tzinfo=UTC)
_DAYS_AT_ONCE = 30
_REPEATS = 5


def make_lake(root: Path, hours: int) -> Store:
    """A lake of so many sound hours; nothing is flushed to the disk, which only the real commit has to."""
    store = store_at(root)
    store.ledger.commit_intents(SYMBOL)  # begun before the files: a root with files and no ledger has lost it
    noise = random.Random(7)
    base = sound_rows(FIRST, 24).with_columns(
        pl.Series(name, [noise.random() / 2 + 0.1 for _ in range(24 * 60)])
        for name in ("vwap_1m", "micro_price_close", "avg_trade_size_quote")
        if name in UM_MINUTE.names
    )
    sources = {name: SourceRef(name, "archive", "a" * 64) for name in ("klines_1m", "agg_trades", "metrics")}
    metadata = {"lake.symbol": SYMBOL, "lake.sources": "s" * 1500}
    for first in range(0, hours, 24 * _DAYS_AT_ONCE):
        intents = []
        for number in range(first, min(hours, first + 24 * _DAYS_AT_ONCE)):
            hour = FIRST + number * HOUR
            rows = base.slice(60 * (number % 24), 60).with_columns(
                timestamp=pl.col("timestamp") + (hour - FIRST - (number % 24) * HOUR)
            )
            path = store.catalog.partition_path(SYMBOL, hour)
            path.parent.mkdir(parents=True)
            rows.write_parquet(path, compression="zstd", metadata=metadata)
            row = Partition(
                symbol=SYMBOL,
                start=hour,
                path=store.catalog.relative(path),
                row_count=60,
                expected_rows=60,
                min_ts=hour,
                max_ts=hour + timedelta(minutes=59),
                schema_hash=UM_MINUTE.schema_hash,
                content_hash=file_hash(path),
                size_bytes=path.stat().st_size,
                inputs_hash="i" * 64,
                complete=True,
                sources=sources,
                code_version=CODE_VERSION,
                committed_at=hour,
                checks='[{"name":"schema","passed":true,"metadata":{}}]' * 7,
            )
            intents.append(Intent(row, ".tmp/none"))
        store.ledger.write_intents(intents)
        store.ledger.commit_intents(SYMBOL)
    return store


def timed(name: str, work: Callable[[], object], **further: object) -> float:
    """Run and print one JSON line; returns the CPU seconds, of all threads."""
    wall, cpu = time.perf_counter(), cpu_s()
    work()
    wall, cpu = time.perf_counter() - wall, cpu_s() - cpu
    figures = {"wall_s": round(wall, 2), "cpu_s": round(cpu, 2)}
    sys.stdout.write(json.dumps({"what": name, **figures, "peak_mib": round(peak_mib()), **further}) + "\n")
    sys.stdout.flush()
    return cpu


def read_and_hash(store: Store, hours: int) -> None:
    """The least that an audit does: every file read, its bytes hashed."""
    for number in range(hours):
        path = store.catalog.partition_path(SYMBOL, FIRST + number * HOUR)
        file_hash(path)
        pl.read_parquet(path, glob=False, hive_partitioning=False)


def _bars(rows: int) -> pl.DataFrame:
    """Sound bars, a random walk."""
    noise = np.random.default_rng(7).normal(0, 1, rows)
    close = 50_000 + np.cumsum(noise)
    times = pl.datetime_range(FIRST, FIRST + timedelta(minutes=rows), "1m", closed="left", eager=True)
    return pl.DataFrame({"timestamp": times, "open": close, "high": close + 1, "low": close - 1, "close": close})


def main() -> None:
    """Make the lake in a temporary directory, audit it cold and again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("years", nargs="?", type=float, default=5.0)
    parser.add_argument("--keep", type=Path, help="make the lake here, or use the one that is here")
    given = parser.parse_args()
    hours = int(given.years * 365 * 24)
    root = given.keep or Path(tempfile.mkdtemp(prefix="audit-bench-"))
    if not (root / "ledger.sqlite").exists():
        root.mkdir(parents=True, exist_ok=True)
        timed("make the lake", lambda: make_lake(root, hours), hours=hours)
    store = store_at(root)
    end = FIRST + hours * HOUR
    cache = AuditCache(root / "audit.sqlite")
    cache.path.unlink(missing_ok=True)

    def audit() -> None:
        report = audit_partitions(store, SYMBOL, FIRST, end, now=end + HOUR, lag_minutes=3, cache=cache)
        assert len(report.hours) == hours, report.counts
        assert not report.wrong, report.counts

    floors, colds = [], []
    for number in range(3):
        cache.path.unlink(missing_ok=True)
        colds.append(timed(f"audit, cold, {number}", audit, hours=hours))
        floors.append(timed(f"reading and hashing, {number}", lambda: read_and_hash(store, hours), hours=hours))
    again_s = timed("audit, nothing changed", audit, hours=hours)
    year = _bars(365 * 24 * 60)
    file = root / "bars.parquet"
    year.write_parquet(file)
    minute = timedelta(minutes=1)
    last = FIRST + year.height * minute
    rules, parity, reads = [], [], []
    for _ in range(_REPEATS):
        reads.append(timed("reading a symbol-year", lambda: pl.read_parquet(file)))
        rules.append(timed("rulepack, a symbol-year", lambda: rulepack(year, SYMBOL, FIRST, last, minute)))
        parity.append(
            timed("the same against klines", lambda: rulepack(year, SYMBOL, FIRST, last, minute, reference=year))
        )
    cold_s, read_s = statistics.median(colds), statistics.median(reads)
    figures = {
        "cold_x": cold_s / statistics.median(floors),
        "again_x": again_s / cold_s,
        "rules_x": statistics.median(rules) / read_s,
        "rules_r7_x": statistics.median(parity) / read_s,
    }
    sys.stdout.write(json.dumps(figures) + "\n")
    if given.keep is None:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
