"""Vision archives into the lake: one verified zip becomes one typed Parquet file and one ledger row.

Belongs here: deciding what to download, typing it in bounded memory, keeping both vintages of a re-publication.
Does not belong here: HTTP and CSV (`lake_resources.binance`), choosing an archive for an hour (`sources`).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from lake_assets.inputs.missing import BEYOND, DAMAGED_ROWS, OFF_GRID, asked_lately
from lake_assets.inputs.results import ArchiveResult
from lake_assets.inputs.trade_tallies import GapFinder, TypedMinutes, keep_minutes
from lake_assets.inputs.vintages import record_changes
from lake_assets.lake import Lake
from lake_assets.schema.stream_use import StreamUse
from lake_resources.binance.archives.archive_csv import read_frames
from lake_resources.binance.archives.metrics_csv import Metrics, read_metrics
from lake_resources.binance.archives.vision_client import VerifiedZip
from lake_resources.binance.stream import Stream
from lake_resources.binance.wire_columns import METRICS_COLUMNS
from lake_resources.binance.witness import Grid
from lake_resources.clock import DAY, HOUR
from lake_resources.errors import ArchiveCorrupt, ArchiveError, ArchiveNotPublished, ExchangeError, LakeError
from lake_resources.input_limits import DEFAULT_LIMITS, InputLimits
from lake_resources.storage.disk import disk_errors
from lake_resources.storage.ledger.ledger import Archive
from lake_resources.storage.parquet import StagedFile, StagingWriter

Wanted = tuple[Stream, str]
"""A stream and a period of it."""

_STALE_DOWNLOADS = timedelta(hours=6)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class TypedArchive:
    """One archive as a staged file.

    Attributes:
        file: the staged file.
        first, last: bounds of the stream's time column, None when there are no rows.
        defects: what of the published file is not in it, and why; empty for a sound one.
        minutes: `trade_minutes` of a file of aggTrades in order of time.
        off_grid: rows of a file of a grid that lie between its instants.
    """

    file: StagedFile
    first: datetime | None
    last: datetime | None
    off_grid: int
    defects: str = ""
    minutes: pl.DataFrame | None = None


def ingest_archives(lake: Lake, symbol: str, wanted: Sequence[Wanted]) -> Iterator[ArchiveResult]:
    """Bring archive files into the lake, in the order they arrive; each result is durable when it is yielded.

    What the ledger has with the published checksum is left alone. A file that is not published yields
    `not_published` and a missing-source event; every other failure of the file or of the server yields `failed` with
    its message, and a file whose rows cannot be read is kept in quarantine.

    Raises:
        StorageError: the lake's own disk or ledger failed.
        ValueError: a stream is of another market than the lake's table, under whose name its rows would be kept.
    """
    new: list[Wanted] = []
    market = lake.store.layout.market
    if others := sorted({stream.name for stream, _ in wanted if stream.market.name != market}):
        raise ValueError(f"{', '.join(others)} of another market than {market}")
    for stream, period in wanted:
        known = lake.ledger.archive(symbol, stream.name, period)
        if known is None or not lake.files.sizes([known.path]):
            new.append((stream, period))
            continue
        try:
            published = lake.vision.checksum(stream, symbol, period)
        except LakeError as error:
            yield _failure(lake, symbol, stream, period, error)
            continue
        if published == known.sha256:
            lake.ledger.resolve_missing(symbol, stream.name, period, "archive", at=lake.clock())
            yield _result(lake, known, "unchanged")
        else:
            new.append((stream, period))
    if not new:
        return
    requests = [(stream, symbol, period) for stream, period in new]
    with _downloads(lake) as folder:
        for (stream, _, period), found in lake.vision.download_many(requests, folder):
            if isinstance(found, LakeError):
                yield _failure(lake, symbol, stream, period, found)
                continue
            try:
                yield _store(lake, symbol, stream, period, found)
            except ArchiveCorrupt as error:
                yield _quarantined(lake, symbol, stream, period, found, error)
            found.path.unlink(missing_ok=True)


def due_archives(
    lake: Lake, symbol: str, uses: Mapping[str, StreamUse], hours: Sequence[datetime], now: datetime
) -> list[Wanted]:
    """Files that hours need, that should be published by now and that the lake does not have.

    A file that was looked for in vain a moment ago is left out.

    Args:
        hours: starts of hours, in order.
    """
    groups: list[list[Wanted]] = []
    for use in uses.values():
        start, end = hours[0] - use.look_back_hours * HOUR, hours[-1] + HOUR
        rows = lake.ledger.archives_between(symbol, use.name, start, end)
        there = lake.files.sizes([row.path for row in rows])
        held = {row.period for row in rows if row.path in there}
        days = [start.date() + index * DAY for index in range((hours[-1].date() - start.date()).days + 1)]
        due = dict.fromkeys(use.period(day) for day in days if use.archive_due(day, now))
        groups.append(
            [
                (use.stream, period)
                for period in due
                if period not in held and not asked_lately(lake, symbol, use.name, period, now)
            ]
        )
    return wanted_once(*groups)


def forget_untraded(lake: Lake, symbol: str) -> None:
    """Close the record of files that were looked for in vain, of periods in which the symbol is not traded at all."""
    listing = lake.ledger.listing(symbol)
    if listing is None:
        return
    for row in lake.ledger.missing_sources(symbol):
        if row.source == "archive" and listing.is_untraded(*_period_bounds(row.period)):
            lake.ledger.resolve_missing(symbol, row.stream, row.period, "archive", at=lake.clock())


@contextmanager
def _downloads(lake: Lake) -> Iterator[Path]:
    """A directory for zips under way; what a killed process left in an earlier one is removed."""
    parent = lake.catalog.root / ".downloads"
    with disk_errors(f"downloads to {parent}"):
        parent.mkdir(parents=True, exist_ok=True)
        # Threads may still be writing when a run ends early.
        folder = TemporaryDirectory(dir=parent, ignore_cleanup_errors=True)
    with folder as name:
        path = Path(name)
        now = path.stat().st_mtime
        for other in parent.iterdir():
            if now - other.stat().st_mtime > _STALE_DOWNLOADS.total_seconds():
                shutil.rmtree(other, ignore_errors=True)
        yield path


def _store(lake: Lake, symbol: str, stream: Stream, period: str, zip_file: VerifiedZip) -> ArchiveResult:
    before = lake.ledger.archive(symbol, stream.name, period)
    typed = type_archive(zip_file.path, stream, lake.catalog.temp_dir, _provenance(zip_file), lake.limits)
    defects = "; ".join(text for text in (typed.defects, _outside(zip_file, stream, period, typed)) if text)
    path = lake.catalog.archive_path(stream.name, symbol, period, zip_file.sha256)
    row = Archive(
        symbol=symbol,
        stream=stream.name,
        period=period,
        sha256=zip_file.sha256,
        url=zip_file.url,
        path=lake.catalog.relative(path),
        row_count=typed.file.row_count,
        min_ts=typed.first,
        max_ts=typed.last,
        content_hash=typed.file.content_hash,
        size_bytes=zip_file.size_bytes,
        checksum_verdict="verified",
        fetched_at=lake.clock(),
    )
    changed = before is not None and before.sha256 != zip_file.sha256
    try:
        uncompared = record_changes(lake, stream, before, row, typed.file) if before is not None and changed else ""
        lake.files.publish([(typed.file, row.path)])
        if typed.minutes is not None:
            keep_minutes(path, typed.minutes)
    finally:
        typed.file.discard()  # where it was not published: a full disk must not keep what it has no room for
    lake.ledger.record_archive(row)
    lake.ledger.resolve_missing(symbol, stream.name, period, at=lake.clock())
    if defects:
        lake.ledger.record_missing(symbol, stream.name, period, DAMAGED_ROWS, defects, at=lake.clock())
    message = "; ".join(text for text in (defects, uncompared) if text)
    return _result(lake, row, "republished" if changed else "ingested", message)


def _outside(zip_file: VerifiedZip, stream: Stream, period: str, typed: TypedArchive) -> str:
    """What to tell of rows that are not of the file's period: no hour reads them.

    Raises:
        ArchiveCorrupt: no row is of it; taken for an empty day, it would say that nothing happened.
    """
    if typed.first is None or typed.last is None:
        return ""
    start, end = _period_bounds(period)
    found = f"rows from {typed.first} to {typed.last}"
    # Until 2026-06-25 the last label of a day of metrics was the midnight after it, which the next day looks back to.
    if typed.last < start or typed.first > end or (typed.first == end and stream.columns != METRICS_COLUMNS):
        typed.file.discard()
        raise ArchiveCorrupt(str(zip_file.path), f"{found}, none of them of {period}")
    if typed.first < start or typed.last > end or (typed.last == end and stream.columns != METRICS_COLUMNS):
        return f"{found} {BEYOND} {period}; those outside are not used"
    return _off_grid(typed)


def _off_grid(typed: TypedArchive) -> str:
    """What to tell of a file of a grid of which most rows lie between its instants."""
    off, rows = typed.off_grid, typed.file.row_count
    return f"{off} of {rows} rows lie {OFF_GRID}" if 2 * off > rows else ""


def _period_bounds(period: str) -> tuple[datetime, datetime]:
    if len(period) == len("2026-11"):
        start = datetime.fromisoformat(f"{period}-01").replace(tzinfo=UTC)
        return start, (start + 32 * DAY).replace(day=1)
    start = datetime.fromisoformat(period).replace(tzinfo=UTC)
    return start, start + DAY


def type_archive(
    zip_path: Path,
    stream: Stream,
    temp_dir: Path,
    metadata: dict[str, str],
    limits: InputLimits = DEFAULT_LIMITS,
) -> TypedArchive:
    """Type one zip into a staged Parquet file, sorted by the stream's key, each key once, in bounded memory.

    Files out of order between two chunks (some are) are sorted first: correct, at the price of reading them twice.

    Raises:
        ArchiveCorrupt: the zip or its rows cannot be read, two rows share a key and differ, or there is more of
            anything than `limits` allow.
    """
    if stream.columns == METRICS_COLUMNS:
        return _type_metrics(read_metrics(zip_path, limits), stream, temp_dir, metadata)
    typed = _typed(read_frames(zip_path, stream, limits=limits), stream, temp_dir, metadata)
    if typed is None:
        # Only here: a process that stays need not hold the 25 MiB of the database that sorts over the disk.
        from lake_assets.inputs.spilled_order import frames_in_order

        typed = _typed(frames_in_order(zip_path, stream, temp_dir, limits), stream, temp_dir, metadata)
    if typed is None:
        raise ArchiveCorrupt(str(zip_path), f"different rows share a key ({', '.join(stream.key)})")
    return typed


def _typed(
    frames: Iterator[pl.DataFrame], stream: Stream, temp_dir: Path, metadata: dict[str, str]
) -> TypedArchive | None:
    """Frames as one staged file, or None where they are not in order."""
    gaps, minutes = GapFinder(), TypedMinutes()
    trades = stream.key == ("agg_trade_id",)
    if trades:
        frames = _watched(frames, gaps.see, minutes.see)
    with StagingWriter(temp_dir, stream.columns, metadata, bounded=[stream.time_column]) as writer:
        bounds = _write_in_order(writer, frames, stream)
        if bounds is None:
            return None
        if not trades:
            return TypedArchive(writer.finish(), *bounds)
        made, witness = minutes.finished()
        return TypedArchive(writer.finish(gaps.metadata() | witness), *bounds, gaps.summary(), made)


def _watched(frames: Iterator[pl.DataFrame], *see: Callable[[pl.DataFrame], None]) -> Iterator[pl.DataFrame]:
    """The frames as they are; each is looked at after it was found to be in order."""
    for frame in frames:
        yield frame
        for look in see:
            look(frame)


def _type_metrics(found: Metrics, stream: Stream, temp_dir: Path, metadata: dict[str, str]) -> TypedArchive:
    """The metrics of a day, with what was damaged of them named in the file and to the caller."""
    defects = found.summary()
    with StagingWriter(temp_dir, stream.columns, metadata | ({"lake.defects": defects} if defects else {})) as writer:
        bounds = _write_in_order(writer, iter([found.frame]), stream)
        assert bounds is not None, "read_metrics returns rows in order"
        return TypedArchive(writer.finish(), *bounds, defects)


def _write_in_order(
    writer: StagingWriter, frames: Iterator[pl.DataFrame], stream: Stream
) -> tuple[datetime | None, datetime | None, int] | None:
    """Write frames that are strictly increasing in their key; None as soon as one is not.

    Returns:
        The bounds of the time column, and how many rows of a grid lie between its instants.
    """
    last_key: tuple[object, ...] | None = None
    times: list[datetime] = []
    grid, off_grid = stream.witness if isinstance(stream.witness, Grid) else None, 0
    for frame in frames:
        if not frame.height:
            continue
        if not _strictly_increasing(frame, stream.key):
            return None
        first, last = (tuple(frame[name][at] for name in stream.key) for at in (0, -1))
        if last_key is not None and first <= last_key:
            return None
        last_key = last
        column = frame[stream.time_column]
        times += [time for time in (column.min(), column.max()) if isinstance(time, datetime)]
        if grid is not None:
            off_grid += int((column.to_physical() % (grid.step // _MICROSECOND) != 0).sum())
        writer.write(frame)
    return (min(times), max(times), off_grid) if times else (None, None, 0)


def _strictly_increasing(frame: pl.DataFrame, key: tuple[str, ...]) -> bool:
    if len(key) == 1:
        column = frame[key[0]]
        return bool((column.slice(1) > column.slice(0, column.len() - 1)).all())
    keys = frame.select(pl.struct(key).alias("key"))["key"]
    return keys.is_sorted() and keys.n_unique() == keys.len()


def _provenance(zip_file: VerifiedZip) -> dict[str, str]:
    return {"lake.source_url": zip_file.url, "lake.sha256": zip_file.sha256, "lake.checksum": "verified"}


def _result(lake: Lake, row: Archive, status: str, defects: str = "") -> ArchiveResult:
    return ArchiveResult(
        row.stream,
        row.symbol,
        row.period,
        status,  # type: ignore[arg-type]
        message=defects,
        path=lake.catalog.absolute(row.path),
        row_count=row.row_count,
        sha256=row.sha256,
        url=row.url,
    )


def _failure(lake: Lake, symbol: str, stream: Stream, period: str, error: LakeError) -> ArchiveResult:
    if not isinstance(error, ArchiveError | ExchangeError):
        raise error
    lake.ledger.record_missing(symbol, stream.name, period, "archive", str(error), at=lake.clock())
    url = lake.vision.url(stream, symbol, period)
    if isinstance(error, ArchiveNotPublished):
        return ArchiveResult(stream.name, symbol, period, "not_published", message=str(error), url=url)
    return ArchiveResult(stream.name, symbol, period, "failed", message=str(error), url=url)


def _quarantined(
    lake: Lake, symbol: str, stream: Stream, period: str, zip_file: VerifiedZip, error: ArchiveCorrupt
) -> ArchiveResult:
    folder = lake.catalog.quarantine_dir / "archives" / stream.name
    kept = folder / f"{zip_file.sha256[:12]}-{stream.file_name(symbol, period)}"
    with disk_errors(f"quarantine of {zip_file.url}"):
        folder.mkdir(parents=True, exist_ok=True)
        zip_file.path.replace(kept)
    # The reader knows only the path of the download, which is gone by the time the message is read.
    found = error.what.removeprefix(f"{error.url}: ")
    remedy = f"The file was kept in quarantine as {kept}; materialize it again after Binance re-publishes it"
    return _failure(lake, symbol, stream, period, ArchiveCorrupt(zip_file.url, found, remedy=remedy))


def wanted_once(*groups: Sequence[Wanted]) -> list[Wanted]:
    """The given files, each once, in order."""
    return list({(stream.name, period): (stream, period) for stream, period in chain(*groups)}.values())
