"""The chart in the page: a small component around the script of lightweight-charts, which draws on a canvas.

Belongs here: putting its files together and calling it. Does not belong here: what it shows (`chart_series`).
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from dataclasses import asdict
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import polars as pl
import streamlit.components.v1 as components

from lake_assets.dashboard.chart_series import Chart
from lake_resources.errors import SettingsError

_OWN = Path(__file__).parent / "component"
_SCRIPT = "lightweight-charts.js"


def show_chart(chart: Chart, view: str) -> dict[str, Any]:
    """Draw a chart.

    Args:
        chart: what is to be seen.
        view: names what is looked at: while it stays the same, a redraw keeps the zoom.

    Returns:
        What the reader did in this view: `clicked`, epoch second of a point, with its number of `bars`; `from` and
        `to` of the window looked at.
    """
    meta, data = packed(chart)
    told = _component()(meta=meta, data=data, view=view, key="chart", default={}) or {}
    # What was said of another view comes once more with the first call of this one.
    return told if told.get("view") == view else {}


def packed(chart: Chart) -> tuple[dict[str, Any], bytes]:
    """A chart as the component takes it: what it is as JSON values, its bars as columns of doubles one after the other.

    A day of seconds is 5 MB so, and a third of a second quicker to write and to read than as JSON. NULL is NaN.
    """
    columns = [chart.bars[name].cast(pl.Float64).fill_null(float("nan")) for name in chart.bars.columns]
    meta = {
        "columns": chart.bars.columns,
        "count": chart.bars.height,
        "step": chart.step,
        "marks": [list(mark) for mark in chart.marks],
        "bands": [asdict(band) for band in chart.bands],
        "panes": list(chart.panes),
    }
    return meta, b"".join(column.to_numpy().astype("<f8").tobytes() for column in columns)


@cache
def _component() -> Any:
    return components.declare_component("minute_lake_chart", path=str(_directory()))


def _directory() -> Path:
    """A directory with our page and the library's script, which lie in different packages."""
    spec = find_spec("lightweight_charts")
    # The package itself is not imported: it opens windows of its own.
    script = Path((spec.submodule_search_locations or [""])[0]) / "js" / _SCRIPT if spec else None
    if script is None or not script.is_file():
        raise SettingsError("the script of lightweight-charts is not installed", remedy="Run `make setup`")
    directory = Path(tempfile.mkdtemp(prefix="minute-lake-chart-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    for file in [*_OWN.iterdir(), script]:
        shutil.copyfile(file, directory / file.name)
    return directory
