"""`--table` on the commands that work on partitions, over a lake that holds a day of spot klines beside no minutes."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from lake_assets.build.hours import build_partitions
from lake_assets.cli.main import app
from lake_assets.lake import open_lake
from lake_assets.reading import load
from lake_assets.tables.spot_klines import SPOT_KLINES
from lake_resources.binance.spot_streams import SPOT_STREAMS
from lake_resources.clock import DAY
from lake_resources.errors import NotYet, SettingsError
from lake_resources.settings import LakeSettings
from lake_tests.support.spot_days import SYMBOL, keep_archive, klines, trades

FIRST = datetime(2025, 11, 29, tzinfo=UTC)
NOW = FIRST + 20 * DAY
SPAN = ["--start", "2025-11-29", "--end", "2025-11-30"]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    nobody = "http://127.0.0.1:9"
    for name, value in {"LAKE_ROOT": str(tmp_path / "lake"), "LAKE_EXCHANGE": "simulator"}.items():
        monkeypatch.setenv(name, value)
    settings = LakeSettings(_env_file=None, rest_url=nobody, spot_rest_url=nobody, vision_url=nobody)
    lake = replace(open_lake(settings, clock=lambda: NOW), ask_rest=False).of(SPOT_KLINES["1m"])
    try:
        candles = klines(trades(FIRST, DAY), FIRST, DAY, timedelta(minutes=1))
        keep_archive(lake, SPOT_STREAMS["klines_1m"], FIRST, candles)
        (day,) = build_partitions(lake, SYMBOL, [FIRST], now=NOW, report=lambda _: None)
        assert [each.status for each in day.hours] == ["committed"]
    finally:
        lake.close()
    return settings.lake_root


def said(*arguments: str, code: int = 0) -> Any:
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def test_each_command_looks_at_the_table_that_is_named(root: Path, tmp_path: Path) -> None:
    table = ["--table", "klines_1m"]
    (shown,) = said("show", SYMBOL, "--day", "2025-11-29", *table)
    assert [(row["row_count"], row["verdict"]) for row in shown["hours"]] == [(1440, "clean")]
    assert [row["stream"] for row in shown["archives"]] == ["klines_1m"]
    assert said("show", SYMBOL, "--day", "2025-11-29", "--table", "bars_1s")[0]["hours"] == []
    (mark,) = said("show-watermark", SYMBOL, *table)
    assert mark["watermark"].startswith("2025-11-29T23:59")
    assert said("missing", *table) == []
    (holes,) = said("holes", SYMBOL, *SPAN, *table)
    assert (holes["expected_minutes"], holes["present_minutes"]) == (1440, 1440)
    (audit,) = said("audit", SYMBOL, *SPAN, "--dagster", "no", *table)
    assert (audit["expected_minutes"], audit["present_minutes"]) == (1440, 1440)
    (rules,) = said("validate-rules", SYMBOL, *SPAN, *table)
    assert rules["verdict"] == "PASS"
    (compact,) = said("compact", SYMBOL, "--dry-run", *table)
    assert compact["symbol"] == SYMBOL
    (export,) = said("export", SYMBOL, *SPAN, "--out", str(tmp_path / "out"), *table)
    assert (export["table"], export["rows"], Path(export["path"]).suffix) == ("spot_klines_1m", 1440, ".parquet")
    assert pl.read_parquet(export["path"]).columns == ["symbol", *SPOT_KLINES["1m"].names]


def test_people_read_the_tables_words(root: Path) -> None:
    shown = CliRunner().invoke(
        app, ["show", SYMBOL, "--day", "2025-11-29", "--table", "klines_1m"], env={"COLUMNS": "200"}
    )
    assert shown.exit_code == 0, shown.output
    assert f"spot/{SYMBOL}/klines_1m" in shown.output
    assert "vision/spot/STREAM" in shown.output


@pytest.mark.parametrize(
    "command",
    [
        ["show", SYMBOL], ["missing"], ["show-watermark"], ["holes"], ["audit"], ["validate-rules"], ["compact"],
        ["export", *SPAN],
        ["declare-hole", "klines_1m", SYMBOL, "2025-11-29", "2025-11-30", "--cause", "a", "--reference", "b"],
    ],
    ids=lambda command: command[0],
)  # fmt: skip
def test_an_unknown_table_is_told_with_those_that_there_are(command: list[str]) -> None:
    result = CliRunner().invoke(app, [*command, "--table", "candles"], env={"COLUMNS": "200"})
    assert result.exit_code == 2, result.output
    assert "there is no table 'candles'. One of bars_1s" in result.output


def test_python_loads_a_table_by_what_it_is_called(root: Path) -> None:
    frame, certificate = load(SYMBOL, FIRST, FIRST + DAY, ["close"], table="klines_1m", clock=lambda: NOW)
    assert frame.collect().shape == (1440, 2)
    assert certificate.clean
    with pytest.raises(SettingsError, match="there is no table 'candles'"):
        load(SYMBOL, FIRST, FIRST + DAY, table="candles")


def test_the_catalog_lists_the_files_of_the_table(root: Path) -> None:
    (told,) = said("catalog", "export", "--table", "klines_1m")
    assert told["path"] == str(root / "catalog" / "klines_1m.parquet")
    (file,) = pl.read_parquet(told["path"]).iter_rows(named=True)
    assert (file["symbol"], file["row_count"], file["start"]) == (SYMBOL, 1440, FIRST)
    assert pl.read_parquet(root / file["path"], hive_partitioning=False).height == 1440
    result = CliRunner().invoke(app, ["catalog", "export"])
    assert isinstance(result.exception, NotYet)
