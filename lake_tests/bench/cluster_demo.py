"""A cluster on one box, its accidents, and what is left at the end: `make cluster-demo`.

Belongs here: what is launched, what is broken meanwhile, the comparison with one machine's lake. Does not belong here:
the processes (`lake_tests.support.cluster`).

`python -m lake_tests.bench.cluster_demo` exits with 1 where something is not as it must be, and with 3 where Postgres
or Redis is not to be had.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import pytest

from lake_assets.build.hours import build_partitions
from lake_assets.cli.demo import demo_windows
from lake_assets.cli.demo_feed import feed_seed
from lake_assets.dagster_names import hour_key
from lake_assets.lake import open_lake
from lake_assets.local_stack.places import PROJECT, child_environment
from lake_assets.metadata import minute_key
from lake_resources.clock import DAY, HOUR
from lake_resources.settings import LakeSettings
from lake_resources.storage.bars_duckdb import BarsTable
from lake_tests.support.cluster import Cluster, cluster

Say = Callable[[str], None]
WEIGHT_CAP = 1920
"""0.8, the lake's share, of the 2,400 that the exchange allows a minute."""


@dataclass
class Found:
    """What a run of the demo showed; `wrong` is empty where all is as it must be."""

    lines: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def must(self, sound: bool, what: str, seen: object = "") -> None:
        self.lines.append(f"{'ok   ' if sound else 'WRONG'} {what}{f': {seen}' if seen != '' else ''}")
        if not sound:
            self.wrong.append(self.lines[-1])


def launch_hours(at: Cluster, symbols: Sequence[str], first: datetime, last: datetime, title: str) -> str:
    """A backfill of minute hours, both ends inclusive, as the web UI launches it; its id."""
    ranges = [(minute_key(symbol).path, hour_key(first), hour_key(last)) for symbol in symbols]
    return at.api.launch_backfill(ranges, title=title)


def finish(at: Cluster, backfills: dict[str, str], found: Found) -> None:
    """Wait for backfills, and hold that they succeeded."""
    for title, number in backfills.items():
        at.wait(title, lambda number=number: at.ended(number))
        ended = at.api.backfill(number)
        sound = ended.status == "COMPLETED_SUCCESS"
        found.must(sound, f"backfill {title!r}", f"{ended.status} {ended.error or ''}")
        if not sound:
            runs = at.runs("FAILURE", backfill=number)
            found.lines += [f"      run {run.id[:8]} of {run.task[:8]}: {at.why_failed(run)}" for run in runs]


def seconds_per_hour(at: Cluster, backfill: str, hours: int) -> float:
    """From the first start of a run to the last end, by hour that was built, without the daemon's rounds before."""
    runs = [run for run in at.runs("SUCCESS", backfill=backfill) if run.start and run.end]
    return (max(run.end or 0 for run in runs) - min(run.start or 0 for run in runs)) / hours


def accidents(at: Cluster, symbols: Sequence[str], day: datetime, found: Found, say: Say, *, feed: bool) -> None:
    """Everything that may go wrong goes wrong while a day is backfilled."""
    backfills = {"a day": launch_hours(at, symbols, day, day + 23 * HOUR, "a day with accidents")}
    # No archive has these yet: workers of three names ask REST for them.
    newest = open_lake(at.settings).clock().replace(minute=0, second=0, microsecond=0) - 2 * HOUR
    backfills["three hours from REST"] = launch_hours(at, symbols, newest - 2 * HOUR, newest, "three hours from REST")
    if feed and (seed := feed_seed(at.settings, open_lake(at.settings).clock())):
        backfills["1H table"] = at.api.launch_backfill([seed], title="1H table")
    starting = at.kill_at("STARTING")
    say(f"worker {starting[0]} was killed -9 while run {starting[1][:8]} was starting")
    working = at.kill_at("STARTED")
    say(f"worker {working[0]} was killed -9 while run {working[1][:8]} was at work")
    # The same hours in a second backfill: at the end of it both have run.
    backfills["the same hours again"] = launch_hours(at, symbols[:1], day, day + 5 * HOUR, "the same hours again")
    at.wait("a run at work", lambda: at.runs("STARTED"))
    at.redis.restart_empty(away_s=1)
    say("Redis was killed and came back empty")
    at.wait("a run at work after Redis came back", lambda: at.runs("STARTED"))
    at.postgres.stop()
    time.sleep(3)
    at.postgres.start()
    say("Postgres was stopped at once and came back after 3 s")
    finish(at, backfills, found)
    for what, (worker, run) in {"starting": starting, "at work": working}.items():
        status = next((each.status for each in at.runs() if each.id == run), "gone")
        found.must(status == "FAILURE", f"the run whose worker {worker} died while it was {what} was given up", status)
    retried = [run for run in at.runs() if "dagster/parent_run_id" in run.tags]
    found.must(len(retried) >= 2, "runs that were tried again", len(retried))


def compare(at: Cluster, symbols: Sequence[str], first: datetime, end: datetime, found: Found) -> None:
    """Every hour once, the bytes of one machine's lake, an audit without a finding."""
    alone_settings = LakeSettings(
        root=at.settings.lake_root.parent / "alone",
        exchange="simulator",
        symbols=tuple(symbols),
        spot_symbols=(),
        macro_tickers=(),
        simulator_port=at.settings.simulator_port,
    )
    alone, shared = open_lake(alone_settings), open_lake(at.settings)
    starts = [first + number * HOUR for number in range(int((end - first) / HOUR))]
    for symbol in symbols:
        for day in build_partitions(alone, symbol, starts, now=alone.clock(), report=lambda _line: None):
            assert all(hour.present for hour in day.hours)
        rows = shared.ledger.partitions(symbol, first, end)
        found.must([row.start for row in rows] == starts, f"every hour of {symbol} once", len(rows))
        ours = {row.start: shared.store.files.here(row.path).read_bytes() for row in rows}
        theirs = {
            r.start: alone.store.files.here(r.path).read_bytes() for r in alone.ledger.partitions(symbol, first, end)
        }
        same = [start for start in starts if ours.get(start) == theirs[start]]
        found.must(same == starts, f"bytes of {symbol} as in one machine's lake", f"{len(same)} of {len(starts)}")
    lake = "from lake_assets.cli.main import main; main()"
    audit = [sys.executable, "-c", lake, "audit", "--full", "--dagster", "yes", "--json"]
    span = ["--start", f"{first:%Y-%m-%d}", "--end", f"{end:%Y-%m-%d}"]
    done = subprocess.run(
        [*audit, *span], cwd=PROJECT, env=child_environment(at.settings), capture_output=True, text=True, check=False
    )
    told = json.loads(done.stdout) if done.stdout else []
    right = [each["ok"] for each in told if each["dagster_compared"]]
    found.must(
        done.returncode == 0 and right == [len(starts)] * len(symbols),
        "lake audit --full, with what Dagster shows: hours without a finding",
        right or done.stderr[-1000:],
    )


def weights(at: Cluster, found: Found) -> None:
    """The most that any minute of any egress name came to, as the exchange itself told it."""
    found.must(
        0 < at.most_weight <= WEIGHT_CAP, "request weight of a minute, at most", f"{at.most_weight} of {WEIGHT_CAP}"
    )
    found.must(not at.stops, "pauses and bans that the exchange asked for", at.stops)


def demonstrate(root: Path, symbols: Sequence[str], days: int, workers: int, say: Say, *, feed: bool = True) -> Found:
    """All of it.

    Args:
        root: an empty directory.
        symbols: whose hours are backfilled.
        days: of one the accidents are; of three the first is built by one worker, the second by all, to compare.
        workers: Celery workers.
        say: takes lines of progress.
        feed: the 1H table too.
    """
    found = Found()
    names = [f"worker-{number}" for number in range(1, workers + 1)]
    timed = days >= 3
    # A run of the 1H table's 727 hours has as many rows of its plan to write before it is queued.
    patience_s = 150 if feed else 45
    with cluster(root, symbols, names[:1] if timed else names, start_timeout_s=patience_s) as at:
        say(f"up: Postgres in {at.postgres.directory}, Redis {at.redis.text}, files in {at.settings.store_url} of moto")
        newest, _ = demo_windows(open_lake(at.settings).clock())
        first, hours = newest - (days - 1) * DAY, 24 * len(symbols)
        if timed:
            one = launch_hours(at, symbols, first, first + 23 * HOUR, "one worker")
            finish(at, {"one worker": one}, found)
            for name in names[1:]:
                at.start_worker(name)
            at.wait("all workers", lambda: len(at.celery.control.ping(timeout=1)) == workers)
            last = newest - HOUR
            several = launch_hours(at, symbols, first + DAY, last, "all workers")
            finish(at, {"all workers": several}, found)
            before, after = seconds_per_hour(at, one, hours), seconds_per_hour(at, several, hours * (days - 2))
            say(
                f"seconds per hour of a symbol: {before:.2f} with one worker, {after:.2f} with {workers}, ratio "
                f"{after / before:.2f} on {os.cpu_count()} cores, which also ran both databases, webserver, daemon and "
                "exchange"
            )
            # One that has everything loaded starts a run too quickly to die of it.
            at.restart_workers()
        accidents(at, symbols, newest, found, say, feed=feed)
        compare(at, symbols, first, newest + DAY, found)
        if feed:
            rows = BarsTable(at.settings.resolved_feed_duckdb).published().rows
            twice = rows.height - rows["timestamp"].n_unique()
            found.must(rows.height > 0 and not twice, "rows of the 1H table, each hour once", rows.height)
        weights(at, found)
    return found


def main() -> None:
    options = argparse.ArgumentParser(description="A cluster on one box, its accidents, and what is left at the end.")
    options.add_argument("--symbols", default="BTCUSDT,ETHUSDT,SOLUSDT")
    options.add_argument("--days", type=int, default=3)
    options.add_argument("--workers", type=int, default=3)
    asked = options.parse_args()
    began = time.monotonic()

    def out(text: str) -> None:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    def say(line: str) -> None:
        out(f"{time.monotonic() - began:6.0f} s  {line}")

    with tempfile.TemporaryDirectory(prefix="cluster-demo-") as root:
        try:
            found = demonstrate(Path(root), asked.symbols.split(","), asked.days, asked.workers, say)
        except pytest.skip.Exception as missing:
            out(f"not run: {missing}")
            sys.exit(3)
    out("\n".join(found.lines))
    out("cluster demo passed" if not found.wrong else f"{len(found.wrong)} things are wrong")
    sys.exit(bool(found.wrong))


if __name__ == "__main__":
    main()
