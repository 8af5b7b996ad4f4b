"""The demo's part of raw slices: a day of them, a failure that is planted and healed, the manifest.

Belongs here: what is asked of the loop, and what is printed of it. Does not belong here: the loop (`slices`).
"""

from __future__ import annotations

from datetime import datetime

import httpx
from rich.console import Console

from lake_assets.slices.endpoints import ENDPOINTS
from lake_assets.slices.integrity import check
from lake_assets.slices.manifest import NAME, directory, read_manifest
from lake_assets.slices.server import open_slices, run_once, summary
from lake_resources.binance.market import SPOT
from lake_resources.clock import DAY, epoch_ms
from lake_resources.errors import LakeError
from lake_resources.settings import LakeSettings
from lake_resources.storage.ledger.slice_rows import SliceSet


def run_slices(settings: LakeSettings, now: datetime, console: Console) -> None:
    """Keep two days of the first symbol's minutes as raw slices; the exchange fails once and the next round heals it.

    Raises:
        LakeError: a slice is not complete, an answer does not have its bytes, or the manifest says otherwise.
    """
    of = SliceSet("klines", settings.symbols[0], "1m")
    url = settings.rest_url_of(SPOT)
    fault = {"kind": "5xx", "path": "/api/v3/klines", "times": 1}
    # Without a pause: what failed is asked for by the next round.
    with open_slices(settings.model_copy(update={"slices_pause_s": 0.0})) as slices:
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        first = epoch_ms(midnight - DAY) if slices.rows.origin(of) is None else None
        httpx.post(f"{url}/sim/faults", json=fault, trust_env=False).raise_for_status()
        console.print(
            f"raw slices; the exchange fails once: {summary(run_once(slices, of, first=first))}", soft_wrap=True
        )
        done = run_once(slices, of)
        console.print(f"raw slices, the next round: {summary(done)}", soft_wrap=True)
        told = read_manifest(slices.store.blobs, of)["summary"]
        console.print(f"manifest: {slices.store.blobs.where(f'{directory(of)}/{NAME}')}", soft_wrap=True)
        console.print(", ".join(f"{name} {value}" for name, value in told.items()), soft_wrap=True)
        defects = list(check(slices, ENDPOINTS[of.endpoint], of))
    if not done.complete or defects or told["total_slices"] != done.expected:
        raise LakeError(
            f"raw slices: {summary(done)}; {len(defects)} defects", remedy="Run `lake slices verify` on this root"
        )
