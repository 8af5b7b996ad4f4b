"""What keeping raw slices costs: diff and manifest against bare SQLite and JSON, and fetching against a bare client.

Belongs here: making a ledger of many slices, the measured calls, their figures as JSON. Does not belong here: targets.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

import httpx
import orjson

from lake_assets.slices.data_root import Slices
from lake_assets.slices.endpoints import ENDPOINTS
from lake_assets.slices.expected import due
from lake_assets.slices.judgement import SliceReason, Status
from lake_assets.slices.loop import publish_manifest
from lake_assets.slices.server import open_slices, run_once
from lake_resources.settings import LakeSettings
from lake_resources.storage.blobs import LocalBlobs
from lake_resources.storage.ledger.slice_rows import SliceRow, SliceRows, SliceSet
from lake_resources.storage.raw_store import RawStore
from lake_tests.bench.meter import cpu_s, metered
from lake_tests.bench.processes import PROJECT

OF = SliceSet("klines", "BTCUSDT", "1s")
FIRST_MS = 1_502_942_428_000
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
SPAN_MS = 1_000_000
_ROUNDS = 5
URL = "https://api.binance.com/api/v3/klines?symbol=BTCUSDT&interval=1s&limit=1000&startTime=1502942428000&endTime=1"


def known(root: Path, count: int) -> dict[str, float]:
    """CPU of the diff of `count` slices against the ledger, and of writing their manifest, seconds and over bare ones.

    The bare diff takes the starts from the database into a set, and those that are wanted from it; the bare manifest
    writes every row of the database as a line of JSON, and flushes it to the disk.
    """
    rows = SliceRows(f"sqlite:///{root / 'ledger.sqlite'}")
    for first in range(0, count, 1000):
        rows.put_slices(OF, (_row(index) for index in range(first, first + 1000)))
    diffs, bare_diffs, manifests, bare_manifests = (list[float]() for _ in range(4))
    wanted_starts = range(FIRST_MS, FIRST_MS + (count + 10) * SPAN_MS, SPAN_MS)
    for _ in range(_ROUNDS):
        diffs.append(_cpu_of(lambda: _diff(rows, count)))
        bare_diffs.append(_cpu_of(lambda: _bare_diff(root, wanted_starts)))
    keys = ENDPOINTS["klines"].keys("BTCUSDT", "1s", FIRST_MS, FIRST_MS + (count + 10) * SPAN_MS - 1)
    slices = Slices(root, rows, RawStore(LocalBlobs(root)), {}, lambda: NOW)
    for _ in range(_ROUNDS):
        manifests.append(_cpu_of(lambda: publish_manifest(slices, OF, keys)))
        bare_manifests.append(_cpu_of(lambda: _bare_manifest(root, count)))
    diff, bare_diff, manifest, bare_manifest = map(median, (diffs, bare_diffs, manifests, bare_manifests))
    return {
        "diff_cpu_s": diff,
        "diff_x": diff / bare_diff,
        "manifest_cpu_s": manifest,
        "manifest_x": manifest / bare_manifest,
    }


def _cpu_of(work: Callable[[], object]) -> float:
    before = cpu_s()
    work()
    return cpu_s() - before


def _diff(rows: SliceRows, count: int) -> None:
    keys = ENDPOINTS["klines"].keys("BTCUSDT", "1s", FIRST_MS, FIRST_MS + (count + 10) * SPAN_MS - 1)
    whole = rows.starts(OF, Status.OK)
    wanted = due(keys, rows.standings(OF, but=[Status.OK]), NOW, whole=whole)
    assert len(wanted) == 10


def _bare_diff(root: Path, wanted: Sequence[int]) -> None:
    with closing(sqlite3.connect(root / "ledger.sqlite")) as database:
        query = "SELECT start FROM slices WHERE endpoint = ? AND symbol = ? AND interval = ? AND status = 'ok'"
        whole = {start for (start,) in database.execute(query, OF)}
    assert len([start for start in wanted if start not in whole]) == 10


def _bare_manifest(root: Path, count: int) -> None:
    written, lines = root / "bare.json", 0
    with closing(sqlite3.connect(root / "ledger.sqlite")) as database, written.open("wb") as file:
        query = "SELECT * FROM slices WHERE endpoint = ? AND symbol = ? AND interval = ? ORDER BY start"
        found = database.execute(query, OF)
        names = [column[0] for column in found.description]
        for row in found:
            file.write(orjson.dumps(dict(zip(names, row, strict=True)), option=orjson.OPT_APPEND_NEWLINE))
            lines += 1
        file.flush()
        os.fsync(file.fileno())
    assert lines == count


def _row(index: int) -> SliceRow:
    return SliceRow(
        FIRST_MS + index * SPAN_MS, 1000, Status.OK, SliceReason.NONE, path=f"binance/klines/raw/BTCUSDT/1s/{index}",
        sha256="0" * 64, size_bytes=120_000, http_status=200, n_items=1000, first_ts=FIRST_MS + index * SPAN_MS,
        last_ts=FIRST_MS + index * SPAN_MS + 999_000, requested_url=URL, completed_at_utc=NOW, requested_at_utc=NOW,
        fetches=1,
    )  # fmt: skip


def fetched(root: Path, count: int) -> tuple[float, float]:
    """Seconds of fetching and keeping slices of one minute candles, and of the same requests by a bare client.

    The bare client asks once before, so that the simulator has made its days, and once after: the mean counts.
    All of it must stay below what the governor grants for one minute, or its waiting is measured.
    """
    first = datetime(2026, 1, 1, tzinfo=UTC)
    now = first + count * timedelta(minutes=1000) - timedelta(seconds=30)
    of = SliceSet("klines", "BTCUSDT", "1m")
    with _exchange(now) as url:
        settings = LakeSettings(root=root / f"lake-{time.time_ns()}", rest_url=url, spot_rest_url=url)
        with open_slices(settings, clock=lambda: now) as slices:
            slices.rows.keep_origin(of, _ms(first), now)
            slices.rest["spot"].server_time()
            _bare(url, first, now)
            before_s = _bare(url, first, now)
            began = time.perf_counter()
            done = run_once(slices, of)
            fetch_s = time.perf_counter() - began
            assert done.asked == count
            return fetch_s, (before_s + _bare(url, first, now)) / 2


def _bare(url: str, first: datetime, now: datetime) -> float:
    klines = ENDPOINTS["klines"]
    with httpx.Client(base_url=url, trust_env=False) as client:
        client.get("/api/v3/time")
        began = time.perf_counter()
        for key in klines.keys("BTCUSDT", "1m", _ms(first), _ms(now)):
            client.get("/api/v3/klines", params=klines.query(key, klines.end(key))).raise_for_status()
        return time.perf_counter() - began


@contextmanager
def _exchange(now: datetime) -> Iterator[str]:
    command = [sys.executable, "-m", "lake_tests.bench.slices_exchange", now.isoformat()]
    with subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def _ms(instant: datetime) -> int:
    return int(instant.timestamp() * 1000)


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("--slices", type=int, default=100_000)
    parser.add_argument("--fetch", type=int, default=500)
    given = parser.parse_args()
    given.root.mkdir(parents=True, exist_ok=True)
    with metered() as figures:
        if given.slices:
            figures |= known(given.root, given.slices)
        if given.fetch:
            figures["fetch_s"], figures["bare_s"] = fetched(given.root, given.fetch)


if __name__ == "__main__":
    main()
