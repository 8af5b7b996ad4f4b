"""`lake validate-rules` over the lake, its raw klines and files of others."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner, Result

from lake_assets.cli import app
from lake_resources.errors import SettingsError
from lake_resources.simulator.server import SimulatorServer
from lake_tests.simulated_lake import DAY, HOUR, PUBLISHED, SYMBOL, Bench, bench_on, exchange, hours

WINDOW = [SYMBOL, "--start", f"{DAY:%Y-%m-%d}", "--end", f"{DAY + timedelta(days=1):%Y-%m-%d}"]


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatorServer]:
    with exchange() as found:
        yield found


@pytest.fixture
def bench(sim: SimulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with bench_on(sim, tmp_path) as found:
        monkeypatch.setenv("LAKE_ROOT", str(found.settings.root))
        found.at(PUBLISHED).build(hours(0, 24))
        yield found


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["validate-rules", *arguments])


def test_the_lake_passes_and_says_what_it_was_compared_with(bench: Bench, tmp_path: Path) -> None:
    result = run(*WINDOW, "--report", str(tmp_path / "out" / "report.md"))
    assert result.exit_code == 0, result.output
    page = (tmp_path / "out" / "report.md").read_text()
    assert "| R7 | Prices equal the exchange's klines | 1,440 | 0 | 0.00 |" in page
    assert page.endswith("✅ **PASS** - All validation rules passed successfully.\n")
    assert run(*WINDOW, "--source", "klines").exit_code == 0


def test_a_missing_hour_and_a_changed_price_fail(bench: Bench) -> None:
    path = bench.lake.catalog.minute_path(SYMBOL, DAY + 3 * HOUR)
    rows = pl.read_parquet(path)
    changed = pl.when(pl.col("timestamp") == DAY + 3 * HOUR).then(pl.col("high") * 1.0001).otherwise("high")
    rows.with_columns(changed.alias("high")).tail(-5).vstack(
        rows.with_columns(changed.alias("high")).head(1)
    ).write_parquet(path)
    result = run(*WINDOW)
    assert result.exit_code == 1
    assert "missing 4" in result.output
    assert result.output.rstrip().endswith("FAIL")
    assert "│ R7 " in result.output


def test_an_empty_window_fails(bench: Bench) -> None:
    result = run(SYMBOL, "--start", "2026-11-10", "--end", "2026-11-11")
    assert (result.exit_code, "FAIL" in result.output) == (1, True)


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_bars_of_an_hour_in_a_file(tmp_path: Path, suffix: str) -> None:
    times = [DAY.replace(tzinfo=None) + n * HOUR for n in range(48)]
    bars = pl.DataFrame({"timestamp": times, "open": 1.0, "high": 2.0, "low": 0.5, "close": 1.5, "volume": 3.0})
    path = tmp_path / f"hours{suffix}"
    (bars.write_parquet if suffix == ".parquet" else bars.write_csv)(path)
    assert run("--file", str(path), "--tf", "1h").exit_code == 0
    gap = bars.filter(pl.col("timestamp") != times[7])
    (gap.write_parquet if suffix == ".parquet" else gap.write_csv)(path)
    result = run("--file", str(path), "--tf", "1h")
    assert (result.exit_code, "missing 1" in result.output) == (1, True)


def test_what_is_no_file_of_bars_says_why(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("when,price\n1,2\n")
    for arguments, text in (
        (["--file", str(tmp_path / "a.csv")], "It needs open, high, low, close"),
        (["--file", str(tmp_path / "b.csv")], "no Parquet or CSV file"),
        (["--file", str(tmp_path / "a.csv"), "--tf", "1 month"], "is unknown"),
        (["--tf", "1h"], "bars of 1m"),
    ):
        result = run(*arguments)
        assert isinstance(result.exception, SettingsError), arguments
        assert text in str(result.exception)
