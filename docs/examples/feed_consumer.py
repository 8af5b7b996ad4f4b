"""An example consumer of the 1H feed: load the newest inference file, check it, compute features, predict.

Shows the contract only: the model is a toy. Needs polars and nothing of this project.

    python docs/examples/feed_consumer.py data/simulator/feed/artifacts/binance_btcusdt_p_60

Exit codes: 0 a prediction was printed, 1 the file breaks the contract.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from statistics import fmean, stdev

import polars as pl

COLUMNS = ["timestamp", "open", "high", "low", "close", "volume"]
HOUR = timedelta(hours=1)
MINIMUM_HOURS = 30 * 24
LOOKBACKS_H = (1, 4, 12, 24)


class ContractBroken(Exception):
    """The file is not what the feed promises; the text says how."""


def load_latest(directory: Path) -> tuple[pl.DataFrame, dict[str, object]]:
    """The file that `latest.json` names, verified by its hash.

    The pointer is replaced in one step and names complete files only, so there is nothing to wait for or to lock.
    """
    manifest = json.loads((directory / "latest.json").read_text())
    content = (directory / manifest["for_inference"]).read_bytes()
    if hashlib.sha256(content).hexdigest() != manifest["sha256"]:
        raise ContractBroken(f"{manifest['for_inference']} is not the file that latest.json describes")
    bars = pl.read_csv(content, schema_overrides=dict.fromkeys(COLUMNS[1:], pl.Float64))
    return bars.with_columns(pl.col("timestamp").str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="us")), manifest


def check(bars: pl.DataFrame, now: datetime, *, buffer_hours: int, max_age_hours: float) -> None:
    """What an inference pipeline must be sure of before it computes anything.

    Raises:
        ContractBroken: columns, order, gaps, numbers, history or freshness.
    """
    if bars.columns != COLUMNS:
        raise ContractBroken(f"columns {bars.columns}, expected {COLUMNS}")
    stamps = bars["timestamp"]
    wrong = bars.filter(pl.col("timestamp") != pl.col("timestamp").dt.truncate("1h"))
    if wrong.height:
        raise ContractBroken(f"{wrong['timestamp'][0]} is not on the hour")
    steps = bars.select(step=pl.col("timestamp").diff(), at="timestamp").slice(1).filter(pl.col("step") != HOUR)
    if steps.height:
        raise ContractBroken(f"not strictly hourly at {steps['at'][0]}: {steps['step'][0]} after the row before")
    numbers = bars.select(pl.all_horizontal(pl.col(COLUMNS[1:]).is_finite().fill_null(value=False)).all()).item()
    if not numbers:
        raise ContractBroken("NaN or an empty value in open, high, low, close or volume")
    # The first row must lie the whole look-back before the last: 726 hours are 727 rows.
    needed = (MINIMUM_HOURS + buffer_hours) * HOUR
    if bars.is_empty() or stamps[-1] - stamps[0] < needed:
        raise ContractBroken(
            f"{bars.height} rows; {needed // HOUR + 1} are needed for {needed // HOUR} hours of history"
        )
    age = now.astimezone(UTC).replace(tzinfo=None) - (stamps[-1] + HOUR)
    if age > max_age_hours * HOUR:
        raise ContractBroken(f"the newest hour {stamps[-1]} closed {age} ago, at most {max_age_hours:g} h are allowed")


def features(bars: pl.DataFrame) -> dict[str, float]:
    """Look-back features of the newest row, from rows at or before it."""
    close: list[float] = bars["close"].to_list()
    volume: list[float] = bars["volume"].to_list()
    returns = [math.log(after / before) for before, after in pairwise(close)]
    found = {}
    for hours in LOOKBACKS_H:
        found[f"return_{hours}h"] = math.log(close[-1] / close[-1 - hours])
        found[f"volume_ratio_{hours}h"] = fmean(volume[-hours:]) / (fmean(volume) or 1.0)
    found["volatility_24h"] = stdev(returns[-24:])
    found["volatility_30d"] = stdev(returns[-MINIMUM_HOURS:])
    found["range_position_30d"] = (close[-1] - min(close)) / ((max(close) - min(close)) or 1.0)
    return found


def predict(found: dict[str, float]) -> float:
    """A toy: the probability that the next hour rises, from momentum against volatility. Not a trading signal."""
    momentum = sum(found[f"return_{hours}h"] / hours for hours in LOOKBACKS_H) / len(LOOKBACKS_H)
    score = momentum / (found["volatility_30d"] or 1.0) - 0.5 * (found["range_position_30d"] - 0.5)
    return 1.0 / (1.0 + math.exp(-score))


def main(arguments: list[str]) -> int:
    """Load, check, compute, print."""
    parser = argparse.ArgumentParser(description="Example consumer of the 1H feed")
    parser.add_argument("directory", type=Path, help="{persist_dir}/{dataset_slug}")
    parser.add_argument("--buffer-hours", type=int, default=6)
    parser.add_argument("--max-age-hours", type=float, default=2.0)
    parser.add_argument("--now", type=datetime.fromisoformat, help="for tests and replays; default the system's clock")
    chosen = parser.parse_args(arguments)
    now = chosen.now or datetime.now(UTC)
    try:
        bars, manifest = load_latest(chosen.directory)
        check(bars, now, buffer_hours=chosen.buffer_hours, max_age_hours=chosen.max_age_hours)
    except (ContractBroken, FileNotFoundError) as error:
        sys.stderr.write(f"contract broken: {error}\n")
        return 1
    found = features(bars)
    sys.stdout.write(f"{bars.height} hours until {bars['timestamp'][-1]} (run {manifest['run_time']})\n")
    for name, value in found.items():
        sys.stdout.write(f"  {name:22} {value:+.6f}\n")
    sys.stdout.write(f"toy probability of a rise in the next hour: {predict(found):.4f}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
