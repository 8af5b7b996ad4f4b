"""How soon a closed second of spot can be read: from its end to the moment the records give its bar, with quotes.

Belongs here: a collector on the simulator's sockets in this process, and a reader beside it. Does not belong here:
judging the figures.
"""

from __future__ import annotations

import statistics
import threading
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from lake_assets.live.recorder import run_collector
from lake_assets.live.spot_records import spot_records
from lake_assets.transforms.trade_fold import folded
from lake_resources.clock import SECOND
from lake_resources.settings import LakeSettings
from lake_resources.simulator.server import SimulatorServer
from lake_tests.bench.meter import metered

SYMBOL = "SOLUSDT"
_WATCHED_S, _WARM_S = 40, 8


def _watch(root: Path, ages: list[float], stopping: threading.Event) -> None:
    """Look for new seconds and note how long each was over when it was first there."""
    first = last = datetime.now(UTC).replace(microsecond=0) + _WARM_S * SECOND
    while not stopping.wait(0.1):
        now = datetime.now(UTC)
        bars = folded(spot_records(root, SYMBOL, first - 10 * SECOND, now).fills, SECOND)
        new = bars.filter(pl.col("open_time") > last)["open_time"].to_list()
        # What comes at once with a later second was readable no sooner: its trades touch only then.
        ages += [(datetime.now(UTC) - at - SECOND).total_seconds() for at in new]
        last = max([last, *new])


def main() -> None:
    """A symbol that trades several times a second for some seconds."""
    with (
        TemporaryDirectory() as folder,
        SimulatorServer(symbols=("BTCUSDT",), spot_symbols=(SYMBOL,), rate_per_min=900, limits=False) as sim,
        metered() as figures,
    ):
        root, stopping, ages = Path(folder), threading.Event(), list[float]()
        settings = LakeSettings(
            _env_file=None, root=root, rest_url=sim.base_url, ws_url=sim.ws_url, symbols=("BTCUSDT",),
            spot_symbols=(SYMBOL,), spot_rest_url=sim.base_url, spot_ws_url=f"{sim.ws_url}/spot",
        )  # fmt: skip
        watching = threading.Thread(target=_watch, args=(settings.lake_root, ages, stopping))
        watching.start()
        run_collector(settings, say=lambda _: None, for_s=_WATCHED_S + _WARM_S)
        stopping.set()
        watching.join()
        figures |= {
            "seconds": len(ages),
            "p50_s": statistics.median(ages),
            "p99_s": sorted(ages)[len(ages) * 99 // 100],
        }


if __name__ == "__main__":
    main()
