"""One day by the lake's reader, all columns, from 24 hour files among 10,000, and by bare polars in turns.

Belongs here: that read, often. Does not belong here: writing the files (`commits`), judging the figures.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

import polars as pl

from lake_assets.tables.um_minute import UM_MINUTE
from lake_resources.clock import DAY, HOUR
from lake_resources.storage.reader import scan
from lake_tests.bench.commits import FIRST, SYMBOL
from lake_tests.bench.meter import cpu_s, metered
from lake_tests.support.stores import store_at

_READS = 101


def main() -> None:
    """`reads ROOT DAYS`: the day in the middle."""
    root, days = Path(sys.argv[1]), int(sys.argv[2])
    store = store_at(root)
    start = FIRST + days // 2 * DAY
    files = [store.catalog.partition_path(SYMBOL, start + hour * HOUR) for hour in range(24)]
    walls, cpus, bare = [], [], []
    with metered() as figures:
        for _ in range(_READS):
            wall, cpu = time.perf_counter(), cpu_s()
            rows = scan(store, SYMBOL, start, start + DAY, schema=UM_MINUTE.polars_schema).collect()
            walls.append((time.perf_counter() - wall) * 1000)
            cpus.append((cpu_s() - cpu) * 1000)
            assert rows.shape == (1440, len(UM_MINUTE.names))
            cpu = cpu_s()
            assert pl.read_parquet(files, glob=False, hive_partitioning=False).shape == rows.shape
            bare.append((cpu_s() - cpu) * 1000)
        figures |= {"wall_ms": statistics.median(walls), "cpu_ms": statistics.median(cpus), "first_ms": walls[0]}
        figures["bare_cpu_ms"] = statistics.median(bare)


if __name__ == "__main__":
    main()
