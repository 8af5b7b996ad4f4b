"""Every table, not minutes of futures alone: backed up, restored, its ledger lost and made anew, told to Dagster."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lake_assets.cli.main import app
from lake_assets.tables.declared import TABLES
from lake_resources.storage.bars_duckdb import BarsTable
from lake_resources.storage.hashing import file_hash
from lake_resources.yahoo.tickers import ticker_name
from lake_tests.support.research_lake import PRICES, research_lake
from lake_tests.support.spot_days import SYMBOL as SPOT
from lake_tests.support.stores import store_at

KINDS = {"um_minute", "spot_bars_1s", "spot_klines_1m", "macro_minute"}
"""Tables of which the lake has rows: one of each kind at least."""
FAR = (datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake with rows of futures, of spot in seconds and minutes, of currencies, and a 1H table."""
    return research_lake(tmp_path_factory.mktemp("made") / "lake").lake_root


@pytest.fixture
def root(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "lake"
    shutil.copytree(made, root)
    monkeypatch.chdir(tmp_path)
    values = {"ROOT": str(root), "SYMBOLS": "BTCUSDT", "START": "2026-01-01", "SPOT_SYMBOLS": SPOT}
    for name, value in (values | {"MACRO_TICKERS": ",".join(PRICES)}).items():
        monkeypatch.setenv(f"LAKE_{name}", value)
    for market in ("REST", "SPOT_REST", "VISION", "YAHOO"):
        monkeypatch.setenv(f"LAKE_{market}_URL", "http://127.0.0.1:9")
    return root


def held(root: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Of each table its committed partitions and archives as the ledger tells them; each file is the one it names."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    for name, table in TABLES.items():
        store = store_at(root, table)
        try:
            rows = []
            for symbol in store.ledger.symbols_with_partitions():
                for row in store.ledger.partitions(symbol, *FAR):
                    assert file_hash(store.catalog.absolute(row.path)) == row.content_hash, row
                    rows.append((symbol, row.start, row.path, row.content_hash, row.row_count))
            found[name] = rows
        finally:
            store.close()
    return found


def ran(*arguments: str) -> Any:
    result = CliRunner().invoke(app, [*arguments])
    assert result.exit_code == 0, (arguments, result.output, result.exception)
    return json.loads(result.stdout) if "--json" in arguments else None


def test_a_restored_lake_has_every_table(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = held(root)
    assert {name for name, rows in before.items() if rows} >= KINDS
    ran("backup", str(root.parent / "copy"), "--json")
    monkeypatch.setenv("LAKE_ROOT", str(root.parent / "other"))
    ran("restore", str(root.parent / "copy"), "--json")
    assert held(root.parent / "other") == before
    with BarsTable(root.parent / "other" / "feed" / "ohlcv.duckdb").writer() as writer:
        assert writer is not None


def test_a_lost_ledger_is_made_anew_for_every_table(root: Path) -> None:
    before = held(root)
    for path in root.glob("ledger.sqlite*"):
        path.unlink()
    told = CliRunner().invoke(app, ["rebuild-ledger", "--no-judge", "--json"])
    left_out = json.loads(told.stdout)["left_out"]
    assert all(text.startswith("vision/") for text in left_out), (
        "two archives of this lake do not say where they are from"
    )
    assert held(root) == before


def test_every_table_is_told_to_dagster(root: Path) -> None:
    told = ran("report-to-dagster", "--json")
    counts = {each["asset"]: each["partitions"] for each in told}
    tables = {name: len(rows) for name, rows in held(root).items()}
    for asset, table in (("um/BTCUSDT/minute", "um_minute"), (f"spot/{SPOT}/bars_1s", "spot_bars_1s"),
                         (f"spot/{SPOT}/klines_1m", "spot_klines_1m")):  # fmt: skip
        assert counts[asset] == tables[table] > 0, (asset, counts, tables)
    macro = [count for asset, count in counts.items() if asset.startswith("macro/")]
    assert (len(macro), sum(macro)) == (len(PRICES), tables["macro_minute"])


def test_symbols_that_no_setting_names_are_told_with_their_table(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert root.is_dir()
    monkeypatch.setenv("LAKE_SYMBOLS", "ETHUSDT")
    monkeypatch.setenv("LAKE_SPOT_SYMBOLS", "ADAUSDT")
    monkeypatch.setenv("LAKE_MACRO_TICKERS", ",".join(list(PRICES)[1:]))
    lines = CliRunner().invoke(app, ["report-to-dagster"]).stdout.splitlines()
    said = {line.rpartition(" of the ")[2] for line in lines if line.startswith("not told")}
    assert said == {
        "minute table: BTCUSDT", f"table of spot seconds: {SPOT}", f"table of spot klines 1m: {SPOT}",
        f"table of macro minutes: {ticker_name(next(iter(PRICES)))}",
    }  # fmt: skip
