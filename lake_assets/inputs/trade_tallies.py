"""What a file of aggTrades has of each minute, as numbers that klines can be held against, and the ids that it lacks.

Ids are contiguous at Binance, so a step of more than one is a loss. Belongs here: counting while a file is
typed, keeping the numbers in its metadata, reading them back. Does not belong here: the verdict on them
(`validation.trade_evidence`), features of a minute (`transforms.trades`).
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from lake_assets.transforms.trades import STRADDLE_US
from lake_assets.validation.trade_evidence import TALLIES, UNITS
from lake_resources.clock import MINUTE

_KEY = b"lake.trade_tallies"
_GAPS_KEY = "lake.id_gaps"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
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


@dataclass
class GapFinder:
    """Watches the frames of one file of aggTrades, sorted by id.

    Attributes:
        gaps: per step the times (µs since epoch) of the trades around it, and how many ids lie between them.
    """

    gaps: list[tuple[int, int, int]] = field(default_factory=list)
    _last: pl.DataFrame | None = None

    def see(self, frame: pl.DataFrame) -> None:
        """Take the next frame: wire columns of `agg_trades`, strictly increasing ids."""
        rows = frame.select("agg_trade_id", "transact_time")
        if self._last is not None:
            rows = pl.concat([self._last, rows])
        self._last = rows.tail(1)
        ids, times = rows["agg_trade_id"], rows["transact_time"].to_physical()
        for at in (ids.diff() > 1).fill_null(value=False).arg_true():
            around = sorted((int(times[at - 1]), int(times[at])))
            self.gaps.append((around[0], around[1], int(ids[at]) - int(ids[at - 1]) - 1))

    def metadata(self) -> dict[str, str]:
        """Key-value metadata for the typed file; empty where no id is missing."""
        return {_GAPS_KEY: json.dumps(self.gaps)} if self.gaps else {}

    @classmethod
    def told_in(cls, metadata: Mapping[str, str]) -> str:
        """The summary of a typed file, from its metadata."""
        return cls([(a, b, count) for a, b, count in json.loads(metadata.get(_GAPS_KEY, "[]"))]).summary()

    def summary(self) -> str:
        """How much is missing, in words; empty where nothing is."""
        if not self.gaps:
            return ""
        start, end, _ = self.gaps[0]
        lost = sum(count for _, _, count in self.gaps)
        return (
            f"{lost} aggTrade ids are missing in {len(self.gaps)} place(s), first between {_at(start)} and {_at(end)}"
        )


def read_gaps(paths: Iterable[Path]) -> list[tuple[datetime, datetime]]:
    """Times of the trades around each loss in some typed files; both minutes and all between them are incomplete."""
    found = []
    for path in paths:
        text = (pq.read_metadata(path).metadata or {}).get(_GAPS_KEY.encode())
        found += [] if text is None else [(_at(start), _at(end)) for start, end, _ in json.loads(text)]
    return found


def _at(microseconds: int) -> datetime:
    return _EPOCH + microseconds * _MICROSECOND
