"""The hot band on the local stack: freshness of every closed minute, CPU per tick, cost of its history.

Belongs here: running the real stack (simulator, webserver, daemon) for some minutes and measuring it from outside.
Does not belong here: judging the figures. Run it alone on the machine:

    python -m lake_tests.bench.hot --minutes 30 --symbols BTCUSDT,ETHUSDT,SOLUSDT

Freshness is the time from the end of a minute until a reader of the ledger sees its row. The history's cost per day is
extrapolated from the rows of the measured runs, for a whole day of one run a minute.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg

from lake_assets.at_rest import store_of
from lake_assets.dagster_names import AUTOMATION_TAG
from lake_assets.jobs.history_pruning import prune_runs
from lake_assets.local_stack.places import dagster_home
from lake_assets.local_stack.stack import local_stack
from lake_assets.local_stack.supervision import Stack
from lake_resources.clock import HOUR, MINUTE
from lake_resources.dagster_instance import open_instance
from lake_resources.settings import LakeSettings
from lake_tests.support.waiting import free_port

_RUNS_A_DAY = 1440


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
        )
        with local_stack(settings, say=lambda line: None) as stack:
            seen, used = _watch(settings, stack, given.warm_up, given.minutes)
        figures = {"symbols": len(symbols), "minutes": given.minutes, "interval_s": given.interval}
        figures |= _freshness(seen) | _history(settings, used)
    sys.stdout.write(json.dumps(figures) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=int, default=30, help="minutes that are measured")
    parser.add_argument("--warm-up", type=int, default=3, help="minutes before, in which the band is filled")
    parser.add_argument("--symbols", default="BTCUSDT,ETHUSDT,SOLUSDT")
    parser.add_argument("--interval", type=int, default=30, help="seconds between ticks")
    parser.add_argument("--scratch", default=None, help="directory for the temporary lake")
    return parser.parse_args()


def _watch(
    settings: LakeSettings, stack: Stack, warm_up: int, minutes: int
) -> tuple[dict[tuple[str, datetime], float], dict[str, float]]:
    """Seconds until each minute of each symbol was seen, and the CPU seconds of the stack meanwhile."""
    ledger = store_of(settings).ledger
    time.sleep(warm_up * 60)
    begin = datetime.now(UTC).replace(second=0, microsecond=0) + MINUTE
    time.sleep(max(0.0, (begin - datetime.now(UTC)).total_seconds()))
    before = _cpu(stack)
    seen: dict[tuple[str, datetime], float] = {}
    end = begin + minutes * MINUTE
    while True:
        now = datetime.now(UTC)
        if now >= end + 2 * MINUTE:
            break
        stack.check()
        for symbol in settings.symbols:
            for row in ledger.partitions(symbol, now - HOUR, now + MINUTE):
                _note(seen, symbol, row.max_ts, begin, end)
        if len(seen) == minutes * len(settings.symbols) and now >= end:
            break
        time.sleep(0.25)
    after = _cpu(stack)
    wall = (datetime.now(UTC) - begin).total_seconds()
    ledger.close()
    used = {f"cpu_{name}_pct": round(100 * (after[name] - before[name]) / wall, 1) for name in before}
    used["daemon_cpu_s"] = after["daemon"] - before["daemon"]
    used["since"] = begin.timestamp()
    used["expected"] = minutes * len(settings.symbols)
    return seen, used


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


def _freshness(seen: dict[tuple[str, datetime], float]) -> dict[str, Any]:
    values = sorted(seen.values())
    if not values:
        return {"seen": 0}

    def at(share: float) -> float:
        return round(values[min(len(values) - 1, int(share * len(values)))], 1)

    return {"seen": len(values), "p50_s": at(0.5), "p95_s": at(0.95), "p99_s": at(0.99), "max_s": round(values[-1], 1)}


def _history(settings: LakeSettings, used: dict[str, float]) -> dict[str, Any]:
    """Rows and bytes of the hot runs in Dagster's databases, before and after pruning them a day later."""
    home = dagster_home(settings)
    os.environ["DAGSTER_HOME"] = str(home)
    with open_instance(home) as instance:
        since = datetime.fromtimestamp(used["since"], UTC)
        measured = instance.get_runs(dg.RunsFilter(tags={AUTOMATION_TAG: "hot"}, created_after=since))
        runs = instance.get_runs_count(dg.RunsFilter(tags={AUTOMATION_TAG: "hot"}))
        before = _size(home)
        pruned = prune_runs(instance, settings.symbols, datetime.now(UTC) + timedelta(hours=25), timedelta(hours=24))
    after = _size(home)
    hot = max(len(measured), 1)
    per_run = (before["bytes"] - after["bytes"]) / max(pruned, 1)
    return {
        **{name: value for name, value in used.items() if name.endswith("_pct")},
        "expected": used["expected"],
        "runs": len(measured),
        "cpu_s_per_run": round(used["daemon_cpu_s"] / hot, 2),
        "cpu_s_per_run_and_symbol": round(used["daemon_cpu_s"] / hot / len(settings.symbols), 2),
        "history_rows_per_run": round((before["rows"] - after["rows"]) / max(pruned, 1), 1),
        "history_kb_per_run": round(per_run / 1000, 1),
        "history_mb_per_day_unpruned": round(per_run * _RUNS_A_DAY / 1e6, 1),
        "history_mb_per_day_pruned": round(per_run * max(24, (runs - pruned)) / 1e6, 2),
        "pruned_runs": pruned,
        "kept_runs": runs - pruned,
    }


def _size(home: Path) -> dict[str, float]:
    """Rows of events, checks, runs and ticks, and bytes of all databases and logs after a VACUUM."""
    rows = 0
    for database in sorted(home.rglob("*.db")):
        with sqlite3.connect(database) as connection:
            tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            for table in {"event_logs", "asset_check_executions", "runs", "run_tags"} & set(tables):
                rows += connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            connection.commit()
            connection.execute("VACUUM")
        connection.close()
    return {"rows": rows, "bytes": sum(path.stat().st_size for path in home.rglob("*") if path.is_file())}


if __name__ == "__main__":
    main()
