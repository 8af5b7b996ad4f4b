"""The hot band on the local stack: freshness of every closed minute, committed and live, what it costs at rest.

Belongs here: running the real stack (simulator, webserver, daemon) for some minutes and measuring it from outside.
Does not belong here: judging the figures. Run it alone on the machine:

    python -m lake_tests.bench.hot --minutes 30 --symbols BTCUSDT,ETHUSDT,SOLUSDT

Freshness is the time from the end of a minute until a reader of the ledger sees its row, or a reader with `live=True`
(of three symbols at most, so that reading does not load the machine that is measured). CPU of the platform is that of
all its processes but the simulator. What Dagster's databases grow by holds all that the platform does meanwhile, the
first days of macro tickers too; the hot band's own part of a day is its ticks and what `told_bytes` measures.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg

from lake_assets.at_rest import store_of
from lake_assets.dagster_names import AUTOMATION_TAG
from lake_assets.jobs.told_commits import BUILDER_TAG
from lake_assets.local_stack.places import dagster_home
from lake_assets.local_stack.stack import BUILDER, local_stack
from lake_assets.local_stack.supervision import Stack
from lake_assets.reading import scan_minutes
from lake_resources.clock import HOUR, MINUTE
from lake_resources.dagster_instance import open_instance
from lake_resources.settings import LakeSettings
from lake_tests.bench.meter import peak_mib
from lake_tests.support.waiting import free_port

_READ_LIVE = 3
_LARGEST = 8
"""Kinds of history that are told by name."""


def main() -> None:
    """Print one JSON line."""
    given = _arguments()
    symbols = tuple(given.symbols.split(","))
    with tempfile.TemporaryDirectory(prefix="lake-hot-", dir=given.scratch) as root:
        settings = LakeSettings(
            root=Path(root),
            exchange="simulator",
            symbols=symbols,
            start=datetime.now(UTC).date() - timedelta(days=30),
            simulator_port=free_port(),
            webserver_port=free_port(),
            hot_interval_s=given.interval,
            spot_symbols=(),  # as many symbols as are named, and no more
        )
        with local_stack(settings, say=lambda line: None) as stack:
            found = _watch(settings, stack, given.warm_up, given.minutes)
        figures: dict[str, Any] = {"symbols": len(symbols), "minutes": given.minutes, "interval_s": given.interval}
        figures |= {"load": round(os.getloadavg()[1], 1)} | _freshness(found.seen, "")
        figures |= _freshness(found.live, "live_") | _history(settings, found.used)
    sys.stdout.write(json.dumps(figures) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=int, default=30, help="minutes that are measured")
    parser.add_argument("--warm-up", type=int, default=3, help="minutes before, in which the band is filled")
    parser.add_argument("--symbols", default="BTCUSDT,ETHUSDT,SOLUSDT")
    parser.add_argument("--interval", type=int, default=30, help="seconds between ticks")
    parser.add_argument("--scratch", default=None, help="directory for the temporary lake")
    return parser.parse_args()


@dataclass
class _Found:
    """Seconds until each minute of each symbol was seen, committed and live, and what the stack used meanwhile."""

    seen: dict[tuple[str, datetime], float] = field(default_factory=dict)
    live: dict[tuple[str, datetime], float] = field(default_factory=dict)
    used: dict[str, float] = field(default_factory=dict)


def _watch(settings: LakeSettings, stack: Stack, warm_up: int, minutes: int) -> _Found:
    ledger, found = store_of(settings).ledger, _Found()
    time.sleep(warm_up * 60)
    begin = datetime.now(UTC).replace(second=0, microsecond=0) + MINUTE
    time.sleep(max(0.0, (begin - datetime.now(UTC)).total_seconds()))
    before, history = _cpu(stack), history_bytes(dagster_home(settings))
    end = begin + minutes * MINUTE
    while True:
        now = datetime.now(UTC)
        if now >= end + 2 * MINUTE:
            break
        stack.check()
        stack.tend()
        for symbol in settings.symbols:
            for row in ledger.partitions(symbol, now - HOUR, now + MINUTE):
                _note(found.seen, symbol, row.max_ts, begin, end)
        for symbol in settings.symbols[:_READ_LIVE]:
            _look_live(found.live, settings, symbol, (begin, end))
        if len(found.seen) == minutes * len(settings.symbols) and now >= end:
            break
        time.sleep(0.2)
    after, wall = _cpu(stack), (datetime.now(UTC) - begin).total_seconds()
    ledger.close()
    own = {name: after[name] - before[name] for name in before}
    now_held = history_bytes(dagster_home(settings))
    grown = {kind: held - history.get(kind, 0) for kind, held in now_held.items()}
    found.used = {f"cpu_{name}_pct": round(100 * used / wall, 1) for name, used in own.items()}
    found.used |= {
        "cpu_platform_pct": round(100 * (sum(own.values()) - own.get("simulator", 0.0)) / wall, 1),
        "builder_cpu_s_per_minute": round(own.get(BUILDER, 0.0) * 60 / wall, 2),
        "builder_mib": round(peak_mib(stack.processes[BUILDER].pid), 1),
        "grown_mb_per_day": round(sum(grown.values()) * 86_400 / wall / 1e6, 1),
        "ticks_mb_per_day": round(_of_ticks(grown) * 86_400 / wall / 1e6, 1),
        "since": begin.timestamp(),
        "expected": minutes * len(settings.symbols),
        "live_expected": minutes * min(_READ_LIVE, len(settings.symbols)),
    }
    for kind in sorted(grown, key=grown.__getitem__, reverse=True)[:_LARGEST]:
        found.used[f"mb_per_day_{kind}"] = round(grown[kind] * 86_400 / wall / 1e6, 1)
    return found


def _of_ticks(grown: Mapping[str, int]) -> int:
    return sum(size for kind, size in grown.items() if kind.startswith("schedules."))


def _look_live(
    seen: dict[tuple[str, datetime], float], settings: LakeSettings, symbol: str, window: tuple[datetime, datetime]
) -> None:
    """Read as somebody with `live=True` does, as long as the minute that closed last was not seen so."""
    minute = datetime.now(UTC).replace(second=0, microsecond=0) - MINUTE
    if (symbol, minute) in seen or not window[0] <= minute + MINUTE < window[1]:
        return
    rows = scan_minutes(symbol, minute - 5 * MINUTE, minute + MINUTE, ["timestamp"], live=True, settings=settings)
    last = rows.collect()["timestamp"].max()
    _note(seen, symbol, last if isinstance(last, datetime) else None, *window)


def history_bytes(home: Path) -> dict[str, int]:
    """Bytes of Dagster's databases by kind: `runs.job_ticks` is a table with its indexes, `run_files` those of runs."""
    found: Counter[str] = Counter()
    for path in home.rglob("*.db"):
        if path.parent.name == "runs" and path.name != "index.db":
            found["run_files"] += path.stat().st_size
            continue
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            table_of = dict(database.execute("SELECT name, tbl_name FROM sqlite_schema"))
            for name, size in database.execute("SELECT name, sum(pgsize) FROM dbstat GROUP BY name"):
                found[f"{path.stem}.{table_of.get(name, name)}"] += size
    return dict(found)


def _note(
    seen: dict[tuple[str, datetime], float], symbol: str, last: datetime | None, begin: datetime, end: datetime
) -> None:
    """All minutes up to the last row are there now; a minute that closed in the window counts from its end."""
    if last is None:
        return
    minute = max(last - 70 * MINUTE, begin - MINUTE)
    while minute <= last:
        closed = minute + MINUTE
        if begin <= closed < end and (symbol, minute) not in seen:
            seen[symbol, minute] = (datetime.now(UTC) - closed).total_seconds()
        minute += MINUTE


def _cpu(stack: Stack) -> dict[str, float]:
    """CPU seconds of each process of the stack with everything it started, the ended children included."""
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    found = dict.fromkeys(stack.processes, 0.0)
    sessions = {process.pid: name for name, process in stack.processes.items()}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        # After the command: session is the 4th field; utime, stime, cutime, cstime are the 12th to 15th.
        name = sessions.get(int(fields[3]))
        if name is not None:
            found[name] += sum(map(int, fields[11:15])) * tick_s
    return found


def _freshness(seen: dict[tuple[str, datetime], float], prefix: str) -> dict[str, Any]:
    values = sorted(seen.values())
    if not values:
        return {f"{prefix}seen": 0}

    def at(share: float) -> float:
        return round(values[min(len(values) - 1, int(share * len(values)))], 1)

    found = {"seen": len(values), "p50_s": at(0.5), "p95_s": at(0.95), "p99_s": at(0.99), "max_s": round(values[-1], 1)}
    return {f"{prefix}{name}": value for name, value in found.items()}


def _history(settings: LakeSettings, used: dict[str, float]) -> dict[str, Any]:
    """What was used, and how many runs of Dagster built or told the band."""
    home = dagster_home(settings)
    os.environ["DAGSTER_HOME"] = str(home)
    since = datetime.fromtimestamp(used["since"], UTC)
    with open_instance(home) as instance:
        runs = instance.get_runs_count(dg.RunsFilter(tags={AUTOMATION_TAG: "hot"}, created_after=since))
        told = instance.get_runs_count(dg.RunsFilter(tags=BUILDER_TAG, created_after=since))
    kept = {name: value for name, value in used.items() if name != "since"}
    return kept | {"runs": runs, "told_runs": told}


if __name__ == "__main__":
    main()
