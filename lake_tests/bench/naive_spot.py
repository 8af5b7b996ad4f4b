"""The earlier way to a day of seconds: JSON lines read line by line, pandas resamples, a Parquet file at the end.

Belongs here: what the system did that the lake comes after. Does not belong here: anything of the lake. Runs in the
competitors' environment.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd

from lake_tests.bench.meter import metered


def seconds_of_day(root: Path, minutes: int) -> pd.DataFrame:
    """Bars of one second from the first files of the day, one per minute, nothing verified, nothing deduplicated."""
    parts = []
    for path in sorted(root.rglob("part_*.jsonl"))[:minutes]:
        with path.open() as file:
            parts.append(pd.DataFrame([json.loads(line) for line in file]))
    rows = pd.concat(parts, ignore_index=True)
    rows["ts"] = pd.to_datetime(rows["ts_event"], unit="ms", utc=True)
    rows["quote"] = rows["price"] * rows["qty"]
    bars = rows.sort_values("ts").set_index("ts").resample("1s")
    prices = bars["price"].ohlc()
    prices["volume_base"] = bars["qty"].sum()
    prices["volume_quote"] = bars["quote"].sum()
    prices["trade_count"] = bars["price"].count()
    prices["vwap"] = prices["volume_quote"] / prices["volume_base"]
    return prices


if __name__ == "__main__":
    with metered() as figures:
        found = seconds_of_day(Path(sys.argv[1]) / "raw", int(sys.argv[2]))
        figures |= {"rows": len(found), "trades": float(found["trade_count"].sum())}
