"""What Dagster's history of the hot band takes on the disk, from tellings of some simulated hour; no process, no clock.

Belongs here: bytes of one telling of what the resident builder committed, in all and by table, and a day of them.
Does not belong here: judging the figures, ticks (`hot` measures those).

    python -m lake_tests.bench.told_bytes --symbols BTCUSDT,ETHUSDT,SOLUSDT
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

from lake_assets.dagster_names import HOT_SENSOR
from lake_assets.local_stack.places import PROJECT
from lake_assets.resident.keep_hot import keep_hot_once
from lake_resources.clock import HOUR, MINUTE, SECOND
from lake_resources.dagster_instance import open_instance
from lake_tests.bench.hot import history_bytes
from lake_tests.support.automated_lake import automated
from lake_tests.support.simulated_lake import DAY, bench_on, exchange

_BEGAN = DAY + 15 * HOUR + 10 * MINUTE + SECOND
_TELLINGS = 24 * (12 + 1)
"""A day's: every five minutes, and when an hour is sealed."""
_TOLD = 8
"""Tellings of the open hour, five minutes apart; the first one tells the hours before it too, and does not count."""


def main() -> None:
    """Print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--symbols", default="BTCUSDT,ETHUSDT,SOLUSDT")
    symbols = tuple(parser.parse_args().symbols.split(","))
    with tempfile.TemporaryDirectory(prefix="lake-told-") as root:
        home = Path(root) / "dagster_home"
        home.mkdir()
        shutil.copyfile(PROJECT / "dagster_home" / "dagster.yaml", home / "dagster.yaml")
        os.environ["DAGSTER_HOME"] = str(home)
        grown = _grown(home, Path(root) / "lake", symbols)
    each = sum(grown.values()) / (_TOLD - 1)
    figures = {
        "symbols": len(symbols),
        "telling_kb": round(each / 1000, 1),
        "mb_per_day": round(_TELLINGS * each / 1e6, 1),
    }
    figures |= {f"kb_{kind}": round(size / (_TOLD - 1) / 1000, 1) for kind, size in grown.most_common() if size}
    sys.stdout.write(json.dumps(figures) + "\n")


def _grown(home: Path, root: Path, symbols: tuple[str, ...]) -> Counter[str]:
    """Bytes by which the databases grew after the first telling, by kind."""
    first: Counter[str] = Counter()
    with (
        open_instance(home) as instance,
        exchange(symbols=symbols) as simulated,
        bench_on(simulated, root, spot_symbols=(), symbols=symbols) as bench,
        automated(bench.at(_BEGAN), instance) as lake,
    ):
        for number in range(_TOLD):
            keep_hot_once(bench.at(_BEGAN + number * 5 * MINUTE).lake, bench.settings, say=sys.stderr.write)
            lake.tick(HOT_SENSOR)
            if number == 0:
                instance.event_log_storage.dispose()
                first = Counter(history_bytes(home))
        instance.event_log_storage.dispose()
        return Counter(history_bytes(home)) - first


if __name__ == "__main__":
    main()
