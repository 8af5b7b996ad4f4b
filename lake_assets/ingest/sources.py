"""Which source each hour of a stream comes from, and reading its rows.

Belongs here: the order archive > captured before > REST now > none, repairs of archive gaps, look-back hours.
Does not belong here: downloading (`archives`), fetching (`captures`), what the rows mean (`transforms`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from lake_assets.ingest.captures import capture_hours, reachable
from lake_assets.ingest.lake import Lake
from lake_assets.ingest.streams import HOUR, MINUTES_PER_HOUR, Feed
from lake_resources.binance.wire import KLINE_STREAMS
from lake_resources.errors import ExchangeError
from lake_resources.storage.ledger import Archive, Capture
from lake_resources.storage.provenance import SourceRef

Report = Callable[[str], None]


@dataclass(frozen=True)
class HourSource:
    """The source of one hour of one stream. `paths` are absolute, the preferred file first."""

    ref: SourceRef
    paths: tuple[Path, ...]


@dataclass(frozen=True)
class StreamSources:
    """Sources of one stream for a run of hours and the look-back before it."""

    feed: Feed
    by_hour: Mapping[datetime, HourSource]

    def ref(self, hour: datetime) -> SourceRef:
        """Source of an hour."""
        return self.by_hour[hour].ref

    def covered(self, hour: datetime) -> bool:
        """Whether the hour has a source at all."""
        return self.by_hour[hour].ref.kind != "none"

    def look_back(self, hour: datetime) -> list[SourceRef]:
        """Sources of the hours before, the nearest first, as far as the stream looks back."""
        before = (hour - offset * HOUR for offset in range(1, self.feed.look_back_hours + 1))
        return [self.by_hour[earlier].ref for earlier in before if earlier in self.by_hour]

    def ref_with_look_back(self, hour: datetime) -> SourceRef:
        """Source of an hour, with a digest of the sources that reach into it from before."""
        ref = self.ref(hour)
        earlier = self.look_back(hour)
        if not earlier:
            return ref
        digest = hashlib.sha256("\n".join(f"{r.kind} {r.reference}" for r in earlier).encode()).hexdigest()[:16]
        return SourceRef(ref.stream, ref.kind, ref.reference, {"look_back_hours": len(earlier), "look_back": digest})

    def frame(self, start: datetime, end: datetime) -> pl.DataFrame:
        """Rows in `[start, end)` as the stream's wire columns, sorted by its key, each key once."""
        stream = self.feed.stream
        paths = self._paths(start, end)
        if not paths:
            return pl.DataFrame(schema=stream.columns)
        time = pl.col(stream.time_column)
        rows = pl.scan_parquet(paths).filter((time >= start) & (time < end)).select(list(stream.columns)).collect()
        if len(paths) > 1:
            rows = rows.unique(subset=stream.key, keep="first", maintain_order=True).sort(stream.key)
        return rows

    def batches(self, start: datetime, end: datetime) -> Iterator[pl.DataFrame]:
        """The same rows in pieces, for streams too large to hold: one row group at a time, files in time order."""
        stream = self.feed.stream
        time = pl.col(stream.time_column)
        for path in self._paths(start, end):
            with pq.ParquetFile(path) as file:
                column = file.schema_arrow.get_field_index(stream.time_column)
                for index in range(file.num_row_groups):
                    bounds = file.metadata.row_group(index).column(column).statistics
                    if bounds is not None and bounds.has_min_max and (bounds.max < start or bounds.min >= end):
                        continue
                    rows = pl.from_arrow(file.read_row_group(index, columns=list(stream.columns)))
                    assert isinstance(rows, pl.DataFrame)
                    yield rows.cast(pl.Schema(stream.columns)).filter((time >= start) & (time < end))

    def _paths(self, start: datetime, end: datetime) -> list[Path]:
        """Files of the hours in the window, each once: archives first, so that they win over captures."""
        hours = [hour for hour in sorted(self.by_hour) if start <= hour < end]
        preferred = [self.by_hour[hour].paths[:1] for hour in hours]
        repairs = [self.by_hour[hour].paths[1:] for hour in hours]
        return list(dict.fromkeys(path for group in (preferred, repairs) for paths in group for path in paths))


def find_sources(
    lake: Lake, symbol: str, feed: Feed, hours: Sequence[datetime], now: datetime, report: Report
) -> StreamSources:
    """Choose a source for each hour and for the look-back hours before them, asking REST where that is the best.

    A stream that could have had a source and has none is recorded in the ledger as a missing source.

    Args:
        hours: starts of contiguous hours, in order.
        report: takes a line of progress or warning.
    """
    wanted = [hours[0] - offset * HOUR for offset in range(feed.look_back_hours, 0, -1)] + list(hours)
    start, end = wanted[0], wanted[-1] + HOUR
    archives = {row.period: row for row in lake.ledger.archives_between(symbol, feed.name, start, end)}
    captures = {row.hour: row for row in lake.ledger.captures_between(symbol, feed.name, start, end)}
    found: dict[datetime, HourSource] = {}
    gaps: list[datetime] = []
    for hour in wanted:
        archive = archives.get(feed.period(hour.date()))
        if archive is not None:
            found[hour] = _from_archive(lake, archive)
    if feed.name in KLINE_STREAMS:
        gaps = _hours_with_gaps(StreamSources(feed, found))
    ask = [
        hour
        for hour in wanted
        if (hour not in found or hour in gaps)
        and not (hour in captures and captures[hour].complete)
        and reachable(lake, feed, hour, now)
    ]
    failure = ""
    try:
        captures |= {row.hour: row for row in capture_hours(lake, symbol, feed, ask, now)}
        failed: set[datetime] = set()
    except ExchangeError as error:
        failure, failed = str(error), set(ask)
        report(f"{symbol} {feed.name}: REST failed, {len(ask)} hours go without it: {error}")
        captures |= {
            row.hour: row
            for row in lake.ledger.captures_between(symbol, feed.name, start, end)
            if row.captured_at == now
        }
    for hour in wanted:
        capture = captures.get(hour)
        usable = capture is not None and (hour not in failed or capture.complete or capture.captured_at == now)
        if hour in found:
            if hour in gaps and usable and capture is not None:
                found[hour] = _repaired(lake, found[hour], capture)
        elif usable and capture is not None:
            found[hour] = _from_capture(lake, capture)
        else:
            found[hour] = HourSource(SourceRef(feed.name, "none", "none"), ())
            if hour >= hours[0]:
                _note_missing(lake, symbol, feed, hour, failure if hour in failed else "", now)
    return StreamSources(feed, found)


def _from_archive(lake: Lake, archive: Archive) -> HourSource:
    ref = SourceRef(archive.stream, "archive", archive.sha256)
    return HourSource(ref, (lake.catalog.absolute(archive.path),))


def _from_capture(lake: Lake, capture: Capture) -> HourSource:
    ref = SourceRef(capture.stream, "rest", capture.content_hash)
    return HourSource(ref, (lake.catalog.absolute(capture.path),))


def _repaired(lake: Lake, archived: HourSource, capture: Capture) -> HourSource:
    path = lake.catalog.absolute(capture.path)
    if not capture.row_count:
        return archived
    ref = SourceRef(capture.stream, "archive+rest", f"{archived.ref.reference}+{capture.content_hash}")
    return HourSource(ref, (*archived.paths, path))


def _hours_with_gaps(sources: StreamSources) -> list[datetime]:
    """Archived hours of a kline stream that lack minutes: REST may still have them."""
    if not sources.by_hour:
        return []
    start, end = min(sources.by_hour), max(sources.by_hour) + HOUR
    times = sources.frame(start, end).select(pl.col("open_time").dt.truncate("1h").alias("hour"))
    counts = dict(times.group_by("hour").len().iter_rows())
    return [hour for hour in sources.by_hour if counts.get(hour, 0) < MINUTES_PER_HOUR]


def _note_missing(lake: Lake, symbol: str, feed: Feed, hour: datetime, failure: str, now: datetime) -> None:
    if failure:
        lake.ledger.record_missing(symbol, feed.name, f"{hour:%Y-%m-%dT%H}", "rest", failure, at=now)
    elif lake.rest.serves(feed.name) and hour < now:
        age_h = (now - hour) / timedelta(hours=1)
        reason = f"no archive, and REST does not reach back {age_h:.0f} hours"
        lake.ledger.record_missing(symbol, feed.name, f"{hour:%Y-%m-%dT%H}", "rest", reason, at=now)
