"""Sources of one stream for a run of hours, and reading its rows from them.

Belongs here: what is known of an hour's source, its rows from one file or several, naming a raw file that does not
read. Does not belong here: which source an hour has (`sources`, `trade_sources`), what the rows mean (`transforms`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from lake_assets.inputs.disputes import on_stamps_of
from lake_assets.schema.stream_use import StreamUse
from lake_assets.source import HourSource
from lake_assets.validation.hour_verdict import VerdictKind
from lake_assets.validation.parity import StreamParity
from lake_resources.binance.stream import Stream
from lake_resources.clock import HOUR, MINUTE
from lake_resources.errors import StorageError
from lake_resources.spans import rows_within, within
from lake_resources.storage.parquet import KeptFrames, stamp_of
from lake_resources.storage.provenance import SourceRef

_BATCH_ROWS = 65_536
_SMALL_BYTES, _SMALL_FILES = 1 << 16, 1_024
"""Files of an hour are so small; those read or written last stay in memory, of some kB each."""


Span = tuple[datetime, datetime]
"""Minutes from the first to the one after the last, UTC."""


@dataclass(frozen=True)
class Take:
    """What an hour that is put together from several sources takes from one of them.

    Attributes:
        kind: `archive`, `rest` or `ws`.
        path: its file; None for what the collector heard, whose features are no file's.
        minutes: starts of the minutes that are taken from it.
    """

    kind: str
    path: Path | None
    minutes: tuple[datetime, ...]


@dataclass(frozen=True)
class Doubt:
    """What speaks against a source of one hour.

    Attributes:
        kind: what it makes of the hour; `provisional` where all that is doubted was taken from another source.
        text: stream, minutes and both values, in words.
    """

    kind: VerdictKind
    text: str


@dataclass(frozen=True)
class StreamSources:
    """Sources of one stream for a run of hours and the look-back before it.

    Attributes:
        use: the stream as the table uses it.
        by_hour: the source of each hour.
        absent: why an hour has none.
        takes: hours that are put together from several sources, the best first; others are read from one.
        lost: minutes of an hour that no source proves; they are NULL.
        doubts: what speaks against a source of an hour.
        parities: the archive against what REST said, for each hour of which the lake has both.
        disputes: of these the hours in which both have a row with different values, and the answer.
        instead: rows of an hour that are not taken from its files but from another one.
        read: rows that were read to judge them, by files, with the window; whoever needs them next need not read.
        made: rows that are in no file, made of another stream; none of them has a row in a file.
    """

    use: StreamUse
    by_hour: Mapping[datetime, HourSource]
    absent: Mapping[datetime, str]
    takes: Mapping[datetime, tuple[Take, ...]] = field(default_factory=dict)
    lost: Mapping[datetime, tuple[Span, ...]] = field(default_factory=dict)
    doubts: Mapping[datetime, tuple[Doubt, ...]] = field(default_factory=dict)
    parities: Mapping[datetime, StreamParity] = field(default_factory=dict)
    disputes: Mapping[datetime, tuple[HourSource, StreamParity]] = field(default_factory=dict)
    instead: Mapping[datetime, Take] = field(default_factory=dict)
    read: dict[tuple[Path, ...], tuple[datetime, datetime, pl.DataFrame]] = field(
        default_factory=dict, repr=False, compare=False
    )
    made: pl.DataFrame | None = None

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
        rows = self._filed(start, end)
        for hour in sorted(self.instead):
            if start < hour + HOUR and hour < end:
                rows = self._with_others(rows, self.instead[hour], start, end)
        if self.made is not None:
            time = pl.col(self.use.stream.time_column)
            made = self.made.filter(within(time, start, end))
            rows = pl.concat([rows, made]).sort(self.use.stream.key)
        return rows

    def reaching(self, start: datetime, end: datetime) -> pl.DataFrame:
        """The same rows, and those before `start` that may reach into the window."""
        return self.frame(start - self.use.look_back_hours * HOUR, end)

    def batches(self, start: datetime, end: datetime) -> Iterator[pl.DataFrame]:
        """The same rows in pieces, for streams too large to hold: files in time order, a row group at a time."""
        stream = self.use.stream
        time = pl.col(stream.time_column)
        for path in self.paths(start, end):
            with reading_raw([path]), pq.ParquetFile(path) as file:
                column = file.schema_arrow.get_field_index(stream.time_column)
                for index in range(file.num_row_groups):
                    bounds = row_group_bounds(file.metadata.row_group(index).column(column).statistics)
                    if bounds is not None and (bounds[0] >= end or bounds[1] < start):
                        continue
                    rows = pl.from_arrow(file.read_row_group(index, columns=list(stream.columns)))
                    assert isinstance(rows, pl.DataFrame)
                    rows = rows.cast(pl.Schema(stream.columns))
                    inside = bounds is not None and start <= bounds[0] and bounds[1] < end
                    if not inside:
                        rows = rows.filter(within(time, start, end))
                    # Aggregating needs several times the memory of the rows it sees at once.
                    yield from rows.iter_slices(_BATCH_ROWS)

    def kept(self, start: datetime, end: datetime) -> None:
        """Read the rows of a window, so that they are there for whoever asks for a part of it."""
        paths = tuple(self.paths(start, end))
        if paths and paths not in self.read:
            self.read[paths] = start, end, self._filed(start, end)

    def _filed(self, start: datetime, end: datetime) -> pl.DataFrame:
        stream = self.use.stream
        paths = tuple(self.paths(start, end))
        if not paths:
            return pl.DataFrame(schema=stream.columns)
        if paths in self.read:
            first, last, known = self.read[paths]
            if first <= start and end <= last:
                return rows_within(known, stream.time_column, start, end)
        time = pl.col(stream.time_column)
        with reading_raw(paths):
            rows = small_rows(paths, stream, start, end)
            if rows is None:
                files = pl.scan_parquet(list(paths), glob=False)
                rows = files.filter(within(time, start, end)).select(list(stream.columns)).collect()
        if len(paths) > 1 and not _in_order(rows, stream.key):
            rows = _once(rows, stream)
        return rows

    def _with_others(self, rows: pl.DataFrame, take: Take, start: datetime, end: datetime) -> pl.DataFrame:
        stream, time = self.use.stream, pl.col(self.use.stream.time_column)
        assert take.path is not None
        taken = time.is_in(pl.Series(take.minutes, dtype=rows.schema[stream.time_column]).implode())
        others = on_stamps_of(stream, rows, read_raw(take.path, stream, start, end)).filter(taken)
        return pl.concat([rows.join(others, on=stream.key, how="anti"), others]).sort(stream.key)

    def losses(self, hours: Sequence[datetime]) -> list[Span]:
        """Minutes of these hours that no source proves, as half-open spans."""
        return [span for hour in hours for span in self.lost.get(hour, ())]

    def lost_minutes(self, hour: datetime) -> list[datetime]:
        """Starts of the minutes of an hour that no source proves."""
        return [first + n * MINUTE for first, end in self.lost.get(hour, ()) for n in range((end - first) // MINUTE)]

    def paths(self, start: datetime, end: datetime) -> list[Path]:
        """Files of the hours in the window, each once: archives first, so that they win over captures."""
        hours = [hour for hour in sorted(self.by_hour) if start <= hour < end]
        preferred = [self.by_hour[hour].paths[:1] for hour in hours]
        repairs = [self.by_hour[hour].paths[1:] for hour in hours]
        return list(dict.fromkeys(path for group in (preferred, repairs) for paths in group for path in paths))


def _once(rows: pl.DataFrame, stream: Stream) -> pl.DataFrame:
    """Rows of several files with each key once: of each value the first that is told."""
    values = [name for name in rows.columns if name not in stream.key]
    if any(rows.select(values).null_count().row(0)):
        return rows.group_by(stream.key).agg(pl.col(values).drop_nulls().first()).sort(stream.key)
    return rows.unique(subset=stream.key, keep="first", maintain_order=True).sort(stream.key)


def read_raw(path: Path, stream: Stream, start: datetime, end: datetime) -> pl.DataFrame:
    """Rows in `[start, end)` of one raw file, as the stream's wire columns.

    Raises:
        StorageError: the file does not read.
    """
    time = pl.col(stream.time_column)
    with reading_raw([path]):
        small = small_rows([path], stream, start, end)
        if small is not None:
            return small
        rows = pl.scan_parquet(path, glob=False).filter(within(time, start, end))
        return rows.select(list(stream.columns)).collect()


_small = KeptFrames(_SMALL_FILES)


def keep_small(path: Path, stream: Stream, rows: pl.DataFrame, *, instead_of: Sequence[Path] = ()) -> None:
    """Keep the rows of a raw file that was just published, where it is small: the next to want them needs not read.

    Args:
        path: of the file.
        stream: whose wire columns the rows have.
        rows: what it holds.
        instead_of: files that nobody will want again, because it says the same or more.
    """
    for old in instead_of:
        _small.forget(old)
    if rows.columns == list(stream.columns) and path.stat().st_size <= _SMALL_BYTES:
        _small.keep(path, rows.rechunk())


def small_rows(paths: Sequence[Path], stream: Stream, start: datetime, end: datetime) -> pl.DataFrame | None:
    """Rows in `[start, end)` of small raw files, one after the other, as the stream's wire columns.

    Returns:
        None where a file is not small: whoever reads it reads no more of it than needed.

    Raises:
        OSError, polars.exceptions.PolarsError: a file does not read.
    """
    if any(path.stat().st_size > _SMALL_BYTES for path in paths):
        return None
    found = []
    for path in paths:
        rows = _small.get(path)
        if rows is None:
            stamp = stamp_of(path)
            rows = pl.read_parquet(path, glob=False).select(list(stream.columns))
            _small.keep(path, rows, stamp)
        found.append(rows_within(rows, stream.time_column, start, end))
    return found[0] if len(found) == 1 else pl.concat(found, rechunk=True)


def _in_order(rows: pl.DataFrame, key: Sequence[str]) -> bool:
    """Whether rows with a key of one column are sorted by it, each once."""
    if len(key) != 1:
        return False
    keys = rows.get_column(key[0])
    return not keys.null_count() and keys.is_sorted() and bool(keys.is_unique().all())


@contextmanager
def reading_raw(paths: Sequence[Path]) -> Iterator[None]:
    """Name the raw file that does not read.

    Raises:
        StorageError: one of them does not.
    """
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


def row_group_bounds(statistics: pq.Statistics | None) -> tuple[datetime, datetime] | None:
    """First and last time of a row group, where its writer noted them."""
    if statistics is None or not statistics.has_min_max:
        return None
    first, last = statistics.min, statistics.max
    assert isinstance(first, datetime)
    assert isinstance(last, datetime)
    return first, last
