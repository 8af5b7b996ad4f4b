"""The soak: real time, three symbols, a dropped socket every three minutes, one SIGKILL in the middle.

Run it by itself: `python -m lake_tests.bench.soak --minutes 30` is the collector alone, with `--platform` it is the
whole local stack (`soak_platform`). It prints what it found and exits 1 when a minute is neither proven whole nor
explained by a recorded gap, when an aggTrade id came twice, or when a gap is neither healed nor recorded.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx
import polars as pl

from lake_assets.build.hours import build_partitions
from lake_assets.lake import open_lake
from lake_assets.live.row_files import LiveRows
from lake_assets.local_stack.places import child_environment
from lake_assets.transforms.live.live_coverage import trade_coverage
from lake_resources.clock import HOUR, MINUTE
from lake_resources.collector.journal import Journal
from lake_resources.settings import LakeSettings
from lake_resources.simulator.server import SimulatorServer
from lake_tests.bench.soak_platform import platform_settings, run_platform
from lake_tests.support.outage import trade_ids
from lake_tests.support.stores import store_at

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
DROP_EVERY_S = 180
_NO_KLINES = pl.DataFrame(schema={"timestamp": pl.Datetime("us", "UTC"), "trade_count": pl.Int64()})
"""Minutes are proven by the ids alone here."""


def say(text: str) -> None:
    """One line of progress."""
    sys.stdout.write(f"{datetime.now(UTC):%H:%M:%S} {text}\n")
    sys.stdout.flush()


def collector(settings: LakeSettings, log: Path) -> subprocess.Popen[bytes]:
    """`lake collect` in a process of its own."""
    command = [sys.executable, "-c", "from lake_assets.cli.main import main; main()", "collect"]
    with log.open("ab") as out:
        return subprocess.Popen(command, env=child_environment(settings), stdout=out, stderr=out)


def judge_trades(settings: LakeSettings, started: datetime, ended: datetime) -> int:
    """Count what is wrong with trades and minutes of the collector, and print what was found."""
    catalog = store_at(settings.lake_root).catalog
    journal = Journal(settings.resolved_ledger_url, "um")
    gaps = journal.gaps()
    wrong = 0
    first = started.replace(second=0, microsecond=0) + 2 * MINUTE
    last = ended.replace(second=0, microsecond=0) - 2 * MINUTE  # the trades after it prove its last minutes
    expected = round((last - first) / MINUTE)
    if expected < 1:
        say("too short: no minute lies wholly inside")
        wrong += 1
    for symbol in settings.symbols:
        ids = trade_ids(settings, symbol, started)
        repeated = ids.total() - len(ids)
        missing = set(range(min(ids), max(ids) + 1)) - set(ids)
        recorded = {number for gap in gaps if gap.symbol == symbol for number in range(gap.first_id, gap.last_id + 1)}
        rows = LiveRows(catalog).read(symbol, first - 10 * MINUTE, last + 10 * MINUTE)
        coverage = trade_coverage(rows, _NO_KLINES, first, last)
        proven = coverage.filter(pl.col("timestamp").is_between(first, last, closed="left") & pl.col("has_agg_trades"))
        unexplained = expected - proven.height
        healed = sum(gap.symbol == symbol and gap.status == "healed" for gap in gaps)
        still_open = sum(gap.symbol == symbol and gap.status == "open" for gap in gaps)
        say(
            f"{symbol}: {ids.total()} aggTrades, {repeated} twice, {len(missing)} missing of which "
            f"{len(missing - recorded)} unrecorded; gaps healed {healed}, open {still_open}; "
            f"minutes {expected}, with all trades {proven.height}, market socket alive all minute "
            f"{rows.filter('market_alive').height}"
        )
        wrong += repeated + len(missing - recorded) + (unexplained if not still_open else 0)
    say(f"disconnections recorded: {len(journal.connections())}")
    journal.close()
    return wrong


def judge_hours(settings: LakeSettings, started: datetime, ended: datetime) -> int:
    """Build the hours of a lake that nobody kept up, and count what is wrong with them."""
    wrong = 0
    first, last = started.replace(second=0, microsecond=0) + 2 * MINUTE, ended.replace(second=0, microsecond=0) - MINUTE
    lake = open_lake(settings)
    for symbol in settings.symbols:
        hours = [first.replace(minute=0) + index * HOUR for index in range((last - first) // HOUR + 2)]
        wanted = [hour for hour in hours if hour < last]
        results = [
            each
            for day in build_partitions(lake, symbol, wanted, now=datetime.now(UTC), report=lambda _: None)
            for each in day.hours
        ]
        failed = [each for each in results if each.status not in {"committed", "unchanged"}]
        failed_checks = [outcome.text() for each in results for outcome in each.outcomes if not outcome.passed]
        say(f"{symbol}: hours {[each.status for each in results]}, failed checks {failed_checks or 'none'}")
        wrong += len(failed) + len(failed_checks)
    lake.close()
    return wrong


def main() -> int:
    """Run the soak; exit code 1 when something is unexplained."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--minutes", type=float, default=30.0)
    options.add_argument("--platform", action="store_true", help="the whole stack, and not the collector alone")
    options.add_argument("--kill-after", type=float, help="minutes until the kill, default in the middle")
    options.add_argument("--scratch", help="directory for the temporary lake")
    given = options.parse_args()
    kill_after = given.minutes / 2 if given.kill_after is None else given.kill_after
    with tempfile.TemporaryDirectory(prefix="soak-", dir=given.scratch) as folder:
        if given.platform:
            settings = platform_settings(Path(folder) / "lake", SYMBOLS)
            started, ended, wrong = run_platform(settings, given.minutes, kill_after, DROP_EVERY_S, say)
            wrong += judge_trades(settings, started, ended)
        else:
            wrong = collector_alone(Path(folder), given.minutes, kill_after)
    say("soak: nothing unexplained" if not wrong else f"soak: {wrong} findings")
    return 1 if wrong else 0


def collector_alone(folder: Path, minutes: float, kill_after: float) -> int:
    """The collector against a simulator in this process; returns the number of findings."""
    with SimulatorServer(seed=7, symbols=SYMBOLS, port=0, rate_per_min=60) as sim:
        settings = LakeSettings(
            root=folder / "lake",
            rest_url=sim.base_url,
            vision_url=sim.base_url,
            ws_url=sim.ws_url,
            symbols=SYMBOLS,
        )
        settings.lake_root.mkdir(parents=True)
        fault = {"kind": "ws_drop", "after_s": DROP_EVERY_S}
        httpx.post(f"{sim.base_url}/sim/faults", json=fault).raise_for_status()
        log = folder / "collector.log"
        running = collector(settings, log)
        started = datetime.now(UTC)
        killed = False
        while (past := (datetime.now(UTC) - started) / MINUTE) < minutes:
            if running.poll() is not None:
                say(log.read_text()[-2000:])
                return 1
            if not killed and past > kill_after:
                running.send_signal(signal.SIGKILL)
                running.wait()
                running, killed = collector(settings, log), True
                say("killed and started again")
            time.sleep(1)
        running.send_signal(signal.SIGTERM)
        stopping = time.monotonic()
        running.wait(30)
        say(f"stopped in {time.monotonic() - stopping:.1f} s with code {running.returncode}")
        ended = datetime.now(UTC)
        return judge_trades(settings, started, ended) + judge_hours(settings, started, ended)


if __name__ == "__main__":
    sys.exit(main())
