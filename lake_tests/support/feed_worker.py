"""A process of the feed tests: appends hour after hour, or reads the published copy until it is whole.

Belongs here: what one process does and prints. Does not belong here: any assertion.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

import duckdb

from lake_assets.feed_1h.bars import naive
from lake_assets.feed_1h.feed import Feed, FeedOptions
from lake_assets.feed_1h.run import run_feed
from lake_resources.binance.rest.rest_client import BinanceRest
from lake_resources.clock import HOUR
from lake_resources.governor import WeightGovernor
from lake_resources.storage.bars_duckdb import BarsTable
from lake_tests.support.killed_at_step import Step, die_at


def append(root: Path, url: str, first: datetime, count: int) -> None:
    """Run the feed for `count` hours; writes how many hours this process appended."""
    now = [first]
    governor = WeightGovernor(root / "governor.sqlite", clock=lambda: now[0])
    rest = BinanceRest(url, governor=governor, clock=lambda: now[0])
    options = FeedOptions(
        n_recent=6, buffer_hours=6, inference_source="db", persist_dir=root / "files", dataset="x", keep_days=0,
        warn_skew_s=1e9,
    )  # fmt: skip
    feed = Feed(BarsTable(root / "ohlcv.duckdb"), rest, lambda: now[0], options)
    found: dict[str, int] = {}
    for number in range(count):
        now[0] = first + (number + 1) * HOUR + timedelta(minutes=2)
        done = run_feed(feed, [naive(first) + number * HOUR])
        verdict = done.hours[0].verdict
        if verdict.status in {"refused", "waiting"}:
            raise SystemExit(f"{verdict}")
        found[verdict.status] = found.get(verdict.status, 0) + 1
    sys.stdout.write(json.dumps(found) + "\n")
    rest.close()


def read(root: Path, rows: int) -> None:
    """Open the copy again and again until it has `rows` rows; writes reads and the row counts seen."""
    path = BarsTable(root / "ohlcv.duckdb").published_path
    reads, seen = 0, [0]
    sys.stdout.write("reading\n")
    sys.stdout.flush()
    while seen[-1] < rows:
        if not path.exists():
            time.sleep(0.01)
            continue
        with duckdb.connect(str(path), read_only=True) as connection:
            found = connection.execute("SELECT count(*), count(DISTINCT timestamp) FROM ohlcv_btcusdt_1h").fetchall()
        reads += 1
        if found[0][0] != found[0][1] or found[0][0] < seen[-1]:
            raise SystemExit(f"torn or older copy: {found} after {seen[-1]}")
        if found[0][0] != seen[-1]:
            seen.append(found[0][0])
        time.sleep(0.01)
    sys.stdout.write(json.dumps({"reads": reads, "states": len(seen) - 1}) + "\n")


if __name__ == "__main__":
    if sys.argv[1] == "append":
        if len(sys.argv) > 6:  # the step to die before
            die_at(Path(sys.argv[2]), Step(sys.argv[6], int(sys.argv[7])))
        append(Path(sys.argv[2]), sys.argv[3], datetime.fromisoformat(sys.argv[4]), int(sys.argv[5]))
    else:
        read(Path(sys.argv[2]), int(sys.argv[3]))
