"""The page on extending tells the truth: its diffs are all that a column and a stream take."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).resolve().parents[2]
PAGE = PROJECT / "docs" / "extending.md"
PRODUCT = ("lake_assets", "lake_resources")
_LOOK = """
import json
from lake_assets.tables.dictionary import render
from lake_assets.tables.um_minute import UM_MINUTE
from lake_assets.transforms.assemble import assemble
from lake_resources.binance.um_streams import UM_STREAMS
from lake_tests.support.wire_frames import TEN, inputs, kline, metrics_row, wire
name = "premium_index_klines_1m"
given = {"premium": wire(name, [kline(TEN)])} if name in UM_STREAMS else {}
metrics = wire("metrics", [metrics_row(TEN - 10 * MINUTE, 1.0, 2.0, 1.5, 1.25)])
rows = assemble(inputs(TEN, TEN + MINUTE, klines=wire("klines_1m", [kline(TEN)]), metrics=metrics, **given))
values = {column: rows[column][0] for column in ("oi_value_usdt", "premium_index") if column in rows.columns}
print(json.dumps({"values": values, "names": rows.columns, "uses": list(UM_MINUTE.uses), "hash": UM_MINUTE.schema_hash,
                  "told": [n for n in UM_MINUTE.names if f"`{n}`" in render(UM_MINUTE)]}))
"""


def diffs() -> dict[str, str]:
    """The diffs on the page, by the heading above."""
    sections = re.split(r"^## ", PAGE.read_text("utf-8"), flags=re.MULTILINE)[1:]
    found = {text.splitlines()[0]: re.findall(r"```diff\n(.*?)```", text, flags=re.DOTALL) for text in sections}
    return {heading: blocks[0] for heading, blocks in found.items() if blocks}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for package in PRODUCT:
        shutil.copytree(PROJECT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def look(copy: Path) -> dict[str, Any]:
    """What the minute table of that copy is, and makes of one minute."""
    paths = f"import sys; sys.path[:0] = [{str(copy)!r}, {str(PROJECT)!r}]\n"
    done = subprocess.run([sys.executable, "-c", paths + _LOOK], cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def patch(copy: Path, diff: str, *options: str) -> None:
    done = subprocess.run(
        ["git", "apply", *options, "-"], cwd=copy, input=diff, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("heading", "column", "stream", "files"),
    [("A column", "oi_value_usdt", "", 1), ("A stream", "premium_index", "premium_index_klines_1m", 3)],
)
def test_the_diff_on_the_page_is_all_it_takes(copy: Path, heading: str, column: str, stream: str, files: int) -> None:
    diff = diffs()[heading]
    touched = re.findall(r"^\+\+\+ b/(.*)$", diff, flags=re.MULTILINE)
    assert len(touched) == files
    now = look(copy)
    assert column in now["values"]
    assert now["values"][column] is not None
    patch(copy, diff, "-R")
    without = look(copy)
    assert without["names"] == [name for name in now["names"] if name != column]
    assert without["uses"] == [name for name in now["uses"] if name != stream]
    assert column not in without["told"]
    assert without["hash"] != now["hash"]
    patch(copy, diff)
    assert look(copy) == now
    for path in touched:
        assert (copy / path).read_bytes() == (PROJECT / path).read_bytes()


def test_the_table_on_the_page_is_there() -> None:
    text = PAGE.read_text("utf-8")
    for path in re.findall(r"`((?:lake_assets|lake_resources|lake_tests)/[\w/]+\.py)`", text):
        assert (PROJECT / path).is_file(), path
    toy = (PROJECT / "lake_tests" / "support" / "toy_seconds.py").read_text("utf-8")
    named = re.findall(r"`(TOY|toy_rows|TOY_ROWS|TOY_ASSET)`", text)
    assert set(named) == {"TOY", "toy_rows", "TOY_ROWS", "TOY_ASSET"}
    assert all(re.search(rf"^(def )?{name}\b", toy, flags=re.MULTILINE) for name in named)
