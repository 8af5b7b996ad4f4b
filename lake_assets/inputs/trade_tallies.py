"""What a file of aggTrades has of each minute, as numbers that klines can be held against, and the ids that it lacks.

Ids are contiguous at Binance, so a step of more than one is a loss. Belongs here: counting while a file is typed,
keeping the numbers in its metadata, reading them back; the features of its minutes, made in the same pass and kept in
memory for whoever builds the day next. Does not belong here: the verdict on them (`validation.trade_evidence`), the
formulas of a minute (`transforms.trades`).
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow.parquet as pq

from lake_assets.transforms.chunks import MinuteCut
from lake_assets.transforms.trade_columns import TRADE_MINUTES
from lake_assets.transforms.trades import MinuteEdges, as_minutes, minute_edges, minute_sums, ticks_of
from lake_assets.validation.trade_evidence import TALLIES, UNITS
from lake_resources.clock import EPOCH, MINUTE, MINUTE_US
from lake_resources.errors import RowsOutOfOrder
from lake_resources.spans import within
from lake_resources.storage.parquet import KeptFrames

_KEY = b"lake.trade_tallies"
_GAPS_KEY = "lake.id_gaps"
_MICROSECOND = timedelta(microseconds=1)
_MOST_UNITS = 2.0**53
_KEPT_FILES = 8
"""Whose minutes stay in memory, about 0.3 MB each."""
_Floats = npt.NDArray[np.float64]
_Integers = npt.NDArray[np.int64]


def tally(agg_trades: pl.DataFrame) -> pl.DataFrame:
    """`tally_of_ticks` of wire rows: `agg_trades`, in any order."""
    return tally_of_ticks(ticks_of(agg_trades))


def tally_of_ticks(ticks: pl.DataFrame) -> pl.DataFrame:
    """Numbers of each minute that has a trade.

    Args:
        ticks: as `ticks_of` gives them.

    Returns:
        Columns `TALLIES`, sorted by `timestamp` (UTC).
    """
    return _as_tallies([_counted(ticks, minute_edges(ticks))])


def _counted(ticks: pl.DataFrame, edges: MinuteEdges) -> dict[str, _Integers]:
    """The same as an array per column, `timestamp` in µs since 1970."""
    begins, near = edges
    if not begins.size:
        return {name: np.zeros(0, np.int64) for name in TALLIES}
    measures = {
        "trades": ticks["single_trades"].to_numpy(),
        "quantity": _units(ticks["quantity"].to_numpy()),
        "notional": _units(ticks["notional"].to_numpy()),
    }
    counted: dict[str, _Integers] = {
        "timestamp": ticks["minute"].to_numpy()[begins] * MINUTE_US,
        "rows": np.diff(begins, append=ticks.height),
        # Of whole units: the least that no trade has counts as none.
        "void": np.add.reduceat(measures["quantity"] == 0, begins, dtype=np.int64),
        "first_trade": np.minimum.reduceat(ticks["first_trade"].to_numpy(), begins),
        "last_trade": np.maximum.reduceat(ticks["last_trade"].to_numpy(), begins),
    }
    for name, values in measures.items():
        counted[name] = np.add.reduceat(values, begins)
        counted |= {f"{side}_{name}": edge.sums(values) for side, edge in near.items()}
    return counted


def _as_tallies(parts: Sequence[Mapping[str, _Integers]]) -> pl.DataFrame:
    """Columns `TALLIES`; a minute that is cut between two parts has two rows."""
    whole = {name: np.concatenate([part[name] for part in parts]) for name in TALLIES}
    return pl.DataFrame(whole).with_columns(pl.col("timestamp").cast(TALLIES["timestamp"]))


def _units(values: _Floats) -> _Integers:
    """Whole units; a value that no trade has is as large as they can be, which no kline agrees with."""
    with np.errstate(over="ignore"):
        units = values * UNITS
        np.rint(units, out=units)
    if not (units.min() >= -_MOST_UNITS and units.max() <= _MOST_UNITS):
        units = np.clip(np.where(np.isnan(units), _MOST_UNITS, units), -_MOST_UNITS, _MOST_UNITS)
    whole: _Integers = units.astype(np.int64)
    return whole


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


def tally_metadata(parts: Iterable[pl.DataFrame]) -> dict[str, str]:
    """Key-value metadata for a typed file whose parts were tallied."""
    buffer = io.BytesIO()
    joined(parts).write_ipc(buffer, compression="zstd")
    return {_KEY.decode(): base64.b64encode(buffer.getvalue()).decode()}


def tallies_of(path: Path, start: datetime, end: datetime) -> pl.DataFrame:
    """Tallies of a typed file from the minute before `start` to the one after `end`.

    Files that were typed before they had them are counted now.

    Raises:
        OSError, pyarrow.ArrowException, polars.exceptions.PolarsError: the file does not read.
    """
    stamp = path.stat()
    found = _tallies(path, stamp.st_size, stamp.st_mtime_ns)
    return found.filter(within("timestamp", start - MINUTE, end + MINUTE))


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
    _last: tuple[int, int] | None = None

    def see(self, frame: pl.DataFrame) -> None:
        """Take the next frame: wire columns of `agg_trades`, strictly increasing ids."""
        if not frame.height:
            return
        ids, times = frame["agg_trade_id"], frame["transact_time"].to_physical()
        if self._last is not None:
            self._step(self._last, (int(ids[0]), int(times[0])))
        self._last = int(ids[-1]), int(times[-1])
        if ids[-1] - ids[0] == frame.height - 1:
            return  # so many increasing ids leave none out
        for at in (ids.diff() > 1).fill_null(value=False).arg_true():
            self._step((int(ids[at - 1]), int(times[at - 1])), (int(ids[at]), int(times[at])))

    def _step(self, before: tuple[int, int], after: tuple[int, int]) -> None:
        lost = after[0] - before[0] - 1
        if lost:
            self.gaps.append((min(before[1], after[1]), max(before[1], after[1]), lost))

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
    return EPOCH + microseconds * _MICROSECOND


class TypedMinutes:
    """Makes `trade_minutes` and tallies of the frames of one file, strictly increasing in their ids."""

    def __init__(self) -> None:
        self._cut: MinuteCut | None = MinuteCut("transact_time")
        self._parts: list[pl.DataFrame] = []
        self._counted: list[Mapping[str, _Integers]] = []

    def see(self, frame: pl.DataFrame) -> None:
        """Take the next frame: wire columns of `agg_trades`."""
        if self._cut is None:
            self._count(ticks_of(frame, ids_increase=True))
            return
        try:
            self._take(self._cut.push(frame))
        except RowsOutOfOrder:  # by time; whoever reads the file sorts it
            self._take(self._cut.rest())
            self._count(ticks_of(frame, ids_increase=True))
            self._cut, self._parts = None, []

    def finished(self) -> tuple[pl.DataFrame | None, dict[str, str]]:
        """All minutes of the file, sorted by `timestamp`, None where its times are out of order; metadata for it."""
        if self._cut is None:
            return None, self._told()
        self._take(self._cut.rest())
        minutes = as_minutes(self._parts).sort("timestamp") if self._parts else pl.DataFrame(schema=TRADE_MINUTES)
        return minutes, self._told()

    def _take(self, whole: pl.DataFrame | None) -> None:
        if whole is None:
            return
        ticks = ticks_of(whole, ids_increase=True)
        self._parts.append(minute_sums(ticks, self._count(ticks)))

    def _count(self, ticks: pl.DataFrame) -> MinuteEdges:
        edges = minute_edges(ticks)
        self._counted.append(_counted(ticks, edges))
        return edges

    def _told(self) -> dict[str, str]:
        return tally_metadata([_as_tallies(self._counted)] if self._counted else [])


_kept = KeptFrames(_KEPT_FILES)


def keep_minutes(path: Path, minutes: pl.DataFrame) -> None:
    """Keep the minutes of a file that was just published, in place of those of the oldest one."""
    _kept.keep(path, minutes)


def minutes_kept(path: Path) -> pl.DataFrame | None:
    """Columns `TRADE_MINUTES` of a file that this process typed and nobody changed since, or None."""
    return _kept.get(path)
