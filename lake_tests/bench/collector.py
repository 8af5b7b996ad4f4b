"""`python -m lake_tests.bench.collector`: what the live collector costs, alone, the simulator in another process.

Belongs here: load, the collector's CPU, memory, losses and waits, and the speed of a rebuild from its records; the
last line is the figures. Does not belong here: correctness (integration tests), judging the figures.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from lake_assets.live.folding import rebuild
from lake_assets.live.recorder import Parts, run_collector
from lake_assets.live.row_files import LiveRows
from lake_assets.live.spot_records import spot_records
from lake_assets.transforms.quote_placing import quotes_at_ends
from lake_assets.transforms.trade_fold import folded
from lake_resources.binance.market import SPOT
from lake_resources.collector.segments import newest_minute, read_records
from lake_resources.settings import LakeSettings
from lake_resources.storage.catalog import MarketPaths
from lake_tests.support.stores import store_at

BASES = "BTC ETH BNB SOL XRP LINK ADA AVAX DOGE DOT FIL LTC NEAR TRX UNI ATOM APT ARB OP SUI INJ SEI TIA WLD"
PORT = 8951


@contextmanager
def simulator(symbols: tuple[str, ...], rate_per_min: float, spot: tuple[str, ...] = ()) -> Iterator[str]:
    """The simulator in a process of its own."""
    command = [sys.executable, "-m", "lake_resources.simulator", "--port", str(PORT), "--symbols", ",".join(symbols)]
    command += ["--spot-symbols", ",".join(spot)]
    process = subprocess.Popen([*command, "--rate", str(rate_per_min)], stdout=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{PORT}"
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{address}/fapi/v1/time", timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait()


def arm(address: str, fault: dict[str, Any]) -> None:
    """Script a fault in the simulator."""
    request = urllib.request.Request(
        f"{address}/sim/faults", json.dumps(fault).encode(), {"content-type": "application/json"}
    )
    urllib.request.urlopen(request, timeout=5).close()


def waits_p99(parts: Parts) -> float:
    """99th percentile of seconds from socket to disk; every record counts as waiting like the oldest of its flush."""
    waits = sorted(parts.collector.stats.waits, key=lambda wait: wait[1])
    total, seen = sum(records for records, _ in waits), 0
    for records, seconds in waits:
        seen += records
        if seen >= 0.99 * total:
            return seconds
    return 0.0


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser()
    options.add_argument("--symbols", type=int, default=20)
    options.add_argument("--rate", type=float, default=3600, help="aggTrades per symbol and minute")
    options.add_argument("--seconds", type=float, default=130)
    options.add_argument("--spot", type=int, default=0, help="spot symbols beside them")
    options.add_argument("--flood", action="store_true", help="ten times the frames for 10 s")
    given = options.parse_args()
    symbols = tuple(f"{name}USDT" for name in BASES.split()[: given.symbols])
    root = Path(tempfile.mkdtemp(prefix="bench-collector-", dir=Path.cwd() / "data" if Path("data").is_dir() else None))
    try:
        spot = tuple(f"{name}USDT" for name in BASES.split()[: given.spot])
        with simulator(symbols, given.rate, spot) as address:
            streams = address.replace("http", "ws")
            settings = LakeSettings(
                root=root, symbols=symbols, rest_url=address, ws_url=streams, spot_symbols=spot, spot_rest_url=address,
                spot_ws_url=f"{streams}/spot", _env_file=None,  # type: ignore[call-arg]
            )  # fmt: skip
            if given.flood:
                arm(address, {"kind": "ws_flood", "after_s": 30.0, "duration_s": 10.0, "factor": 10})
            began_s, cpu_s = time.monotonic(), time.process_time()
            parts = run_collector(settings, say=lambda _: None, for_s=given.seconds)
            lived_s, cpu_s = time.monotonic() - began_s, time.process_time() - cpu_s
        figures = measured(parts, lived_s, cpu_s)
        figures |= spot_folding(root, spot) if spot else rebuilding(root, symbols[0])
    finally:
        shutil.rmtree(root, ignore_errors=True)
    sys.stdout.write(json.dumps(figures) + "\n")


def measured(parts: Parts, lived_s: float, cpu_s: float) -> dict[str, float]:
    """What it cost, and what it lost."""
    both = [parts, *([parts.spot] if parts.spot is not None else [])]
    gaps = sum(gap.last_id - gap.first_id + 1 for each in both for gap in each.journal.gaps())
    breaks = sum(sync.breaks for sync in parts.collector.intake.books.values())
    counts = [each.collector.intake.counts for each in both]
    sockets = [
        f"{row.route or 'spot'}: {row.frames} frames, {row.reason}"
        for each in both
        for row in each.journal.connections()
    ]
    sys.stdout.write("\n".join(sockets) + "\n")
    return {
        "frames_per_s": sum(each.frames for each in counts) / lived_s,
        "cpu_pct": 100 * cpu_s / lived_s,
        "memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "write_p99_s": waits_p99(parts),
        "lost": gaps + breaks + sum(each.malformed for each in counts),
    }


def spot_folding(root: Path, symbols: tuple[str, ...]) -> dict[str, float]:
    """How many times faster than they passed the seconds of all spot symbols are folded again, with quotes."""
    newest = newest_minute(MarketPaths(root, SPOT.name).live_records_dir)
    assert newest is not None
    end = datetime.fromtimestamp(newest * 60, UTC)
    start, step = end - timedelta(minutes=10), timedelta(seconds=1)
    began_s, rows = time.process_time(), 0
    for symbol in symbols:
        found = spot_records(root, symbol, start, end)
        bars = folded(found.fills, step)
        quotes_at_ends(bars["open_time"], step, found.quotes.drop("received_ns"), found.connected)
        rows += bars.height
    spent_s = time.process_time() - began_s
    sys.stdout.write(f"{len(symbols)} spot symbols, {rows} of their seconds, folded in {spent_s:.2f} s of CPU\n")
    return {"fold_x": rows / len(symbols) / spent_s}


def rebuilding(root: Path, symbol: str) -> dict[str, float]:
    """How fast an hour is rebuilt: a recorded minute costs what each of the hour's costs, its neighbours are extra."""
    catalog = store_at(root).catalog
    newest = newest_minute(catalog.live_records_dir)
    assert newest is not None
    records = catalog.live_records_dir
    counts = [sum(1 for _ in read_records(records, symbol, at, at + 1)) for at in range(newest - 3, newest)]
    began_s = time.process_time()
    rebuild(records, LiveRows(store_at(root / "again").catalog), symbol, newest - 2, newest)
    spent_s = time.process_time() - began_s
    span_s = 60 * sum(count > max(counts) / 2 for count in counts)
    sys.stdout.write(f"records of {symbol} by minute: {counts}, rebuilt in {spent_s:.2f} s of CPU\n")
    return {"rebuild_x": span_s / spent_s}


if __name__ == "__main__":
    main()
