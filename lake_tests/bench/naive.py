"""The naive way to an hour: open every zip of the day, parse it with pandas, keep the hour, aggregate.

Belongs here: what a straightforward script does, and what earlier systems did once per hour window. Does not belong
here: anything of the lake. Runs in the competitors' environment.
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd

from lake_tests.bench.meter import metered

_KLINE_TYPES = ("klines", "markPriceKlines", "indexPriceKlines", "premiumIndexKlines")


def hour_of_day(root: Path, day: str, hour: int) -> pd.DataFrame:
    """Minutes of one hour from the day's zips, nothing verified, nothing written."""
    start = pd.Timestamp(f"{day}T{hour:02d}:00", tz="UTC")
    folder = root / "data/futures/um/daily"
    trades = _rows(folder / f"aggTrades/BTCUSDT/BTCUSDT-aggTrades-{day}.zip", "transact_time", start)
    notional = trades["price"] * trades["quantity"]
    whale = notional >= 100_000
    columns = {
        "max_trade_size": trades["quantity"],
        "notional": notional,
        "buy": ~trades["is_buyer_maker"],
        "sell": trades["is_buyer_maker"],
        "whale": whale,
        "whale_quantity": trades["quantity"].where(whale, 0.0),
        "squared_return": np.log(trades["price"]).diff() ** 2,
        "minute": trades["time"].dt.floor("min"),
    }
    kinds = dict.fromkeys(columns, "sum") | {"max_trade_size": "max"}
    kinds.pop("minute")
    minutes = pd.DataFrame(columns).groupby("minute").agg(kinds)
    for name in _KLINE_TYPES:
        bars = _rows(folder / f"{name}/BTCUSDT/1m/BTCUSDT-1m-{day}.zip", "open_time", start)
        minutes = minutes.join(bars.set_index("time").add_prefix(f"{name}_"))
    metrics = _rows(folder / f"metrics/BTCUSDT/BTCUSDT-metrics-{day}.zip", "create_time", start)
    return minutes.join(metrics.set_index("time"), how="left").ffill()


def _rows(path: Path, time_column: str, start: pd.Timestamp) -> pd.DataFrame:
    with zipfile.ZipFile(path) as archive, archive.open(archive.namelist()[0]) as member:
        frame = pd.read_csv(member)
    unit = None if frame[time_column].dtype.kind in "OTU" else "ms"
    frame["time"] = pd.to_datetime(frame[time_column], unit=unit, utc=True)
    return frame[(frame["time"] >= start) & (frame["time"] < start + pd.Timedelta(hours=1))]


if __name__ == "__main__":
    with metered() as figures:
        figures["rows"] = len(hour_of_day(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
