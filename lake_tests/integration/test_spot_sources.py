"""Seconds of spot from the simulated exchange, end to end: zips of Vision, klines of REST and the fold agree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from lake_assets.build.hours import build_partitions
from lake_assets.inputs.archives import ingest_archives
from lake_assets.inputs.results import HourResult
from lake_assets.lake import Lake, open_lake
from lake_assets.tables.spot_bars_1s import SPOT_BARS_1S
from lake_resources.binance.spot_streams import KLINES_1S, TRADES
from lake_resources.binance.stream import Stream
from lake_resources.clock import HOUR
from lake_resources.settings import LakeSettings
from lake_resources.simulator.server import SimulatorServer

SYMBOL = "SOLUSDT"
NOW = datetime(2026, 9, 15, 12, 34, 20, tzinfo=UTC)
DAY = datetime(2026, 9, 13, tzinfo=UTC)
HOURS = [DAY + 7 * HOUR, DAY + 8 * HOUR]
NOBODY = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatorServer]:
    with SimulatorServer(symbols=(SYMBOL,), clock=lambda: NOW, limits=False) as server:
        yield server


def lake(root: Path, vision_url: str, rest_url: str) -> Lake:
    """A lake on hosts, of which there may be none."""
    settings = LakeSettings(
        _env_file=None, root=root, exchange="simulator", rest_url=rest_url, spot_rest_url=rest_url,
        vision_url=vision_url, start=DAY.date(),
    )  # fmt: skip
    return replace(
        open_lake(settings, clock=lambda: NOW, sleep=lambda _: None), ask_rest=rest_url != NOBODY
    ).of(SPOT_BARS_1S)  # fmt: skip


def built(made: Lake, *archives: Stream) -> tuple[list[HourResult], pl.DataFrame]:
    """Two hours, after archives of their day were taken in; results and rows."""
    taken = list(ingest_archives(made, SYMBOL, [(stream, f"{DAY:%Y-%m-%d}") for stream in archives]))
    assert [each.present for each in taken] == [True] * len(archives)
    days = build_partitions(made, SYMBOL, HOURS, now=NOW, report=lambda _: None)
    results = [hour for day in days for hour in day.hours]
    assert [(each.status, each.row_count) for each in results] == [("committed", 3600)] * 2
    paths = [made.catalog.partition_path(SYMBOL, hour) for hour in HOURS]
    made.close()
    return results, pl.concat([pl.read_parquet(path) for path in paths])


def kinds(results: list[HourResult]) -> set[str]:
    return {each.sources[KLINES_1S.name].kind for each in results}


def test_archive_rest_and_fold_give_the_same_seconds_exactly(sim: SimulatorServer, tmp_path: Path) -> None:
    found, rows = built(lake(tmp_path / "archive", sim.base_url, NOBODY), KLINES_1S, TRADES)
    assert kinds(found) == {"archive"}
    parity = [each.metadata for result in found for each in result.outcomes if each.name == "fold_parity"]
    assert [(each["compared"], each["differing"]) for each in parity] == [(3600, 0)] * 2
    asked, of_rest = built(lake(tmp_path / "rest", NOBODY, sim.base_url))
    assert kinds(asked) == {"rest"}
    # The archive of klines is not asked for: what is left are the trades, which are in the lake.
    told = lake(tmp_path / "fold", sim.base_url, NOBODY)
    taken = list(ingest_archives(told, SYMBOL, [(TRADES, f"{DAY:%Y-%m-%d}")]))
    assert taken[0].present
    folded, of_fold = built(replace(told, vision=lake(tmp_path / "fold", NOBODY, NOBODY).vision))
    assert kinds(folded) == {"ws"}
    assert rows.equals(of_rest)
    assert rows.equals(of_fold)
    assert rows["window_start"].diff().drop_nulls().unique().to_list() == [timedelta(seconds=1)]
    assert 0 < rows["has_trades"].sum() < rows.height
