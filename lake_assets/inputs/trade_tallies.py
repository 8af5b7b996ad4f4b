"""What a file of aggTrades has of each minute, as numbers that klines can be held against.

Belongs here: counting them while a file is typed, keeping them in its metadata, reading them back.
Does not belong here: the verdict on them (`validation.trade_evidence`), features of a minute (`transforms.trades`).
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from lake_assets.transforms.trades import STRADDLE_US
from lake_assets.validation.trade_evidence import TALLIES, UNITS
from lake_resources.clock import MINUTE

_KEY = b"lake.trade_tallies"
_MINUTE_US = 60_000_000
_MOST_UNITS = 2.0**53


def tally(agg_trades: pl.DataFrame) -> pl.DataFrame:
    """Numbers of each minute that has a trade.

    Args:
        agg_trades: wire frame of `agg_trades`, each id once, in any order.

    Returns:
        Columns `TALLIES`, sorted by `timestamp` (UTC).
    """
    time = pl.col("transact_time").to_physical()
    single = pl.col("last_trade_id") - pl.col("first_trade_id") + 1
    rows = agg_trades.select(
        minute=time // _MINUTE_US,
        within=time % _MINUTE_US,
        id="agg_trade_id",
        first="first_trade_id",
        last="last_trade_id",
        single=single,
        quantity=_units(pl.col("quantity")),
        notional=_units(pl.col("price") * pl.col("quantity")),
    )
    head, tail = pl.col("within") < STRADDLE_US, pl.col("within") >= _MINUTE_US - STRADDLE_US
    measures = {"single": "trades", "quantity": "quantity", "notional": "notional"}
    return (
        rows.group_by("minute")
        .agg(
            rows=pl.len().cast(pl.Int64),
            void=(pl.col("quantity") == 0).sum().cast(pl.Int64),
            trades=pl.col("single").sum(),
            quantity=pl.col("quantity").sum(),
            notional=pl.col("notional").sum(),
            first_trade=pl.col("first").min(),
            last_trade=pl.col("last").max(),
            **{f"{side}_{name}": pl.col(wire).filter(mask).sum() for wire, name in measures.items()
               for side, mask in (("head", head), ("tail", tail))},
        )
        .with_columns((pl.col("minute") * _MINUTE_US).cast(TALLIES["timestamp"]).alias("timestamp"))
        .select(list(TALLIES))
        .cast(TALLIES)  # type: ignore[arg-type]
        .sort("timestamp")
    )  # fmt: skip


def _units(value: pl.Expr) -> pl.Expr:
    """Whole units; a value that no trade has is as large as they can be, which no kline agrees with."""
    return (value * UNITS).fill_nan(_MOST_UNITS).round().clip(-_MOST_UNITS, _MOST_UNITS).cast(pl.Int64)


def joined(parts: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """Tallies of parts of the same rows as one; a minute may be cut between two of them."""
    found = [part for part in parts if part.height]
    if not found:
        return pl.DataFrame(schema=TALLIES)
    sums = [name for name in TALLIES if name not in ("timestamp", "first_trade", "last_trade")]
    return (
        pl.concat(found)
        .group_by("timestamp")
        .agg(pl.col(sums).sum(), pl.col("first_trade").min(), pl.col("last_trade").max())
        .select(list(TALLIES))
        .sort("timestamp")
    )


@dataclass
class TradeTally:
    """Counts the frames of one file while they are written."""

    parts: list[pl.DataFrame] = field(default_factory=list)

    def see(self, frame: pl.DataFrame) -> None:
        """Take the next frame: wire columns of `agg_trades`."""
        self.parts.append(tally(frame))

    def metadata(self) -> dict[str, str]:
        """Key-value metadata for the typed file."""
        buffer = io.BytesIO()
        joined(self.parts).write_ipc(buffer, compression="zstd")
        return {_KEY.decode(): base64.b64encode(buffer.getvalue()).decode()}


def tallies_of(path: Path, start: datetime, end: datetime) -> pl.DataFrame:
    """Tallies of a typed file from the minute before `start` to the one after `end`.

    Files that were typed before they had them are counted now.

    Raises:
        OSError, pyarrow.ArrowException, polars.exceptions.PolarsError: the file does not read.
    """
    stamp = path.stat()
    found = _tallies(path, stamp.st_size, stamp.st_mtime_ns)
    time = pl.col("timestamp")
    return found.filter((time >= start - MINUTE) & (time < end + MINUTE))


@lru_cache(maxsize=64)
def _tallies(path: Path, size: int, changed: int) -> pl.DataFrame:  # noqa: ARG001 - they are part of the cache's key
    kept = (pq.read_metadata(path).metadata or {}).get(_KEY)
    if kept is not None:
        return pl.read_ipc(io.BytesIO(base64.b64decode(kept)))
    with pq.ParquetFile(path) as file:
        return joined(tally(_frame(file, index)) for index in range(file.num_row_groups))


def _frame(file: pq.ParquetFile, group: int) -> pl.DataFrame:
    rows = pl.from_arrow(file.read_row_group(group))
    assert isinstance(rows, pl.DataFrame)
    return rows
