"""The example from `load` to a chart, run as its reader runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lake_tests.support.holed_lake import holed_lake

PROJECT = Path(__file__).resolve().parents[2]
SCRIPT = PROJECT / "docs" / "examples" / "load_to_chart.py"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("example") / "lake"
    holed_lake(found)
    return found


def test_the_example_draws_bars_and_holes(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "day.html"
    environment = os.environ | {
        "LAKE_ROOT": str(root), "LAKE_EXCHANGE": "simulator", "LAKE_START": "2026-01-15", "PYTHONPATH": str(PROJECT),
    }  # fmt: skip
    command = [sys.executable, str(SCRIPT), "BTCUSDT", "2026-01-15", "2026-01-16", "--out", str(out)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = done.stdout.splitlines()
    assert told[0] == "276 bars, 95.83 % of the rows, clean: False"
    assert told[1].strip().startswith("2026-01-15 07:00 to 2026-01-15 08:00: 60 rows, hour not committed")
    assert told[-1].endswith("276 bars, 12 holes")
    page = out.read_text("utf-8")
    assert "createChart" in page
    assert "BARS" not in page.split("<script>")[-1]
    assert page.count('"close":') == 276
    assert "src=" not in page.split("<script>", maxsplit=1)[0], "nothing is loaded from outside"
