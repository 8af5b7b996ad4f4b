"""`lake validate-rules` over the lake, its raw klines and files of others."""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner, Result

from lake_assets.cli.main import app
from lake_resources.clock import HOUR, system_clock
from lake_resources.errors import DiskFull, SettingsError
from lake_resources.simulator.server import SimulatorServer
from lake_tests.support.simulated_lake import DAY, PUBLISHED, SYMBOL, Bench, bench_on, hours

pytestmark = pytest.mark.slow

WINDOW = [SYMBOL, "--start", f"{DAY:%Y-%m-%d}", "--end", f"{DAY + timedelta(days=1):%Y-%m-%d}"]


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
    path = bench.lake.catalog.partition_path(SYMBOL, DAY + 3 * HOUR)
    rows = pl.read_parquet(path)
    changed = pl.when(pl.col("timestamp") == DAY + 3 * HOUR).then(pl.col("high") * 1.0001).otherwise("high")
    rows.with_columns(changed.alias("high")).tail(-5).vstack(
        rows.with_columns(changed.alias("high")).head(1)
    ).write_parquet(path)
    result = run(*WINDOW)
    assert result.exit_code == 1
    assert "missing 4" in result.output
    told = run(*WINDOW, "--json")
    assert told.exit_code == 1, told.output
    (found,) = json.loads(told.stdout)
    assert found["verdict"] == "FAIL"
    assert [rule["rule"] for rule in found["rules"] if rule["offenders"]]
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


def minute_csv(path: Path, times: list[object], **columns: list[object]) -> Path:
    prices = {"open": [1.0], "high": [2.0], "low": [0.5], "close": [1.5]} | columns
    values = {name: (given * len(times))[: len(times)] for name, given in prices.items()}
    rows = [",".join(map(str, row)) for row in zip(times, *values.values(), strict=True)]
    path.write_text("\n".join([",".join(["open_time", *values]), *rows]) + "\n")
    return path


@pytest.mark.parametrize(("unit", "per_second"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
@pytest.mark.parametrize("suffix", [".csv", ".PARQUET"])
def test_epochs_of_every_unit_are_the_same_minutes(tmp_path: Path, unit: str, per_second: int, suffix: str) -> None:
    epochs = [(int(DAY.timestamp()) + 60 * n) * per_second for n in range(10)]
    path = minute_csv(tmp_path / f"{unit}.csv", list(epochs))
    if suffix == ".PARQUET":
        pl.read_csv(path).write_parquet(path.with_suffix(suffix))
    result = run("--file", str(path.with_suffix(suffix)))
    assert result.exit_code == 0, (result.output, result.exception)
    assert "2026-11-18 00:00 to 2026-11-18 00:10" in result.output


def test_klines_of_vision_without_a_header_and_of_both_units_are_read(tmp_path: Path) -> None:
    epochs = [int(DAY.timestamp() + 60 * n) * (1000 if n < 5 else 1_000_000) for n in range(10)]
    lines = [f"{epoch},1,2,0.5,1.5,3,{epoch + 59},4,5,6,7,0" for epoch in epochs]
    path = tmp_path / "BTCUSDT-1m-2025-01.CSV"
    path.write_text("\n".join(lines))
    result = run("--file", str(path))
    assert result.exit_code == 0, (result.output, result.exception)
    assert "2026-11-18 00:00 to 2026-11-18 00:10" in result.output


MINUTES = [f"2026-11-18T00:0{n}:00Z" for n in range(8)]


@pytest.mark.parametrize(
    ("times", "closes", "text"),
    [
        (MINUTES, [1.5, 1.5, "N/A"], "'N/A' in column 'close', row 3 of 8, is no number"),
        ([*MINUTES[:5], "soon", *MINUTES[6:]], [1.5], "'soon' in column 'open_time', row 6 of 8, is no time"),
        ([1, 2, "soon", 4], [1.5], "'soon' in column 'open_time', row 3 of 4, is no epoch"),
        ([10**18, 9 * 10**18, 8 * 10**30], [1.5], "in column 'open_time', row 3 of 3, is no epoch"),
    ],
)
def test_a_value_that_is_none_is_named(tmp_path: Path, times: list[object], closes: list[object], text: str) -> None:
    path = minute_csv(tmp_path / "bars.csv", times, close=closes)
    result = run("--file", str(path))
    assert isinstance(result.exception, SettingsError), result.output
    assert f"{path}: {text}" in str(result.exception) or (
        text in str(result.exception) and str(path) in str(result.exception)
    )


def test_a_word_late_in_a_long_file_is_found_and_empty_values_break_their_rules(tmp_path: Path) -> None:
    times = [int(DAY.timestamp()) + 60 * n for n in range(3000)]
    late = minute_csv(tmp_path / "late.csv", list(times), close=[1.5] * 2999 + ["N/A"])
    assert "row 3000 of 3000" in str(run("--file", str(late)).exception)
    gaps = minute_csv(tmp_path / "gaps.csv", [*times[:9], ""], close=[1.5] * 4 + [""] + [1.5] * 5)
    result = run("--file", str(gaps))
    assert result.exit_code == 1, (result.output, result.exception)
    assert "no_time 1" in result.output


@pytest.mark.parametrize("content", ["", "open_time,open,high,low,close\n"])
def test_a_file_without_rows_fails_with_a_report(tmp_path: Path, content: str) -> None:
    (tmp_path / "none.csv").write_text(content)
    result = run("--file", str(tmp_path / "none.csv"), "--report", str(tmp_path / "none.md"))
    assert result.exit_code == 1, result.exception
    page = (tmp_path / "none.md").read_text()
    assert "- **Time Range**: - (end" in page
    assert page.endswith("🚫 **FAIL** - Significant data quality issues detected.\n")


def test_bars_beside_the_clock_fail(tmp_path: Path) -> None:
    path = minute_csv(tmp_path / "half.csv", [int(DAY.timestamp()) + 30 + 60 * n for n in range(10)])
    result = run("--file", str(path))
    assert (result.exit_code, "off_grid 10" in result.output) == (1, True)


def test_a_reversed_window_of_a_file_is_wrong_usage_and_one_beside_its_bars_has_no_rows(tmp_path: Path) -> None:
    path = minute_csv(tmp_path / "bars.csv", list(MINUTES))
    refused = run("--file", str(path), "--start", "2026-11-19", "--end", "2026-11-18")
    assert isinstance(refused.exception, SettingsError)
    assert run("--file", str(path), "--start", "2026-11-19").exit_code == 1


def test_without_an_end_it_goes_to_the_newest_minute_that_must_exist(bench: Bench) -> None:
    lag = timedelta(minutes=bench.settings.safety_lag_minutes)
    before = system_clock() - lag
    result = run(SYMBOL, "--start", f"{DAY:%Y-%m-%d}")
    after = system_clock() - lag
    (end,) = re.findall(r"to (\S+ \S+) UTC", result.output)
    assert f"{before:%Y-%m-%d %H:%M}" <= end <= f"{after:%Y-%m-%d %H:%M}"


def test_a_report_that_cannot_be_written_leaves_the_old_one(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = tmp_path / "report.md"
    report.write_text("old")
    full = OSError(errno.ENOSPC, "No space left on device")

    def fail(*_: object, **__: object) -> None:
        raise full

    monkeypatch.setattr(Path, "replace", fail)
    assert isinstance(run(*WINDOW, "--report", str(report)).exception, DiskFull)
    assert (report.read_text(), [path.name for path in tmp_path.glob("*report*")]) == ("old", ["report.md"])


def klines_csv(path: Path, stamp: str, *, rows: int = 120, first: str = "36533.70,36540.00,36533.70,36535.20") -> Path:
    """Klines without a header, their prices as Vision prints them, their times in a format of one's own."""
    start = 1_651_795_200_000
    prices = [first, *["36506.30,36523.10,36492.30,36522.70"] * (rows - 1)]
    lines = [
        f"{stamp.format(start + n * 60_000)},{price},264.779,0,9670700.3,3057,71.0,25937.0,0"
        for n, price in enumerate(prices)
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_first_row_of_two_equal_prices_is_no_header(tmp_path: Path) -> None:
    result = run("--file", str(klines_csv(tmp_path / "BTCUSDT-1m-2022-05-06.csv", "{}")))
    assert result.exit_code == 0, result.output
    assert "2022-05-06 00:00 to 2022-05-06 02:00 UTC: PASS" in result.output


@pytest.mark.parametrize("stamp", ["{:.5E}", "{:.2e}", "{:.7E}"])
def test_times_that_a_spreadsheet_rounded_are_the_cause_of_the_verdict(tmp_path: Path, stamp: str) -> None:
    report = tmp_path / "report.md"
    path = klines_csv(tmp_path / "saved.csv", stamp)
    result = run("--file", str(path), "--report", str(report))
    assert result.exit_code == 1
    said = " ".join(result.output.split())
    assert f"cause: the times are rounded: column 'open_time' has them as '{stamp.format(1_651_795_200_000)}'" in said
    assert "A spreadsheet does that" in said
    assert "saved: the times are rounded" in report.read_text()


def test_scientific_notation_that_lost_nothing_is_read(tmp_path: Path) -> None:
    result = run("--file", str(klines_csv(tmp_path / "whole.csv", "{:.12E}")))
    assert result.exit_code == 0, result.output
    assert "cause" not in result.output
