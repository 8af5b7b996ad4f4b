"""From `load` to a chart: bars of a window, what they are worth, and a page that draws them with their holes.

The page holds its data and its script, so it opens without a network. Run it from the checkout, on a lake with data:

    python docs/examples/load_to_chart.py BTCUSDT 2026-11-18 2026-11-19 --timeframe 5m --out btcusdt.html
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

import polars as pl

from lake_assets.reading import load, verify

PAGE = """<!doctype html><meta charset="utf-8"><title>TITLE</title><body><h3>TITLE</h3><div id="chart"></div>
<script>SCRIPT</script><script>
const chart = LightweightCharts.createChart(document.getElementById("chart"), { width: 1200, height: 500,
  timeScale: { timeVisible: true } });
const holes = chart.addHistogramSeries({ priceScaleId: "holes", color: "rgba(239,83,80,0.3)" });
chart.priceScale("holes").applyOptions({ scaleMargins: { top: 0, bottom: 0 }, visible: false });
const bars = BARS;
chart.addCandlestickSeries({}).setData(bars);
holes.setData(HOLES);
chart.timeScale().fitContent();
document.body.dataset.bars = bars.length;
</script></body>
"""


def say(text: str) -> None:
    """A line for the terminal."""
    sys.stdout.write(text + "\n")


def main() -> None:
    """Read the arguments, load, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("symbol")
    parser.add_argument("start", type=datetime.fromisoformat, help="first day or minute, UTC")
    parser.add_argument("end", type=datetime.fromisoformat, help="the first that is not wanted")
    parser.add_argument("--table", default="um_minute")
    parser.add_argument("--timeframe", default="5m", choices=["1m", "5m", "15m", "1h", "1d"])
    parser.add_argument("--out", type=Path, default=Path("chart.html"))
    asked = parser.parse_args()

    # Times are timezone-aware. `require="clean"` would refuse a window with holes that nothing explains.
    start, end = (each.replace(tzinfo=UTC) for each in (asked.start, asked.end))
    lazy, certificate = load(
        asked.symbol, start, end, ["open", "high", "low", "close"], table=asked.table, timeframe=asked.timeframe
    )
    bars = lazy.collect()
    verify(certificate)  # the bytes that were read are those that were committed
    say(f"{bars.height} bars, {certificate.completeness_pct} % of the rows, clean: {certificate.clean}")
    for hole in certificate.holes:
        say(f"  {hole.start:%F %R} to {hole.end:%F %R}: {hole.rows} rows, {hole.cause}")

    time = certificate.table.layout.time_column
    points = bars.select(pl.col(time).dt.epoch("s").alias("time"), "open", "high", "low", "close").to_dicts()
    length = {"1m": 1, "5m": 5, "15m": 15, "1h": 60, "1d": 1440}[asked.timeframe]
    grid = pl.datetime_range(start, end, timedelta(minutes=length), closed="left", time_zone="UTC", eager=True)
    there = set(bars[time].to_list())
    holes = [{"time": int(at.timestamp()), "value": 1} for at in grid if at not in there]

    package = find_spec("lightweight_charts")
    script = Path((package.submodule_search_locations or [""])[0], "js", "lightweight-charts.js") if package else None
    if script is None or not script.is_file():
        raise SystemExit("lightweight-charts is not installed: run `make setup`")
    parts = {
        "SCRIPT": script.read_text("utf-8"),
        "TITLE": f"{asked.symbol} {asked.timeframe}, UTC, {certificate.completeness_pct} % complete",
        "BARS": json.dumps(points),
        "HOLES": json.dumps(holes),
    }
    page = PAGE
    for name in ("TITLE", "BARS", "HOLES", "SCRIPT"):
        page = page.replace(name, parts[name])
    asked.out.write_text(page, encoding="utf-8")
    say(f"{asked.out}: {len(points)} bars, {len(holes)} holes")


if __name__ == "__main__":
    main()
