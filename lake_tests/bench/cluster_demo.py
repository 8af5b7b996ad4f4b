"""A cluster on one box, its accidents, and what is left at the end: `make cluster-demo`.

Belongs here: what is launched; what is broken meanwhile, one thing after the other, so that each is seen by itself; the
comparison with one machine's lake. Does not belong here: the processes (`lake_tests.support.cluster`).

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
from lake_assets.local_stack.graphql import BackfillProgress
from lake_assets.local_stack.places import PROJECT, child_environment
from lake_assets.metadata import minute_key
from lake_resources.clock import DAY, HOUR
from lake_resources.settings import LakeSettings
from lake_resources.storage.bars_duckdb import BarsTable
from lake_tests.support.cluster import Cluster, cluster

Say = Callable[[str], None]
Hours = tuple[datetime, datetime]
"""The first and the last hour of some."""
_PARTS = [(0, 8), (9, 14), (15, 20), (21, 23)]
"""Hours of the day of accidents, both inclusive: what one leads to has ended before the next is made."""
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
        ends: list[BackfillProgress] = []
        at.wait(title, lambda number=number, ends=ends: ends.extend(filter(None, [at.ended(number)])) or ends)
        ended = ends[0]
        sound = ended.status == "COMPLETED_SUCCESS"
        found.must(sound, f"backfill {title!r}", f"{ended.status} {ended.error or ''}")
        if not sound:
            runs = at.runs("FAILURE", backfill=number)
            found.lines += [f"      run {run.id[:8]} of {run.task[:8]}: {at.why_failed(run)}" for run in runs]


def seconds_per_hour(at: Cluster, backfill: str, hours: int) -> float:
    """From the first start of a run to the last end, by hour that was built, without the daemon's rounds before."""
    runs = [run for run in at.runs("SUCCESS", backfill=backfill) if run.start and run.end]
    return (max(run.end or 0 for run in runs) - min(run.start or 0 for run in runs)) / hours


def limit_text(before: dict[str, float], after: dict[str, float], hours: int, took_s: float) -> str:
    """What limits several workers on one box: the seconds of CPU of an hour, by part, over its cores."""
    each = {part: (after[part] - before[part]) / hours for part in after}
    cores = os.cpu_count() or 1
    parts = ", ".join(f"{part} {seconds:.2f}" for part, seconds in each.items())
    needed_s = sum(each.values()) / cores
    return (
        f"seconds of CPU of such an hour, with launching: {parts}; {cores} cores need {needed_s:.2f} s for that, "
        f"and it took {took_s:.2f} s"
    )


def kill_workers(at: Cluster, symbols: Sequence[str], hours: Hours, found: Found, say: Say, *, feed: bool) -> None:
    """One worker dies while a run starts, one while a run is at work."""
    backfills = {"hours with killed workers": launch_hours(at, symbols, *hours, "hours with killed workers")}
    # No archive has these yet: workers of several names ask REST for them.
    newest = open_lake(at.settings).clock().replace(minute=0, second=0, microsecond=0) - 2 * HOUR
    backfills["three hours from REST"] = launch_hours(at, symbols, newest - 2 * HOUR, newest, "three hours from REST")
    if feed and (seed := feed_seed(at.settings, open_lake(at.settings).clock())):
        backfills["1H table"] = at.api.launch_backfill([seed], title="1H table")
    killed = {}
    for status, what in {"STARTING": "starting", "STARTED": "at work"}.items():
        killed[what] = worker, run = at.kill_at(status, *backfills.values())
        say(f"worker {worker} was killed -9 while run {run[:8]} was {what}")
    finish(at, backfills, found)
    for what, (worker, run) in killed.items():
        status = next((each.status for each in at.runs() if each.id == run), "gone")
        found.must(status == "FAILURE", f"the run whose worker {worker} died while it was {what} was given up", status)
    retried = {each.tags.get("dagster/parent_run_id") for each in at.runs()}
    again = [run[:8] for _, run in killed.values() if run in retried]
    found.must(len(again) == len(killed), "runs that were tried again", ", ".join(again))


def lose_redis(at: Cluster, symbols: Sequence[str], hours: Hours, found: Found, say: Say) -> None:
    """Redis dies under runs at work, and begins anew with nothing."""
    backfills = {"hours without Redis": launch_hours(at, symbols, *hours, "hours without Redis")}
    at.wait("a run at work", lambda: at.runs("STARTED", backfill=backfills["hours without Redis"]))
    at.redis.restart_empty(away_s=1)
    say("Redis was killed under a run at work and came back empty")
    finish(at, backfills, found)


def lose_postgres(at: Cluster, symbols: Sequence[str], hours: Hours, found: Found, say: Say) -> None:
    """Ledger, governor, locks and Dagster's storage go away under runs at work, and come back."""
    backfills = {"hours without Postgres": launch_hours(at, symbols, *hours, "hours without Postgres")}
    at.wait("a run at work", lambda: at.runs("STARTED", backfill=backfills["hours without Postgres"]))
    at.postgres.stop()
    time.sleep(3)
    at.postgres.start()
    say("Postgres was stopped at once under a run at work and came back after 3 s")
    finish(at, backfills, found)


def meet(at: Cluster, symbol: str, hours: Hours, found: Found, say: Say) -> None:
    """Two workers get the same partitions: one is halted among them until the other has begun with them, too."""
    titles = ("hours of two workers", "the same hours")
    backfills = {title: launch_hours(at, [symbol], *hours, title) for title in titles}
    worker, first = at.halt_at("STARTED", *backfills.values())
    others = [each for each in backfills.values() if all(run.id != first for run in at.runs(backfill=each))]
    at.wait("the other worker", lambda: at.runs("STARTED", "SUCCESS", backfill=others[0]))
    at.resume(worker)
    say(f"run {first[:8]} of worker {worker} was at work on the same hours as another run")
    finish(at, backfills, found)


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
    with cluster(
        root,
        symbols,
        names[:1] if timed else names,
        places=workers,
        hours_per_run=6 if timed else 3,
        # A run of the 1H table's 727 hours has as many rows of its plan to write before it is queued.
        start_timeout_s=150 if feed else 60,
    ) as at:
        say(f"up: Postgres in {at.postgres.directory}, Redis {at.redis.text}, files in {at.settings.store_url} of moto")
        newest, _ = demo_windows(open_lake(at.settings).clock())
        first, hours = newest - (days - 1) * DAY, 24 * len(symbols)
        if timed:
            one = launch_hours(at, symbols, first, first + 23 * HOUR, "one worker")
            finish(at, {"one worker": one}, found)
            for name in names[1:]:
                at.start_worker(name)
            at.wait("all workers", lambda: len(at.celery.control.ping(timeout=1)) == workers)
            last, middle = newest - HOUR, at.cpu_s()
            several = launch_hours(at, symbols, first + DAY, last, "all workers")
            finish(at, {"all workers": several}, found)
            before, after = seconds_per_hour(at, one, hours), seconds_per_hour(at, several, hours * (days - 2))
            say(
                f"seconds per hour of a symbol: {before:.2f} with one worker, {after:.2f} with {workers}, ratio "
                f"{after / before:.2f}"
            )
            say(limit_text(middle, at.cpu_s(), hours * (days - 2), after))
            # One that has everything loaded starts a run too quickly to die of it.
            at.restart_workers()
        at_work = [(newest + first * HOUR, newest + last * HOUR) for first, last in _PARTS]
        kill_workers(at, symbols, at_work[0], found, say, feed=feed)
        lose_redis(at, symbols, at_work[1], found, say)
        lose_postgres(at, symbols, at_work[2], found, say)
        meet(at, symbols[0], at_work[3], found, say)
        if symbols[1:]:
            finish(at, {"the other symbols": launch_hours(at, symbols[1:], *at_work[3], "the other symbols")}, found)
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
