"""The page for people of other systems: each command it names exists and takes these options; none of theirs lacks."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from lake_assets.cli.command_table import COMMANDS
from lake_assets.cli.lazy_group import load
from lake_resources.config_file import BECAME, NOT_NEEDED
from lake_resources.settings import LakeSettings
from lake_resources.testing_mode import CompressedTimes

PROJECT = Path(__file__).resolve().parents[2]
PAGE = (PROJECT / "docs" / "coming-from.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in PAGE.splitlines() if line.startswith("| ")]
THEIRS = {row[0].strip("`"): row[1] for row in ROWS}
SPANS = [span for line in PAGE.splitlines() for span in re.findall(r"`([^`]+)`", line)]
OURS = sorted({span for span in SPANS if re.match(r"(lake|bml) ", span)})

QUOTED = (
    "bml init-state",
    "bml run-once",
    "bml run-daemon --poll-seconds 60",
    "bml show-watermark",
    "bml backfill-years --years 5",
    "bml backfill-years --years 5 --max-missing-hours 24",
    "bml backfill-range --start 2021-02-15T00:00:00+00:00 --end 2026-02-14T23:59:00+00:00",
    "pip install -e .[dev]",
    "cp .env.example .env",
    "./airflow/scripts/start_scheduler.sh",
    "./airflow/scripts/start_webserver.sh",
    "python main.py --mode collector",
    "python main.py --mode transformer --date 2025-10-20",
    "python main.py --mode validate --date 2025-10-20",
    "python main.py --mode compact --date 2025-10-20",
    "pytest -v",
    "python tools/scheduler.py --action setup_all",
    "python main.py --mode orchestrate",
    (
        "python main.py --mode orchestrate --macro_tickers SPY,UUP,ES=F,EURUSD=X,GBPUSD=X,USDJPY=X "
        "--macro_interval_min 15 --macro_lookback_startup_days 7 --macro_runtime_lookback_days 1"
    ),
    "python main.py --mode test",
    "python main.py --mode orchestrate --testing",
    "python -m tools.final_validation",
    "cat D:/CryptoDataLake/test/reports/health.md",
    "cat D:/CryptoDataLake/test/logs/test/orchestrator.log",
    "streamlit run gui/app.py",
    (
        "python main.py --mode slice --symbols SOLUSDT,SUIUSDT --start 2025-10-21T00:00:00Z --end 2025-10-21T23:59:00Z "
        "--tf 1m --source bars --out data/extracts/sol_1m_2025-10-21.parquet --format parquet"
    ),
    (
        "python main.py --mode slice --symbols SOLUSDT --start 2025-10-21T00:00:00Z --end 2025-10-21T01:00:00Z "
        "--tf 1s --source bars --out data/extracts/sol_1s_sample.csv --format csv"
    ),
    (
        "python main.py --mode validate_rules --symbols SOLUSDT,SUIUSDT,ADAUSDT --start 2025-10-21T00:00:00Z "
        "--end 2025-10-21T14:40:00Z --tf 1s --source bars --report reports/sanity_2025-10-21.md"
    ),
    "python main.py --mode backfill_binance --symbols SOLUSDT,BTCUSDT,ETHUSDT --lookback_days 180 --interval 1m",
    "python main.py --mode macro_minute --tickers SPY,UUP,ES=F --lookback_days 7",
    'curl "https://fapi.binance.com/fapi/v1/klines?symbol=BTCUSDT&interval=1h&limit=3"',
    "from qlir.data.sources.binance.server import start_data_server",
)
"""The commands of the five documents, each on one line."""
VIEWS = {
    "bars_1s", "bars_1m", "klines_1m", "compare_our_vs_kline_1m", "funding_oi_hourly", "macro_minute",
    "dxy_synthetic_minute",
}  # fmt: skip


@pytest.mark.parametrize("command", OURS)
def test_each_command_of_the_page_exists_and_takes_these_options(command: str) -> None:
    _, *words = shlex.split(command)
    if words[0] == "--traceback":
        words = words[1:]
    assert words[0] in COMMANDS
    load(COMMANDS[words[0]]).make_context(words[0], words[1:])


@pytest.mark.parametrize("command", QUOTED)
def test_each_command_of_the_documents_stands_in_it_with_what_to_type(command: str) -> None:
    here = THEIRS[command]
    assert re.search(r"`(lake|make) |`lake\.yml`|in `\{root\}|sensor ", here), here


def test_the_first_systems_command_is_installed_and_is_the_same_program() -> None:
    scripts = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts["bml"] == scripts["lake"]
    own = [command for command in QUOTED if command.startswith("bml ")]
    assert len(own) == 7
    assert set(own) <= set(OURS), "they are parsed like ours"


def test_every_view_has_its_own() -> None:
    files = {path.stem for path in (PROJECT / "lake_assets" / "research" / "sql").glob("*.sql")}
    assert files >= VIEWS
    assert {name: THEIRS[name].split("`")[1] for name in VIEWS} == {name: name for name in VIEWS}


def test_every_key_of_the_configuration_has_its_fate_on_the_settings_page() -> None:
    assert "settings.md#a-configyml-of-the-crypto-lake" in PAGE
    page = (PROJECT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert [key for key in (*BECAME, *NOT_NEEDED) if f"`{key}`" not in page] == []
    assert [name for name in CompressedTimes.model_fields if f"`LAKE_TESTING__{name.upper()}`" not in page] == []


def test_variables_that_the_page_names_are_settings() -> None:
    named = {name.removeprefix("LAKE_").lower() for name in re.findall(r"LAKE_[A-Z_]+[A-Z]", PAGE)}
    assert named
    assert named <= set(LakeSettings.model_fields)


def test_the_example_of_a_dotenv_names_settings_with_their_defaults(tmp_path: Path) -> None:
    lines = (PROJECT / ".env.example").read_text(encoding="utf-8").splitlines()
    given = [line.removeprefix("#") for line in lines if line.startswith("#LAKE_")]
    assert len(given) >= 5
    names = {line.partition("=")[0].removeprefix("LAKE_").lower() for line in given}
    assert names <= set(LakeSettings.model_fields)
    copied = tmp_path / ".env"
    copied.write_text("\n".join(line for line in given if not line.endswith("=")), encoding="utf-8")
    told = LakeSettings(_env_file=copied)  # type: ignore[call-arg]
    default = LakeSettings(_env_file=None)  # type: ignore[call-arg]
    assert {name: getattr(told, name) for name in names} == {name: getattr(default, name) for name in names}
