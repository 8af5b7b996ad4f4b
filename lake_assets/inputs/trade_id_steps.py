"""aggTrades that an archive lacks: their ids are contiguous at Binance, so a step of more than one is a loss.

Belongs here: finding the steps while a file is typed, keeping them in its metadata, reading them back.
Does not belong here: what becomes of the minutes they touch (`transforms.lost_trades`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

_KEY = "lake.id_gaps"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


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
        return {_KEY: json.dumps(self.gaps)} if self.gaps else {}

    @classmethod
    def told_in(cls, metadata: Mapping[str, str]) -> str:
        """The summary of a typed file, from its metadata."""
        return cls([(a, b, count) for a, b, count in json.loads(metadata.get(_KEY, "[]"))]).summary()

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
        text = (pq.read_metadata(path).metadata or {}).get(_KEY.encode())
        found += [] if text is None else [(_at(start), _at(end)) for start, end, _ in json.loads(text)]
    return found


def _at(microseconds: int) -> datetime:
    return _EPOCH + microseconds * _MICROSECOND
