"""`lake backfill-klines`: which days it takes, what it refuses; case A-22: days are whole, the open candle is none."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import polars as pl
import pytest
from typer.testing import CliRunner

from lake_assets.build.hours import build_partitions
from lake_assets.cli.commands_klines import app, days_to_build
from lake_assets.lake import Lake, open_lake
from lake_assets.tables.spot_klines import SPOT_KLINES
from lake_resources.clock import DAY
from lake_resources.errors import SettingsError
from lake_resources.settings import LakeSettings
from lake_resources.simulator.server import SimulatorServer

NOW = datetime(2026, 9, 15, 10, 4, 30, tzinfo=UTC)
TODAY = NOW.replace(hour=0, minute=0, second=0)
SYMBOL = "SOLUSDT"
TABLE = SPOT_KLINES["1m"]


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    with SimulatorServer(symbols=(SYMBOL,), clock=lambda: NOW) as server:
        settings = LakeSettings(
            _env_file=None, root=tmp_path / "lake", exchange="simulator", spot_rest_url=server.base_url,
            rest_url=server.base_url, vision_url="http://127.0.0.1:9", spot_symbols=(SYMBOL,),
        )  # fmt: skip
        opened = open_lake(settings, clock=lambda: NOW, sleep=lambda _: None).of(TABLE)
        yield opened
        opened.close()


def test_a_day_from_rest_is_whole_and_the_open_candle_is_no_row(lake: Lake) -> None:
    days = [TODAY - DAY, TODAY]
    assert days_to_build(lake, SYMBOL, days[0], NOW) == days
    built = build_partitions(lake, SYMBOL, days, now=NOW, report=lambda _: None)
    found = [hour for day in built for hour in day.hours]
    # The candles of 10:01 to 10:04 are younger than the safety lag, or open.
    assert [(each.status, each.row_count) for each in found] == [("committed", 1440), ("committed", 601)]
    rows = pl.read_parquet(lake.catalog.partition_path(SYMBOL, TODAY))
    assert rows["open_time"].max() == NOW.replace(minute=0, second=0)
    assert rows.columns == list(TABLE.names)
    assert days_to_build(lake, SYMBOL, days[0], NOW) == [], "what is whole is left alone"
    assert days_to_build(lake, SYMBOL, days[0], NOW + timedelta(minutes=5)) == [TODAY]


def test_a_candle_has_its_last_values_whenever_it_is_asked_for(tmp_path: Path) -> None:
    ten = TODAY + timedelta(hours=10)
    with SimulatorServer(symbols=(SYMBOL,), clock=lambda: NOW, rate_per_min=120) as server:
        settings = LakeSettings(
            _env_file=None, root=tmp_path / "lake", exchange="simulator", spot_rest_url=server.base_url,
            rest_url=server.base_url, vision_url="http://127.0.0.1:9", spot_symbols=(SYMBOL,),
        )  # fmt: skip
        lake = open_lake(settings, clock=server.clock.now, sleep=lambda _: None).of(TABLE)

        def told() -> tuple[float, float]:
            """Close and volume of the candle of 10:00 as the exchange has them now."""
            query = {"symbol": SYMBOL, "interval": "1m", "startTime": int(ten.timestamp() * 1000), "limit": 1}
            answer = httpx.get(f"{server.base_url}/api/v3/klines", params=query, trust_env=False, timeout=60)
            return float(answer.json()[0][4]), float(answer.json()[0][5])

        def held_at(now: datetime) -> list[tuple[float, float]]:
            server.clock.freeze(now)
            list(build_partitions(lake, SYMBOL, [TODAY], now=now, report=lambda _: None))
            rows = pl.read_parquet(lake.catalog.partition_path(SYMBOL, TODAY))
            return rows.filter(pl.col("open_time") == ten).select("close", "volume").rows()

        assert held_at(ten + timedelta(seconds=30)) == []
        open_one = told()
        again = held_at(ten + timedelta(seconds=330))
        assert again == [told()]
        assert again != [open_one], "it went on after 10:00:30"
        lake.close()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--interval", "1h"], "LAKE_SPOT_KLINE_INTERVALS"),
        (["--symbols", "DOGEUSDT"], "LAKE_SPOT_SYMBOLS"),
    ],
)
def test_what_has_no_assets_is_refused_with_the_setting_to_change(
    arguments: list[str], told: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LAKE_ROOT", str(tmp_path / "lake"))
    monkeypatch.setenv("LAKE_SPOT_SYMBOLS", SYMBOL)
    result = CliRunner().invoke(app, [*arguments, "--dry-run"])
    assert isinstance(result.exception, SettingsError)
    assert told in f"{result.exception}"
