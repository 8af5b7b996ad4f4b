"""Which source each hour of a stream comes from, and reading its rows.

Belongs here: the order archive > captured before > REST now > none, repairs of archive gaps, look-back hours.
Does not belong here: downloading (`archives`), fetching (`captures`), what the rows mean (`transforms`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from lake_assets.inputs.missing import note_missing
from lake_assets.inputs.rest_answers import capture_hours, reachable
from lake_assets.inputs.trade_id_steps import read_gaps
from lake_assets.lake import Lake
from lake_assets.schema.stream_use import StreamUse
from lake_assets.windows import floor_minute
from lake_resources.clock import HOUR
from lake_resources.errors import StorageError
from lake_resources.storage.ledger.ledger import Archive, Capture
from lake_resources.storage.provenance import SourceRef

Report = Callable[[str], None]
_BATCH_ROWS = 65_536
_INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True)
class HourSource:
    """The source of one hour of one stream. `paths` are absolute, the preferred file first."""

    ref: SourceRef
    paths: tuple[Path, ...]


@dataclass(frozen=True)
class StreamSources:
    """Sources of one stream for a run of hours and the look-back before it; `absent` says why an hour has none."""

    use: StreamUse
    by_hour: Mapping[datetime, HourSource]
    absent: Mapping[datetime, str]

    def ref(self, hour: datetime) -> SourceRef:
        """Source of an hour."""
        return self.by_hour[hour].ref

    def covered(self, hour: datetime) -> bool:
        """Whether the hour has a source at all."""
        return self.by_hour[hour].ref.kind != "none"

    def look_back(self, hour: datetime) -> list[SourceRef]:
        """Sources of the hours before, the nearest first, as far as the stream looks back."""
        before = (hour - offset * HOUR for offset in range(1, self.use.look_back_hours + 1))
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
        stream = self.use.stream
        paths = self._paths(start, end)
        if not paths:
            return pl.DataFrame(schema=stream.columns)
        time = pl.col(stream.time_column)
        with _reading(paths):
            rows = pl.scan_parquet(paths).filter((time >= start) & (time < end)).select(list(stream.columns)).collect()
        if len(paths) > 1:
            rows = rows.unique(subset=stream.key, keep="first", maintain_order=True).sort(stream.key)
        return rows

    def batches(self, start: datetime, end: datetime) -> Iterator[pl.DataFrame]:
        """The same rows in pieces, for streams too large to hold: files in time order, a row group at a time."""
        stream = self.use.stream
        time = pl.col(stream.time_column)
        for path in self._paths(start, end):
            with _reading([path]), pq.ParquetFile(path) as file:
                column = file.schema_arrow.get_field_index(stream.time_column)
                for index in range(file.num_row_groups):
                    bounds = _bounds(file.metadata.row_group(index).column(column).statistics)
                    if bounds is not None and (bounds[0] >= end or bounds[1] < start):
                        continue
                    rows = pl.from_arrow(file.read_row_group(index, columns=list(stream.columns)))
                    assert isinstance(rows, pl.DataFrame)
                    rows = rows.cast(pl.Schema(stream.columns))
                    inside = bounds is not None and start <= bounds[0] and bounds[1] < end
                    if not inside:
                        rows = rows.filter((time >= start) & (time < end))
                    # Aggregating needs several times the memory of the rows it sees at once.
                    yield from rows.iter_slices(_BATCH_ROWS)

    def losses(self, hours: Sequence[datetime]) -> list[tuple[datetime, datetime]]:
        """Where the archives that these hours are read from lack aggTrades, cut at the edges of each hour."""
        found = []
        for path, own in self._archived(hours).items():
            with _reading([path]):
                gaps = read_gaps([path])
            found += [
                (max(start, hour), min(end, hour + HOUR - _INSTANT))
                for hour in own
                for start, end in gaps
                if start < hour + HOUR and end >= hour
            ]
        return found

    def _archived(self, hours: Sequence[datetime]) -> dict[Path, list[datetime]]:
        """The hours that come from an archive, by its file."""
        found: dict[Path, list[datetime]] = {}
        for hour in hours:
            if hour in self.by_hour and self.by_hour[hour].ref.kind == "archive":
                found.setdefault(self.by_hour[hour].paths[0], []).append(hour)
        return found

    def _paths(self, start: datetime, end: datetime) -> list[Path]:
        """Files of the hours in the window, each once: archives first, so that they win over captures."""
        hours = [hour for hour in sorted(self.by_hour) if start <= hour < end]
        preferred = [self.by_hour[hour].paths[:1] for hour in hours]
        repairs = [self.by_hour[hour].paths[1:] for hour in hours]
        return list(dict.fromkeys(path for group in (preferred, repairs) for paths in group for path in paths))


def find_sources(
    lake: Lake,
    symbol: str,
    use: StreamUse,
    hours: Sequence[datetime],
    now: datetime,
    report: Report,
    *,
    heard: Mapping[datetime, SourceRef] | None = None,
) -> StreamSources:
    """Choose a source for each hour and for the look-back hours before them, asking REST where that is the best.

    A stream that could have had a source and has none is recorded in the ledger as a missing source.

    Args:
        hours: starts of contiguous hours, in order.
        report: takes a line of progress or warning.
        heard: hours that the collector has whole; they are not asked for, and their rows are in no file.
    """
    heard = heard or {}
    wanted = [hours[0] - offset * HOUR for offset in range(use.look_back_hours, 0, -1)] + list(hours)
    start, end = wanted[0], wanted[-1] + HOUR
    archives = {
        row.period: row
        for row in lake.ledger.archives_between(symbol, use.name, start, end)
        if _on_disk(lake, row, report)
    }
    captures = {
        row.hour: row
        for row in lake.ledger.captures_between(symbol, use.name, start, end)
        if _on_disk(lake, row, report)
    }
    found = {
        hour: _from_archive(lake, archives[use.period(hour.date())])
        for hour in wanted
        if use.period(hour.date()) in archives
    }
    archived = StreamSources(use, found, {})
    gaps = _hours_with_gaps(archived) if use.stream.is_klines else []
    lossy = _hours_with_losses(archived)
    ask = [
        hour
        for hour in wanted
        if (hour not in found or hour in gaps or hour in lossy)
        and not (hour in captures and captures[hour].complete)
        and hour not in heard
        and reachable(lake, use, hour, now)
    ]
    asked = capture_hours(lake, symbol, use, ask, now, captures)
    for text in dict.fromkeys(asked.failures.values()):
        report(f"{symbol} {use.name}: REST gave nothing for {len(asked.failures)} of {len(ask)} hours: {text}")
    captures |= asked.kept
    repaired: dict[datetime, HourSource] = {}
    for hour in wanted:
        capture = captures.get(hour)
        if capture is None or not _suffices(lake, capture, now):
            continue
        if hour not in found:
            repaired[hour] = _from_capture(lake, capture)
        elif hour in gaps and _has_more(lake, archived, capture):
            repaired[hour] = _repaired(lake, found[hour], capture)
        elif hour in lossy and capture.complete:  # what REST gave is whole: ids are held to be contiguous
            repaired[hour] = _from_capture(lake, capture)
    nothing = HourSource(SourceRef(use.name, "none", "none"), ())
    live = {hour: HourSource(ref, ()) for hour, ref in heard.items()}
    whole = {hour: source for hour, source in found.items() if hour not in lossy}
    chosen = dict.fromkeys(wanted, nothing) | found | live | whole | repaired
    absent = {
        hour: asked.failures.get(hour) or _out_of_reach(lake, use) for hour in wanted if chosen[hour].ref.kind == "none"
    }
    if lake.ask_rest and use.stream.rest is not None:
        note_missing(
            lake,
            symbol,
            use.name,
            failures={hour: absent[hour] for hour in hours if hour in absent and hour in asked.failures},
            out_of_reach={hour: absent[hour] for hour in hours if hour in absent and hour not in asked.failures},
            found=[hour for hour in hours if hour not in absent],
            now=now,
        )
    return StreamSources(use, chosen, absent)


def _on_disk(lake: Lake, row: Archive | Capture, report: Report) -> bool:
    """Whether the file of a raw input is still there; a lost one counts as never fetched."""
    if lake.catalog.absolute(row.path).is_file():
        return True
    report(f"{row.symbol} {row.stream}: {row.path} is in the ledger but not on the disk; it will be fetched again")
    return False


def _suffices(lake: Lake, capture: Capture, now: datetime) -> bool:
    """Whether an answer holds all minutes that must exist now: then they had to exist when it was taken, too."""
    then, today = (
        min(max(floor_minute(at - timedelta(minutes=lake.safety_lag_minutes)), capture.hour), capture.hour + HOUR)
        for at in (capture.captured_at, now)
    )
    return capture.complete or then >= today


def _out_of_reach(lake: Lake, use: StreamUse) -> str:
    rest = "REST does not keep the hour" if lake.ask_rest else "REST is not asked (archives only)"
    return f"there is no archive of {use.name} (yet), and {rest}"


def _from_archive(lake: Lake, archive: Archive) -> HourSource:
    ref = SourceRef(archive.stream, "archive", archive.sha256)
    return HourSource(ref, (lake.catalog.absolute(archive.path),))


def _from_capture(lake: Lake, capture: Capture) -> HourSource:
    ref = SourceRef(capture.stream, "rest", capture.content_hash)
    return HourSource(ref, (lake.catalog.absolute(capture.path),))


def _has_more(lake: Lake, archived: StreamSources, capture: Capture) -> bool:
    """Whether REST has minutes of an hour that the archive lacks."""
    key = list(archived.use.stream.key)
    path = lake.catalog.absolute(capture.path)
    with _reading([path]):
        captured = pl.read_parquet(path, columns=key)
    rows = archived.frame(capture.hour, capture.hour + HOUR)
    return not captured.join(rows, on=key, how="anti").is_empty()


def _repaired(lake: Lake, archived: HourSource, capture: Capture) -> HourSource:
    ref = SourceRef(capture.stream, "archive+rest", f"{archived.ref.reference}+{capture.content_hash}")
    return HourSource(ref, (*archived.paths, lake.catalog.absolute(capture.path)))


def _hours_with_gaps(sources: StreamSources) -> list[datetime]:
    """Archived hours of a kline stream that lack minutes: REST may still have them."""
    if not sources.by_hour:
        return []
    start, end = min(sources.by_hour), max(sources.by_hour) + HOUR
    times = sources.frame(start, end).select(pl.col("open_time").dt.truncate("1h").alias("hour"))
    counts = dict(times.group_by("hour").len().iter_rows())
    return [hour for hour in sources.by_hour if counts.get(hour, 0) < sources.use.rows_per_hour]


def _hours_with_losses(sources: StreamSources) -> set[datetime]:
    """Archived hours that lack aggTrades: REST may have kept them, or the lake what it said."""
    try:
        losses = sources.losses(list(sources.by_hour))
    except StorageError:
        return set()  # a damaged file is told of when its rows are needed, which may be never
    return {start.replace(minute=0, second=0, microsecond=0) for start, _ in losses}


def _bounds(statistics: pq.Statistics | None) -> tuple[datetime, datetime] | None:
    """First and last time of a row group, where its writer noted them."""
    if statistics is None or not statistics.has_min_max:
        return None
    first, last = statistics.min, statistics.max
    assert isinstance(first, datetime)
    assert isinstance(last, datetime)
    return first, last


@contextmanager
def _reading(paths: Sequence[Path]) -> Iterator[None]:
    try:
        yield
    except (pl.exceptions.PolarsError, pa.ArrowException, OSError) as error:
        damaged = next((path for path in paths if not _readable(path)), paths[0])
        raise StorageError(
            f"raw file {damaged} does not read back: {error}",
            remedy="Check the disk, remove the file and materialize the partition again: it is fetched anew",
        ) from error


def _readable(path: Path) -> bool:
    try:
        pq.read_table(path)
    except (pa.ArrowException, OSError):
        return False
    return True
