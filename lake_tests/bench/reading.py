"""Reading five compacted years, and compacting: `python -m lake_tests.bench.reading [--years 5] [--keep DIR]`.

Belongs here: making such a lake, timing reads of it against one Parquet file per month without any ledger, and the
compaction of months and days in a process of its own; the last line is the figures. Does not belong here: the judging
of results by tests. All but the last months of a made lake are month files from the start; the hours of the last
`_HOUR_MONTHS` are real files.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from lake_assets.build.compaction import run_compaction
from lake_assets.lake import CODE_VERSION
from lake_assets.reading import scan_minutes
from lake_assets.tables.um_minute import UM_MINUTE
from lake_assets.windows import hours_between
from lake_resources.clock import DAY, HOUR
from lake_resources.settings import LakeSettings
from lake_resources.storage.compaction import ROW_GROUP_ROWS, Period, compact, rows_hash
from lake_resources.storage.hashing import file_hash
from lake_resources.storage.ledger.compacted_rows import bitmap
from lake_resources.storage.ledger.ledger import CompactedFile, Intent, Partition
from lake_resources.storage.parquet import stage
from lake_resources.storage.provenance import SourceKind, SourceRef
from lake_resources.storage.reader import scan
from lake_resources.storage.store import Store
from lake_tests.bench.meter import cpu_s, metered
from lake_tests.support.stores import store_at

SYMBOL = "BTCUSDT"
FIRST = datetime(2021, 1, 1, tzinfo=UTC)
REPEATS, SHORT_REPEATS = 25, 75
_HOUR_MONTHS = 4
_STREAMS = (
    "klines_1m", "mark_price_klines_1m", "index_price_klines_1m", "premium_index_klines_1m", "agg_trades", "metrics",
    "funding_rate",
)  # fmt: skip
_SCHEMA = UM_MINUTE.polars_schema


def month_rows(start: datetime, end: datetime) -> pl.DataFrame:
    """Minutes with the entropy of real ones: prices in ticks, quantities in lots, columns of collectors NULL."""
    noise = np.random.default_rng(start.year * 12 + start.month)
    size = (end - start) // timedelta(minutes=1)
    price = np.round(30_000 + np.cumsum(noise.normal(0, 8, size)), 1)
    columns: dict[str, pl.Series] = {}
    for column in UM_MINUTE.columns:
        if column.support_class == "LIVE_ONLY" and column.nullable:
            columns[column.name] = pl.Series(column.name, [None] * size, dtype=column.dtype)
        elif column.name == "timestamp":
            columns[column.name] = pl.datetime_range(
                start, end, "1m", time_unit="us", time_zone="UTC", closed="left", eager=True
            )
        elif column.dtype == pl.Boolean:
            columns[column.name] = pl.Series(column.name, np.zeros(size, dtype=bool))
        elif column.dtype == pl.Int64:
            columns[column.name] = pl.Series(column.name, noise.poisson(900, size), dtype=pl.Int64)
        elif column.unit == "USDT":
            columns[column.name] = pl.Series(column.name, np.round(price + noise.normal(0, 3, size), 1))
        else:
            columns[column.name] = pl.Series(column.name, np.round(noise.lognormal(3, 1, size), 3))
    return pl.DataFrame(columns).select(UM_MINUTE.names)


def months(count: int) -> list[tuple[datetime, datetime]]:
    """The first `count` months as `[start, end)`."""
    found = []
    start = FIRST
    for _ in range(count):
        end = (start + 31 * DAY).replace(day=1)
        found.append((start, end))
        start = end
    return found


def _hour_row(hour: datetime, path: str, content_hash: str, size_bytes: int, kind: SourceKind) -> Partition:
    sources = {
        name: SourceRef(name, kind, f"{hour:%j%Y}".ljust(64, "a"), {"look_back": f"{hour:%H}", "look_back_hours": 2})
        for name in _STREAMS
    }
    return Partition(
        symbol=SYMBOL,
        start=hour,
        path=path,
        row_count=60,
        expected_rows=60,
        min_ts=hour,
        max_ts=hour + timedelta(minutes=59),
        schema_hash=UM_MINUTE.schema_hash,
        content_hash=content_hash,
        size_bytes=size_bytes,
        inputs_hash="i" * 64,
        complete=True,
        sources=sources,
        code_version=CODE_VERSION,
        committed_at=hour,
    )


def add_month(
    store: Store, plain: Path, start: datetime, end: datetime, *, hour_files: bool, kind: SourceKind = "archive"
) -> None:
    """One month in the lake (as hour files, or as a month file at once) and as a plain file beside it."""
    rows = month_rows(start, end)
    plain.parent.mkdir(parents=True, exist_ok=True)
    rows.write_parquet(plain, compression="zstd")
    hours = [start + index * HOUR for index in range((end - start) // HOUR)]
    found = []
    for index, hour in enumerate(hours):
        path = store.catalog.partition_path(SYMBOL, hour)
        content_hash, size_bytes = "c" * 64, 0
        if hour_files:
            path.parent.mkdir(parents=True)
            metadata = {"lake.symbol": SYMBOL, "lake.sources": "s" * 1300}
            rows.slice(60 * index, 60).write_parquet(path, compression="zstd", metadata=metadata)
            content_hash, size_bytes = file_hash(path), path.stat().st_size
        row = _hour_row(hour, store.catalog.relative(path), content_hash, size_bytes, kind)
        found.append(Intent(row, ".tmp/none"))
    store.ledger.write_intents(found)
    store.ledger.commit_intents(SYMBOL)
    if hour_files:
        return
    staged = stage(
        rows, store.catalog.temp_dir, {"lake.symbol": SYMBOL, "s": "s" * 25_000}, row_group_rows=ROW_GROUP_ROWS["small"]
    )
    path = staged.publish(store.catalog.compacted_path(SYMBOL, f"{start:%Y-%m}", staged.content_hash))
    bits = bitmap(start, hours, HOUR)
    compacted = CompactedFile(
        SYMBOL, store.catalog.relative(path), "month", start, end, HOUR, bits, bits, rows.height,
        staged.content_hash, rows_hash(rows), staged.size_bytes, UM_MINUTE.schema_hash, end,
    )  # fmt: skip
    assert store.ledger.activate(compacted, dict.fromkeys(hours, "c" * 64))


def compact_here(root: Path, tier: str, start: datetime, end: datetime) -> None:
    """Compact each month or day of a range, and print the figures; run in a process of its own."""
    store = open_files(root)
    days = [start + index * DAY for index in range((end - start) // DAY)]
    if tier == "day":
        periods = [Period(SYMBOL, "day", day, day + DAY) for day in days]
    else:
        firsts = [day for day in days if day.day == 1]
        periods = [Period(SYMBOL, "month", day, (day + 31 * DAY).replace(day=1)) for day in firsts]
    store.ledger.compacted_files(SYMBOL)  # opening the ledger is not the work
    with metered(input_mb=0.0, output_mb=0.0, bare_cpu_s=0.0) as figures:
        for period in periods:
            hours = store.ledger.partition_files(SYMBOL, period.start, period.end)
            bare_cpu = cpu_s()
            # The least that it takes: the same files read, and their rows written as one, by polars alone.
            paths = [store.catalog.partition_path(SYMBOL, hour.start) for hour in hours]
            pl.read_parquet(paths, glob=False, hive_partitioning=False).write_parquet(root / "bare", compression="zstd")
            figures["bare_cpu_s"] += cpu_s() - bare_cpu
            done = compact(store, period, hours, clock=lambda: end)
            assert done.status == "compacted"
            figures["input_mb"] += done.input_bytes / 1e6
            figures["output_mb"] += done.size_bytes / 1e6


def open_files(root: Path) -> Store:
    """Catalog and ledger below a root."""
    return store_at(root)


def compared(
    name: str, works: dict[str, Callable[[], pl.DataFrame]], *, repeats: int = REPEATS, **further: object
) -> tuple[dict[str, float], dict[str, float]]:
    """Run the works in turn, many times; print the medians as one JSON line, return wall and CPU seconds of each."""
    wall: dict[str, list[float]] = {work: [] for work in works}
    cpu: dict[str, list[float]] = {work: [] for work in works}
    for _ in range(repeats):
        for work, read in works.items():
            before = time.perf_counter(), cpu_s()
            read()
            wall[work].append(time.perf_counter() - before[0])
            cpu[work].append(cpu_s() - before[1])
    shown = {
        work: {
            "wall_ms": round(1e3 * statistics.median(wall[work]), 2),
            "cpu_ms": round(1e3 * statistics.median(cpu[work]), 2),
        }
        for work in works
    }
    say(name, **shown, **further)
    middle_wall, middle_cpu = ({work: statistics.median(times) for work, times in each.items()} for each in (wall, cpu))
    return middle_wall, middle_cpu


def say(name: str, **figures: object) -> None:
    """One JSON line."""
    sys.stdout.write(json.dumps({"what": name, **figures}) + "\n")
    sys.stdout.flush()


def read_all_ways(store: Store, plain: list[Path], end: datetime, state: str) -> dict[str, float]:
    """Time the reads of one state of the lake; the years as a ratio to plain files, short reads to bare polars."""

    def lake() -> pl.DataFrame:
        return scan(store, SYMBOL, FIRST, end, ["close"], schema=_SCHEMA).collect()

    def files() -> pl.DataFrame:
        return pl.scan_parquet(plain, schema=_SCHEMA, glob=False, hive_partitioning=False).select("close").collect()

    assert lake().equals(files())
    found, _ = compared(f"all years of close, {state}", {"lake": lake, "plain months": files}, rows=files().height)
    tail = end - 30 * DAY, end
    settings = LakeSettings(root=store.root)
    day = end - 10 * DAY

    def window(start: datetime, stop: datetime, columns: list[str] | None) -> Callable[[], pl.DataFrame]:
        return lambda: scan_minutes(SYMBOL, start, stop, columns, settings=settings).collect()

    def paths(start: datetime, stop: datetime) -> list[Path]:
        """The files that hold a window, each once: compacted ones, and of the rest the hours."""
        held = [each for each in store.ledger.compacted_files(SYMBOL) if start <= each.start and each.end <= stop]
        covered = {hour for each in held for hour in hours_between(each.start, each.end)}
        left = [hour for hour in hours_between(start, stop) if hour not in covered]
        return [
            *(store.catalog.absolute(each.path) for each in held),
            *(store.catalog.partition_path(SYMBOL, hour) for hour in left),
        ]

    def bare(start: datetime, stop: datetime, columns: list[str] | None) -> Callable[[], pl.DataFrame]:
        found = [path for path in paths(start, stop) if path.is_file()]
        return lambda: pl.read_parquet(found, columns=columns, glob=False, hive_partitioning=False)

    def plain_day() -> pl.DataFrame:
        rows = pl.scan_parquet(plain[-1], schema=_SCHEMA, glob=False, hive_partitioning=False)
        return rows.filter(pl.col("timestamp") >= day, pl.col("timestamp") < day + DAY).collect()

    def over(name: str, ours: Callable[[], pl.DataFrame], other: Callable[[], pl.DataFrame]) -> float:
        """CPU of a read over another one's; nothing else runs in turns with them, whose traces would be read with."""
        _, cpu = compared(f"{name}, {state}", {"lake": ours, "other": other}, repeats=SHORT_REPEATS)
        return cpu["lake"] / cpu["other"]

    columns = ["timestamp", "close"]
    return {
        "years": found["lake"] / found["plain months"],
        "day_bare": over("one day and of a plain month", window(day, day + DAY, None), plain_day),
        "day_over_bare": over("one day and bare", window(day, day + DAY, None), bare(day, day + DAY, None)),
        "latest_over_bare": over("latest 720 hours and bare", window(*tail, columns), bare(*tail, columns)),
    }


def measured_compaction(root: Path, tier: str, start: datetime, end: datetime) -> dict[str, float]:
    """The compaction of a range on one core, in a process of its own: CPU over bare polars in turns, peak memory."""
    command = [sys.executable, "-m", "lake_tests.bench.reading", "--compact", str(root), tier, start.isoformat()]
    env = os.environ | {"POLARS_MAX_THREADS": "1"}
    done = subprocess.run([*command, end.isoformat()], env=env, capture_output=True, text=True, check=True)
    figures = json.loads(done.stdout)
    own = figures["cpu_s"] - figures["bare_cpu_s"]
    say(
        f"compact by {tier}",
        mb_per_cpu_s=round(figures["input_mb"] / own, 1),
        **{key: round(value, 3) for key, value in figures.items()},
    )
    return {"over_bare": own / figures["bare_cpu_s"], "peak_mib": figures["peak_mib"]}


def main() -> None:
    """Make the lake, compact its last months, read it in each state."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--years", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="make the lake here")
    parser.add_argument("--compact", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.compact:
        root, tier, start, end = given.compact
        compact_here(Path(root), tier, datetime.fromisoformat(start), datetime.fromisoformat(end))
        return
    root = given.keep or Path(tempfile.mkdtemp(prefix="reading-bench-"))
    root.mkdir(parents=True, exist_ok=True)
    store = open_files(root)
    spans = months(12 * given.years)
    plain = [root / "plain" / f"{start:%Y-%m}.parquet" for start, _ in spans]
    for index, (start, end) in enumerate(spans):
        kind: SourceKind = "rest" if index == len(spans) - 1 else "archive"
        add_month(store, plain[index], start, end, hour_files=index >= len(spans) - _HOUR_MONTHS, kind=kind)
    months_done = measured_compaction(root, "month", spans[-_HOUR_MONTHS][0], spans[-1][0])
    last, end = spans[-1]
    hours = read_all_ways(store, plain, end, "the last month as hour files")
    days_done = measured_compaction(root, "day", last, end - 2 * DAY)
    open_days = read_all_ways(store, plain, end, "days, and 48 hour files")
    sealed = [done.period.start for done in run_compaction(UM_MINUTE, store, SYMBOL, now=end - HOUR, clock=lambda: end)]
    assert sealed == [end - 2 * DAY], "a day is one file before its archive comes"
    no_archives = read_all_ways(store, plain, end, "a month without archives, whose last day is not over")
    measured_compaction(root, "day", end - DAY, end)
    days = read_all_ways(store, plain, end, "the last month as day files")
    measured_compaction(root, "month", last, end)
    whole = read_all_ways(store, plain, end, "months")
    figures = {
        "months": whole["years"],
        "day_tail": days["years"] / whole["years"],
        "open_days_tail": open_days["years"] / whole["years"],
        "no_archives_tail": no_archives["years"] / whole["years"],
        "never_compacted_tail": hours["years"] / whole["years"],
        "month_day": whole["day_bare"],
        "day_over_bare": hours["day_over_bare"],
        "compacted_over_bare": days["day_over_bare"],
        "latest_over_bare": open_days["latest_over_bare"],
        "compact_months": months_done["over_bare"],
        "compact_days": days_done["over_bare"],
        "peak_mib": max(months_done["peak_mib"], days_done["peak_mib"]),
    }
    sys.stdout.write(json.dumps(figures) + "\n")
    if given.keep is None:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
