"""Real klines replayed: what comes back through slices equals the exchange's own files, candle by candle."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from lake_assets.slices import keeping
from lake_assets.slices.frames import read_slices
from lake_assets.slices.server import open_slices, run_once
from lake_resources.settings import LakeSettings
from lake_resources.simulator.market.replay import load
from lake_resources.simulator.server import SimulatorServer
from lake_tests.support.sliced import OF, ms

FIRST = datetime(2020, 1, 1, tzinfo=UTC)
NAMES = (
    "open",
    "high",
    "low",
    "close",
    "volume",
    "quote_volume",
    "count",
    "taker_buy_volume",
    "taker_buy_quote_volume",
)
AT = (1, 2, 3, 4, 5, 7, 8, 9, 10)


@pytest.mark.parametrize("form", ["json", "json.zst"])
def test_two_real_days_come_back_as_the_files_have_them(
    recorded: Callable[[str], Path], tmp_path: Path, form: str
) -> None:
    files = []
    for day in (1, 2):
        path = recorded(f"vision/spot/klines_1m_zip/BTCUSDT-1m-2020-01-0{day}.zip")
        with zipfile.ZipFile(path) as archive:
            files.append(Path(archive.extract(archive.namelist()[0], tmp_path)))
    market = load(files, "BTCUSDT", interval="1m")
    now = FIRST + timedelta(days=2)
    with SimulatorServer(replays={"BTCUSDT": market}, symbols=("BTCUSDT",), clock=lambda: now, limits=False) as sim:
        settings = LakeSettings(
            root=tmp_path / "lake", rest_url=sim.base_url, spot_rest_url=sim.base_url, slices_form=form
        )
        with open_slices(settings, clock=lambda: now, sleep=lambda _: None) as slices:
            done = run_once(slices, OF)
            assert slices.rows.origin(OF) == ms(FIRST), "the lattice starts at the first candle there is"
            assert done.standing["ok"] == 2
            keeping.do(slices, OF, "pack")
            candles, coverage = read_slices(slices, "BTCUSDT", "1m", FIRST, FIRST + timedelta(days=2))
    assert coverage.clean
    wanted = pl.concat(pl.read_csv(path, has_header=False, infer_schema=False) for path in files)
    assert candles.height == wanted.height == 2880
    assert candles["open_time"].dt.epoch("ms").to_list() == wanted.to_series(0).cast(pl.Int64).to_list()
    for name, index in zip(NAMES, AT, strict=True):
        assert candles[name].to_list() == wanted.to_series(index).cast(candles[name].dtype).to_list(), name
