"""What storage and ledger must know of a table: its place, its grain, and how its rows are cut into partitions.

Belongs here: the `TableLayout` record and arithmetic on partitions. Does not belong here: any column but the one of the
time, any table (the declarations in `lake_assets.tables` carry their layouts), reading or writing files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

Span = Literal["hour", "day"]
Tier = Literal["day", "month"]
FileForm = Literal["small", "quick"]
"""What files of a table are made for: to be small (zstd), or to be read quickly (not compressed, but with what repeats
and what grows written short: about as small as lz4 makes them)."""

FIRST_TABLE, FIRST_MARKET = "um_minute", "um"
"""The table and the market of a lake from before it could have several. What carried no name then is theirs: rows of a
ledger of version 1, locks, quarantine. These places are what other programs know, so they stay as they are."""

_SPANS: dict[Span, timedelta] = {"hour": timedelta(hours=1), "day": timedelta(days=1)}


@dataclass(frozen=True)
class TableLayout:
    """A table as storage sees it.

    Attributes:
        name: key of the table in the ledger, e.g. `um_minute`.
        title: how messages name it, e.g. `minute table`.
        market: name of the market whose streams it is built from, e.g. `um`; raw inputs are kept by market.
        market_directory: directory of the market below the lake's root and in the archives, e.g. `futures/um`.
        directory: directory of the table below that of the market, e.g. `minute`.
        grain: length of a row.
        span: length of a partition; partitions begin at whole UTC hours or days.
        row_stream: the stream whose rows are the rows of the table: a better source of it may rightly have fewer.
        tiers: files of many partitions that compaction makes, the shorter first.
        time_column: start of a row, `timestamp[us, UTC]`; rows are sorted by it.
    """

    name: str
    title: str
    market: str
    market_directory: str
    directory: str
    grain: timedelta
    span: Span
    row_stream: str
    tiers: tuple[Tier, ...]
    time_column: str = "timestamp"

    @property
    def step(self) -> timedelta:
        """Length of a partition."""
        return _SPANS[self.span]

    @property
    def form(self) -> FileForm:
        """What its files are made for.

        Most of the time that reading rows of a second takes is that of the decompression; without it a day is read in a
        third of the time, and files are half as large again. Of minutes it is little.
        """
        return "quick" if self.grain < timedelta(minutes=1) else "small"

    @property
    def every(self) -> str:
        """Length of a partition as polars writes durations: `1h` or `1d`."""
        return "1h" if self.span == "hour" else "1d"

    @property
    def rows_per_partition(self) -> int:
        """Rows of a whole partition."""
        return self.step // self.grain

    def start_of(self, instant: datetime) -> datetime:
        """Start of the partition that holds `instant`, UTC.

        Raises:
            ValueError: the instant carries no time zone.
        """
        if instant.tzinfo is None:
            raise ValueError(f"{instant!r} has no time zone; every instant of the lake is timezone-aware UTC")
        start = instant.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        return start.replace(hour=0) if self.span == "day" else start

    def end_of(self, instant: datetime) -> datetime:
        """End of the last partition that begins before `instant`, UTC.

        Raises:
            ValueError: the instant carries no time zone.
        """
        start = self.start_of(instant)
        return start if start == instant else start + self.step

    def row_start(self, instant: datetime) -> datetime:
        """Start of the row that holds `instant`, UTC."""
        start = self.start_of(instant)
        return start + (instant - start) // self.grain * self.grain

    def whole(self, start: datetime) -> datetime:
        """`start` in UTC, checked to be the start of a partition.

        Raises:
            ValueError: it is not.
        """
        found = self.start_of(start)
        if found != start:
            raise ValueError(f"{start.isoformat()} is not the start of a UTC {self.span}")
        return found

    def between(self, start: datetime, end: datetime) -> Iterator[datetime]:
        """Starts of the partitions that overlap `[start, end)`, in order."""
        at = self.start_of(start)
        while at < end:
            yield at
            at += self.step

    def text(self, start: datetime) -> str:
        """A partition as people and file names write it: `2026-11-19T05`, or `2026-11-19` where it is a day."""
        return f"{self.whole(start):%Y-%m-%d}" if self.span == "day" else f"{self.whole(start):%Y-%m-%dT%H}"

    def hive(self, start: datetime) -> str:
        """Hive directories of a partition, zero-padded: `year=2026/month=11/day=19/hour=05`."""
        day = f"{self.whole(start):year=%Y/month=%m/day=%d}"
        return day if self.span == "day" else f"{day}/hour={start.astimezone(UTC):%H}"
