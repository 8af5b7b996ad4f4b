"""Every missing minute of a range: which holes are explained, and which are not.

Belongs here: finding them in the committed minutes, and what is known about each. Does not belong here: excusing them
in a check (`validation.gate`), showing them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import polars as pl

from lake_assets.audit.scan import holes_known
from lake_assets.ingest.lake import Lake
from lake_assets.schema.holes import Hole
from lake_assets.schema.tables import MINUTE
from lake_assets.validation.completeness import completeness_pct
from lake_assets.validation.rules import KLINE_STREAM
from lake_assets.windows import expected_end
from lake_resources.errors import StorageError
from lake_resources.storage.catalog import HOUR, floor_hour
from lake_resources.storage.ledger import QuarantineEntry
from lake_resources.storage.reader import scan_minutes

_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class FoundHole:
    """Minutes `[start, end)` that the table lacks, or that a stream is known to lack.

    Attributes:
        stream: `klines_1m` for rows that are missing.
        explained: a known hole names these minutes.
        cause: of a known hole; else what the lake knows: why the hour is in quarantine, or nothing.
        reference: where the cause can be read.
    """

    symbol: str
    stream: str
    start: datetime
    end: datetime
    explained: bool
    cause: str
    reference: str

    @property
    def minutes(self) -> int:
        """How long it is."""
        return (self.end - self.start) // _MINUTE

    def as_json(self) -> dict[str, Any]:
        """JSON values."""
        times = {"start": self.start.isoformat(), "end": self.end.isoformat(), "minutes": self.minutes}
        return {**vars(self), **times}


@dataclass(frozen=True)
class HoleList:
    """Holes of `[start, end)` of one symbol, in order, and how complete the range is."""

    symbol: str
    start: datetime
    end: datetime
    expected: int
    present: int
    holes: tuple[FoundHole, ...]

    @property
    def unexplained(self) -> list[FoundHole]:
        """Those that nothing explains."""
        return [hole for hole in self.holes if not hole.explained]

    def as_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "symbol": self.symbol,
            "start": self.start.isoformat(),
            "end": self.end.isoformat(),
            "expected_minutes": self.expected,
            "present_minutes": self.present,
            "completeness_pct": completeness_pct(self.present, self.expected),
            "unexplained": len(self.unexplained),
            "holes": [hole.as_json() for hole in self.holes],
        }


def find_holes(lake: Lake, symbol: str, start: datetime, end: datetime, now: datetime) -> HoleList:
    """The holes of the minute table in those minutes of `[start, end)` that must exist by now.

    Raises:
        StorageError: a committed file does not read.
    """
    end = max(start, min(end, expected_end(floor_hour(now), now, lake.safety_lag_minutes)))
    try:
        rows = scan_minutes(
            lake.catalog, lake.ledger, symbol, start, end, ["timestamp"], schema=MINUTE.polars_schema
        ).collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise StorageError(
            f"minute table of {symbol}: a committed file does not read: {error}",
            remedy="`lake audit` names the hour, `lake backfill-range` repairs it",
        ) from error
    present = rows["timestamp"].unique()
    known = holes_known(lake.ledger, symbol, start, end)
    quarantine = {entry.hour: entry for entry in lake.ledger.quarantined(symbol, floor_hour(start), end)}
    missing = _missing(present, start, end)
    found = [hole for span in missing for hole in _explained(symbol, *span, known, quarantine)]
    found += [
        FoundHole(symbol, hole.stream, max(hole.start, start), min(hole.end, end), True, hole.cause, hole.reference)
        for hole in known
        if hole.stream != KLINE_STREAM
    ]
    expected = (end - start) // _MINUTE
    ordered = sorted(found, key=lambda hole: (hole.start, hole.stream))
    return HoleList(symbol, start, end, expected, min(present.len(), expected), tuple(ordered))


def _missing(present: pl.Series, start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Runs of minutes of `[start, end)` that are not present."""
    grid = pl.DataFrame({"timestamp": pl.datetime_range(start, end, "1m", closed="left", eager=True)})
    absent = grid.with_row_index().join(present.to_frame(), on="timestamp", how="anti", maintain_order="left")
    runs = (
        absent.with_columns(run=pl.col("index").cast(pl.Int64) - pl.int_range(pl.len()))
        .group_by("run", maintain_order=True)
        .agg(pl.col("timestamp").first().alias("first"), pl.col("timestamp").last().alias("last"))
    )
    for first, last in runs.select("first", "last").iter_rows():
        yield first, last + _MINUTE


def _explained(
    symbol: str, start: datetime, end: datetime, known: Sequence[Hole], quarantine: dict[datetime, QuarantineEntry]
) -> Iterator[FoundHole]:
    """A run of missing minutes, cut at the edges of known holes and, where nothing is known, at those of quarantine."""
    edges = {start, end}
    for hole in known:
        if hole.stream == KLINE_STREAM:
            edges |= {edge for edge in (hole.start, hole.end) if start < edge < end}
    for hour in quarantine:
        edges |= {edge for edge in (hour, hour + HOUR) if start < edge < end}
    for first, last in pairwise(sorted(edges)):
        excuse = next((h for h in known if h.stream == KLINE_STREAM and h.start <= first and last <= h.end), None)
        if excuse is not None:
            yield FoundHole(symbol, KLINE_STREAM, first, last, True, excuse.cause, excuse.reference)
            continue
        entry = quarantine.get(floor_hour(first))
        cause = "" if entry is None else f"in quarantine: {entry.detail}"
        yield FoundHole(symbol, KLINE_STREAM, first, last, False, cause, "")
