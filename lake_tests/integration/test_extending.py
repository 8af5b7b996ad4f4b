"""The page on extending tells the truth: its diffs are all of a column and of a stream, its class all of a source."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from lake_resources.binance.um_streams import KLINES_1M
from lake_tests.support.simulated_lake import DAY, HOUR, SYMBOL, Bench
from lake_tests.support.toy_vendor import ToyVendor

PROJECT = Path(__file__).resolve().parents[2]
PAGE = PROJECT / "docs" / "extending.md"
PRODUCT = ("lake_assets", "lake_resources")
_LOOK = """
import json
from lake_assets.tables.dictionary import render
from lake_assets.tables.um_minute import UM_MINUTE
from lake_assets.transforms.assemble import assemble
from lake_resources.binance.um_streams import UM_STREAMS
from lake_resources.clock import MINUTE
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


def test_the_sources_on_the_page_are_all_that_there_are() -> None:
    section = PAGE.read_text("utf-8").split("\n## A source\n")[1]
    told = dict(re.findall(r"^\| `(\w+)` \| `([\w/]+)\.py` \|", section, flags=re.MULTILINE))
    paths = [path for package in PRODUCT for path in (PROJECT / package).rglob("*.py")]
    named = r"^class (\w+)[^:]*:(?:(?!^class ).)*?^    def offers\(self, wanted: Wanted\) -> Iterator\[Offer\]"
    found = {
        name: path.relative_to(PROJECT).with_suffix("").as_posix()
        for path in paths
        for name in re.findall(named, path.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    }
    assert found.pop("Source") == "lake_assets/source"
    assert told == found
    for name, path in told.items():
        assert getattr(import_module(path.replace("/", ".")), name).title


def test_the_class_on_the_page_is_all_that_a_source_takes(bench: Bench, tmp_path: Path) -> None:
    section = PAGE.read_text("utf-8").split("\n## A source\n")[1]
    (shown,) = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
    assert shown in (PROJECT / "lake_tests" / "support" / "toy_vendor.py").read_text("utf-8")
    vendor = ToyVendor(tmp_path)
    told, torn, asked = (DAY + number * HOUR for number in (3, 4, 5))
    rows = bench.lake.rest.fetch(KLINES_1M, SYMBOL, told, told + HOUR)
    rows.write_csv(vendor.file(SYMBOL, told))
    vendor.file(SYMBOL, torn).write_text("a CSV no more\n1\n")
    bench.lake = replace(bench.lake, before_rest=(vendor,))
    bench.sim.clear_requests()
    built = bench.build([told, torn, asked])
    assert [result.status for result in built] == ["committed"] * 3
    answers = bench.lake.ledger.captures_between(SYMBOL, KLINES_1M.name, told, asked + HOUR)
    by_vendor = f"toy vendor {vendor.file(SYMBOL, told).name}"
    assert [each.request == by_vendor for each in answers] == [True, False, False]
    assert built[0].sources[KLINES_1M.name].kind == "rest"
    assert built[0].frame is not None
    assert built[0].frame["close"].to_list() == rows["close"].to_list()
    assert any(f"the toy vendor gave nothing for 1 of 3 hours: {vendor.file(SYMBOL, torn).name}" in text
               for text in bench.reports), bench.reports  # fmt: skip
