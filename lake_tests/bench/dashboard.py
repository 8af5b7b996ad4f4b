"""The dashboard from click to picture, in Chromium: `python -m lake_tests.bench.dashboard [--rounds 5] [--keep DIR]`.

Belongs here: a lake of a year of minutes and a day of seconds, the server of the dashboard, clicking and waiting for
the picture; the server's part alone, measured in this process. The last line is the figures. Does not belong here:
targets.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl
from playwright.sync_api import Page, sync_playwright

from lake_assets.dashboard.chart_page import PANES
from lake_assets.dashboard.chart_series import AskedChart, chart_of
from lake_assets.dashboard.chart_view import packed
from lake_assets.lake import CODE_VERSION
from lake_assets.tables.spot_bars_1s import SPOT_BARS_1S
from lake_assets.tables.um_minute import UM_MINUTE
from lake_assets.transforms.rollup import Timeframe
from lake_resources.settings import LakeSettings
from lake_resources.storage.commit import PartitionCandidate, commit_partitions
from lake_resources.storage.provenance import SourceRef
from lake_resources.storage.root import claim_root
from lake_resources.storage.store import Store
from lake_tests.bench.reading import DAY, FIRST, HOUR, SYMBOL, add_month, compact_here, months
from lake_tests.support.chromium import QUIET
from lake_tests.support.stores import store_at

SPANS = months(12)
END = SPANS[-1][1]
SPOT = "SOLUSDT"
_SECONDS = 86_400


def make_lake(root: Path) -> None:
    """A year of minutes as months, the last month as days and 48 hours, and its last day as seconds in hour files."""
    claim_root(root, "simulator")
    store = store_at(root)
    for start, end in SPANS:
        add_month(store, root / "plain" / f"{start:%Y-%m}.parquet", start, end, hour_files=end == END)
    compact_here(root, "day", SPANS[-1][0], END - 2 * DAY)
    _add_seconds(store.beside(SPOT_BARS_1S))
    store.close()


def _add_seconds(store: Store) -> None:
    noise = np.random.default_rng(7)
    close = np.round(150 + np.cumsum(noise.normal(0, 0.01, _SECONDS)), 2)
    opened = np.concatenate([[150.0], close[:-1]])
    volume = np.round(noise.lognormal(0, 1, _SECONDS), 3)
    start = END - DAY
    given = {
        "symbol": np.full(_SECONDS, SPOT), "open": opened, "close": close, "vwap": close, "volume_base": volume,
        "high": np.maximum(opened, close) + 0.01, "low": np.minimum(opened, close) - 0.01,
        "volume_quote": np.round(volume * close, 5), "trade_count": np.full(_SECONDS, 3),
        "taker_buy_base": volume / 2, "taker_buy_quote": volume * close / 2, "has_trades": np.full(_SECONDS, True),
        "has_quotes": np.full(_SECONDS, True), "bid": close - 0.01, "ask": close + 0.01,
        "spread": np.full(_SECONDS, 0.02), "bid_qty": volume, "ask_qty": volume,
    }  # fmt: skip
    times = pl.datetime_range(start, END, "1s", time_unit="us", time_zone="UTC", closed="left", eager=True)
    rows = pl.DataFrame(given | {"window_start": times}).select(SPOT_BARS_1S.names).cast(SPOT_BARS_1S.polars_schema)
    candidates = [
        PartitionCandidate(
            start=start + index * HOUR,
            frame=rows.slice(3600 * index, 3600),
            metadata={"lake.table": SPOT_BARS_1S.layout.directory},
            sources={"klines_1s": SourceRef("klines_1s", "archive", "a" * 64)},
            complete=True,
            expected_rows=3600,
            inputs_hash=f"hour {index}",
            schema_hash=SPOT_BARS_1S.schema_hash,
            code_version=CODE_VERSION,
        )
        for index in range(24)
    ]
    commit_partitions(store, SPOT, candidates, clock=lambda: END + DAY)


def server_part(settings: LakeSettings, asked: AskedChart, rounds: int) -> tuple[float, float]:
    """From what is asked to the bytes that the browser is sent: seconds of the clock and of CPU over all threads.

    Medians; the first, cold, is left out. What is imported is kept from the collector of garbage, as the server does.
    """
    took, cpu = [], []
    gc.collect()
    gc.freeze()
    for _ in range(rounds + 1):
        began, worked = time.perf_counter(), time.process_time()
        packed(chart_of(asked, settings=settings, clock=lambda: END + DAY))
        took.append(time.perf_counter() - began)
        cpu.append(time.process_time() - worked)
    return statistics.median(took[1:]), statistics.median(cpu[1:])


@contextmanager
def served(root: Path) -> Iterator[str]:
    """The dashboard of the lake, as its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {
        "LAKE_ROOT": str(root), "LAKE_EXCHANGE": "simulator", "LAKE_DASHBOARD_PORT": str(port),
        "LAKE_START": f"{FIRST:%F}",
    }  # fmt: skip
    command = [sys.executable, "-m", "lake_assets.dashboard.web_server"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            while True:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                if process.poll() is not None:
                    raise SystemExit("the dashboard ended")
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def choose(page: Page, label: str, option: str) -> None:
    """Choose an option of a box of the sidebar."""
    page.get_by_label(label, exact=True).click()
    page.get_by_role("option", name=option, exact=True).click()


def click_to_picture(page: Page, before: str, chosen: str, step: int, bars: int, rounds: int) -> float:
    """Seconds from the click on a length of bars to the picture with so many of them, the median."""
    chart = page.frame_locator("iframe")
    took = []
    for _ in range(rounds + 1):
        choose(page, "Bars of", before)
        chart.locator(f"body:not([data-step='{step}'])").wait_for()
        page.wait_for_timeout(700)
        page.get_by_label("Bars of", exact=True).click()
        option = page.get_by_role("option", name=chosen, exact=True)
        option.wait_for()
        began = time.perf_counter()
        option.click()
        chart.locator(f"body[data-step='{step}'][data-bars='{bars}']").wait_for()
        took.append(time.perf_counter() - began)
    return statistics.median(took[1:])


def in_chromium(root: Path, rounds: int) -> dict[str, float]:
    """What a person waits for."""
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("no chromium here: Debian's package `chromium` provides it")
    found = {}
    with served(root) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(QUIET))
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(60_000)
        page.goto(address)

        def window(first: str, last: str) -> None:
            for label, value in (("From (UTC, ISO 8601)", first), ("To", last)):
                page.get_by_label(label, exact=True).fill(value)
                page.get_by_label(label, exact=True).press("Enter")
            page.wait_for_timeout(1000)

        choose(page, "Window", "from … to …")
        window(f"{END - DAY:%F}", f"{END:%F}")
        found["minutes_s"] = click_to_picture(page, "1h", "1m", 60, 1440, rounds)
        choose(page, "Bars of", "1d")
        window(f"{FIRST:%F}", f"{END:%F}")
        found["year_s"] = click_to_picture(page, "1d", "1h", 3600, 24 * (END - FIRST).days, rounds)
        window(f"{END - DAY:%F}", f"{END:%F}")
        choose(page, "Table", SPOT_BARS_1S.layout.title)
        page.wait_for_timeout(1000)
        found["seconds_s"] = click_to_picture(page, "1h", "1s", 1, _SECONDS, rounds)
        browser.close()
    return found


def main() -> None:
    """Make the lake, measure both parts, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="make the lake here, or take the one that is there")
    given = parser.parse_args()
    root = given.keep or Path(tempfile.mkdtemp(prefix="dashboard-bench-"))
    if not (root / "ledger.sqlite").exists():
        make_lake(root)
    settings = LakeSettings(_env_file=None, root=root, exchange="simulator", start=FIRST.date())

    def server(name: str, table: object, timeframe: Timeframe) -> dict[str, float]:
        seconds = table is SPOT_BARS_1S
        declared, symbol = (SPOT_BARS_1S, SPOT) if seconds else (UM_MINUTE, SYMBOL)
        start = FIRST if timeframe == "1h" else END - DAY
        asked = AskedChart(declared, symbol, start, END, timeframe, panes=PANES)
        wall_s, cpu_s = server_part(settings, asked, given.rounds)
        return {f"{name}_server_ms": 1e3 * wall_s, f"{name}_server_cpu_ms": 1e3 * cpu_s}

    figures = in_chromium(root, given.rounds)
    figures |= server("seconds", SPOT_BARS_1S, "1s")
    figures |= server("year", UM_MINUTE, "1h")
    figures |= server("minutes", UM_MINUTE, "1m")
    sys.stdout.write(json.dumps(figures) + "\n")
    if given.keep is None:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
