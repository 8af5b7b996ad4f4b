"""What keeping raw slices costs: the diff, the manifest, and fetching against a bare client.

Belongs here: making a ledger of many slices, the measured calls, their figures as JSON. Does not belong here: targets.
"""

from __future__ import annotations

import argparse
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from lake_assets.slices.endpoints import ENDPOINTS
from lake_assets.slices.expected import due
from lake_assets.slices.judgement import Reason, Status
from lake_assets.slices.manifest import write_manifest
from lake_assets.slices.server import open_slices, run_once
from lake_resources.settings import LakeSettings
from lake_resources.simulator.server import SimulatorServer
from lake_resources.storage.blobs import LocalBlobs
from lake_resources.storage.ledger.slice_rows import SliceRow, SliceRows, SliceSet
from lake_tests.bench.meter import metered

OF = SliceSet("klines", "BTCUSDT", "1s")
FIRST_MS = 1_502_942_428_000
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
SPAN_MS = 1_000_000


def known(root: Path, count: int) -> tuple[float, float]:
    """Seconds of the diff of `count` slices against the ledger, and of writing their manifest."""
    rows = SliceRows(f"sqlite:///{root / 'ledger.sqlite'}")
    rows.put_slices(
        OF,
        (
            SliceRow(
                FIRST_MS + index * SPAN_MS, 1000, Status.OK, Reason.NONE, path=f"binance/klines/raw/BTCUSDT/1s/{index}",
                sha256="0" * 64, n_items=1000, completed_at_utc=NOW, requested_at_utc=NOW, fetches=1,
            )
            for index in range(count)
        ),
    )  # fmt: skip
    began = time.perf_counter()
    keys = ENDPOINTS["klines"].keys("BTCUSDT", "1s", FIRST_MS, FIRST_MS + (count + 10) * SPAN_MS - 1)
    whole = rows.starts(OF, Status.OK)
    found = due(keys, rows.standings(OF, but=[Status.OK]), NOW, whole=whole)
    diff_s = time.perf_counter() - began
    assert len(found) == 10
    began = time.perf_counter()
    write_manifest(LocalBlobs(root), OF, [row for row in rows.slice_rows(OF) if row.path], now=NOW)
    return diff_s, time.perf_counter() - began


def fetched(root: Path, count: int) -> tuple[float, float]:
    """Seconds of fetching and keeping slices of one minute candles, and of the same requests by a bare client."""
    first = datetime(2026, 1, 1, tzinfo=UTC)
    now = first + count * timedelta(minutes=1000) + timedelta(hours=1)
    with SimulatorServer(seed=7, symbols=("BTCUSDT",), clock=lambda: now, rate_per_min=1.0, limits=False) as sim:
        settings = LakeSettings(root=root / "lake", rest_url=sim.base_url, spot_rest_url=sim.base_url)
        of = SliceSet("klines", "BTCUSDT", "1m")
        with open_slices(settings, clock=lambda: now) as slices:
            slices.rows.keep_origin(of, int(first.timestamp() * 1000), now)
            run_once(slices, of, most=1)
            with httpx.Client(base_url=sim.base_url, trust_env=False) as client:
                # Once unmeasured: the simulator makes its days at the first request.
                for key in ENDPOINTS["klines"].keys("BTCUSDT", "1m", int(first.timestamp() * 1000), _ms(now)):
                    client.get("/api/v3/klines", params=ENDPOINTS["klines"].query(key, ENDPOINTS["klines"].end(key)))
                began = time.perf_counter()
                for key in ENDPOINTS["klines"].keys("BTCUSDT", "1m", int(first.timestamp() * 1000), _ms(now)):
                    client.get("/api/v3/klines", params=ENDPOINTS["klines"].query(key, ENDPOINTS["klines"].end(key)))
                bare_s = time.perf_counter() - began
            began = time.perf_counter()
            run_once(slices, of)
            return time.perf_counter() - began, bare_s


def _ms(instant: datetime) -> int:
    return int(instant.timestamp() * 1000)


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("--slices", type=int, default=100_000)
    parser.add_argument("--fetch", type=int, default=200)
    given = parser.parse_args()
    given.root.mkdir(parents=True, exist_ok=True)
    with metered() as figures:
        figures["diff_s"], figures["manifest_s"] = known(given.root, given.slices)
        figures["fetch_s"], figures["bare_s"] = fetched(given.root, given.fetch)


if __name__ == "__main__":
    main()
