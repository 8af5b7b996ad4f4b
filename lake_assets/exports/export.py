"""Rows of a table as files for others: Parquet or CSV, each with its certificate beside it.

Belongs here: reading a window in bounded memory, rolling it up, writing both files whole or not at all.
Does not belong here: the certificate (`certificate`), roll-up rules (`transforms.rollup`).
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, Literal
from uuid import uuid4

import polars as pl
import pyarrow as pa

from lake_assets.at_rest import TableStore
from lake_assets.live.live_tail import PROVISIONAL, Listening, LiveTail, live_tail
from lake_assets.quality.certificate import (
    Certificate,
    Require,
    certify,
    data_version,
    require_clean,
    with_live,
)
from lake_assets.schema.table import Table
from lake_assets.transforms.rollup import (
    COMPLETE,
    TIMEFRAMES,
    Incomplete,
    Timeframe,
    count_column,
    is_grain,
    needed_columns,
    rolled_columns,
    rollup,
)
from lake_resources.clock import DAY, MINUTE
from lake_resources.errors import SettingsError, StorageError
from lake_resources.spans import within
from lake_resources.storage.catalog import utc
from lake_resources.storage.disk import disk_errors, fsync_file
from lake_resources.storage.hashing import file_hash
from lake_resources.storage.parquet import StagedFile, StagingWriter, publish_told
from lake_resources.storage.reader import reading, scan

Format = Literal["parquet", "csv", "arrow"]
_CSV_TIME = "%Y-%m-%dT%H:%M:%SZ"
_CHUNK = timedelta(days=31)


@dataclass(frozen=True)
class ExportRequest:
    """What is wanted of each symbol.

    Attributes:
        start, end: window of whole rows, half-open; in any zone, kept in UTC.
        timeframe: length of a row.
        columns: columns of the table, default all (of longer bars: all that can be derived).
        incomplete: bars that lack a row are marked, or left out.
        require: `clean` refuses a window with unexplained holes or lost columns.
        live: how closed rows that are not committed yet are looked for in the collector's records; None takes committed
            ones only. With it each row says in `provisional` whether it may still change.

    Raises:
        ValueError: a time has no zone.
    """

    start: datetime
    end: datetime
    timeframe: Timeframe = "1m"
    columns: tuple[str, ...] | None = None
    incomplete: Incomplete = "mark"
    require: Require = "any"
    live: Listening | None = None

    def __post_init__(self) -> None:
        # Months and days of another zone would cut bars in two and name the file by that zone's clock.
        object.__setattr__(self, "start", utc(self.start))
        object.__setattr__(self, "end", utc(self.end))

    def named(self, table: Table) -> tuple[str, ...] | None:
        """Columns of the table that the rows are made of, where columns are asked for by name."""
        if self.columns is None:
            return None
        chosen = self.chosen(table)
        return chosen if is_grain(table, self.timeframe) else needed_columns(table, chosen)

    def stem(self, table: Table, symbol: str) -> str:
        """Name of the file without its ending: requests for other rows or columns have another one."""
        form = "%Y%m%dT%H%M" if table.layout.grain % MINUTE == timedelta(0) else "%Y%m%dT%H%M%S"
        marks = (table.export_mark,) if table.export_mark else ()
        parts = [symbol, *marks, self.timeframe, self.start.strftime(form), self.end.strftime(form)]
        if self.columns is not None:
            chosen = self.chosen(table)
            digest = hashlib.sha256(",".join(chosen).encode()).hexdigest()[:8]
            parts.append(f"{len(chosen)}columns-{digest}")
        if self.incomplete == "omit" and not is_grain(table, self.timeframe):
            parts.append("whole")
        if self.live is not None:
            parts.append("live")
        return "_".join(parts)

    def chosen(self, table: Table) -> tuple[str, ...]:
        """Columns of the rows besides the time.

        Raises:
            SettingsError: a column is unknown, or cannot be had in this timeframe.
        """
        if not is_grain(table, self.timeframe):
            return rolled_columns(table, self.columns)
        wanted = table.names if self.columns is None else tuple(dict.fromkeys(self.columns))
        unknown = [name for name in wanted if name not in table.names]
        if unknown:
            raise SettingsError(
                f"the {table.layout.title} has no column {', '.join(unknown)}", remedy="See docs/data-dictionary.md"
            )
        return tuple(name for name in wanted if name != table.layout.time_column)


@dataclass(frozen=True)
class ExportTarget:
    """Where rows are written, and as what.

    Attributes:
        directory: created where absent; an export of the same name is replaced.
        form: `parquet`, `csv` (times as ISO 8601, NULL as nothing) or `arrow` (a file of Arrow IPC).
        exchange: name of the exchange, for the certificate.
    """

    directory: Path
    form: Format
    exchange: str


@dataclass(frozen=True)
class Export:
    """A written export; both files exist."""

    path: Path
    certificate_path: Path
    certificate: Certificate
    row_count: int
    sha256: str
    incomplete_bars: int


def tail_of(store: TableStore, symbol: str, request: ExportRequest) -> LiveTail | None:
    """What the collector has after the committed rows, where the request wants it.

    Raises:
        SettingsError: the table has no live rows.
    """
    return None if request.live is None else live_tail(store, symbol, request.start, request.end, request.live)


def scan_export(store: TableStore, symbol: str, request: ExportRequest, tail: LiveTail | None = None) -> pl.LazyFrame:
    """Rows of the request, lazily: the table's own as they are, or bars of a longer timeframe.

    Args:
        store: the table.
        symbol: whose rows.
        request: which rows.
        tail: live rows that follow the committed ones; with them the last column is `provisional`.
    """
    table, time = store.table, store.layout.time_column
    chosen = request.chosen(table)
    if is_grain(table, request.timeframe):
        columns = [name for name in table.names if name == time or name in set(chosen)]
        if request.columns is not None:
            columns = [time, *chosen]
        rows = _rows(store, symbol, request, columns, tail)
    else:
        found = _rows(store, symbol, request, needed_columns(table, chosen), tail)
        rows = rollup(table, found, request.timeframe, chosen, incomplete=request.incomplete)
    if tail is None:
        return rows
    ends = pl.col(time) + TIMEFRAMES[request.timeframe]
    return rows.with_columns((ends > tail.provisional_from).alias(PROVISIONAL))


def _rows(
    store: TableStore, symbol: str, request: ExportRequest, columns: Sequence[str], tail: LiveTail | None
) -> pl.LazyFrame:
    committed = scan(store, symbol, request.start, request.end, columns, schema=store.table.polars_schema)
    if tail is None:
        return committed
    time = pl.col(store.layout.time_column)
    # What the builder commits while this is read does not come twice.
    live = tail.rows.lazy().filter(within(time, request.start, request.end)).select(columns)
    return pl.concat([committed.filter(time < tail.since), live])


def write_export(
    store: TableStore,
    symbol: str,
    request: ExportRequest,
    target: ExportTarget,
    *,
    now: datetime,
    lag_minutes: int,
) -> Export:
    """Write one symbol's rows and their certificate into a directory. Equal requests of equal data give equal files.

    Args:
        store: the table.
        symbol: whose rows.
        request: which rows.
        target: where and as what they are written.
        now: decides which rows must exist.
        lag_minutes: safety lag.

    Raises:
        NotClean: the request requires a clean window and it is not; no file is written.
        SettingsError: no row, or a column that cannot be had; no file is written.
        StorageError: partitions of the window were committed while it was read, or the files do not hold the rows
            that the certificate counts; no file is written.
        DiskFull: no space; no file is written.
    """
    table, out = store.table, target.directory
    certificate = certify(
        store, symbol, request.start, request.end,
        now=now, lag_minutes=lag_minutes, columns=request.named(table),
    )  # fmt: skip
    if request.require == "clean":
        require_clean(certificate)
    tail = tail_of(store, symbol, request)
    if tail is not None:
        certificate = with_live(certificate, tail)
    with disk_errors(f"export in {out}"):
        out.mkdir(parents=True, exist_ok=True)
    name = request.stem(table, symbol)
    tally = _Tally(table, certificate, request.end)
    temp = out / f".{uuid4().hex}"  # hidden: what a killed process leaves is nobody's data
    try:
        staged = _stage(temp, tally, _chunks(store, symbol, request, tally, tail), target.form)
        if not staged.row_count:
            raise SettingsError(
                f"{symbol} has no row in [{request.start.isoformat()}, {request.end.isoformat()})",
                remedy="Backfill the window first; `lake show` and `lake audit` tell what there is",
            )
        now_there = store.ledger.partition_files(symbol, certificate.start, certificate.end)
        if data_version(now_there) != certificate.data_version:
            raise StorageError(
                f"{symbol}: {store.layout.span}s of the window were committed meanwhile", remedy="Export again"
            )
        if not tally.agrees(certificate.present_rows):
            raise StorageError(
                f"{symbol}: the files hold {tally.different:,} different {table.row_word}s in {tally.rows:,} rows,"
                f" the certificate counts {certificate.present_rows:,}",
                remedy="`lake audit --full` names the partitions, `lake backfill-range --full` builds them again",
            )
        path = out / f"{name}.{target.form}"
        described = {
            "file": path.name,
            "sha256": staged.content_hash,
            "size_bytes": staged.size_bytes,
            "rows": staged.row_count,
            "exchange": target.exchange,
            "timeframe": request.timeframe,
            **tally.as_json(),
            **certificate.as_json(),
        }
        beside = _stage_text(temp, json.dumps(described, indent=2) + "\n")
        told = path.with_name(path.name + ".certificate.json")
        publish_told([(staged, path)], (beside, told))
    finally:
        shutil.rmtree(temp, ignore_errors=True)
    return Export(path, told, certificate, staged.row_count, staged.content_hash, tally.incomplete_bars)


class _Tally:
    """What is counted while rows pass by.

    Args:
        table: whose rows.
        certificate: of the window: rows after `as_of` are not expected, whether they are there or not, and live rows
            are none of those that it counts.
        end: end of the window.
    """

    def __init__(self, table: Table, certificate: Certificate, end: datetime) -> None:
        self._time, self._count = table.layout.time_column, count_column(table)
        self._as_of = min(certificate.as_of, certificate.live_from or certificate.as_of)
        self._open = self._as_of < end
        self._of_bars = False
        self.different = self.rows = 0
        self.columns: list[str] = []
        self.nulls: Counter[str] = Counter()
        self.incomplete_bars = 0

    def count_rows(self, rows: pl.DataFrame) -> None:
        """Count the table's rows that a chunk is made of, before any bar is left out."""
        if self._count in rows.columns:
            self._of_bars = True
            count = int(rows[self._count].sum())
            self.different += count
            self.rows += count
            return
        due = rows.filter(pl.col(self._time) < self._as_of)
        self.different += due[self._time].n_unique()
        self.rows += due.height

    def agrees(self, present: int) -> bool:
        """Whether these are the rows that a certificate counts."""
        if self._of_bars and self._open:
            return self.rows >= present  # the last bar may hold rows that are not expected yet
        return self.different == self.rows == present

    def count(self, rows: pl.DataFrame) -> None:
        self.columns = rows.columns
        self.nulls.update({name: count for name, count in rows.null_count().row(0, named=True).items() if count})
        if COMPLETE in rows.columns:
            self.incomplete_bars += int((~rows[COMPLETE]).sum())

    def as_json(self) -> dict[str, Any]:
        return {"columns": self.columns, "null_values": dict(self.nulls), "incomplete_bars": self.incomplete_bars}


def _chunks(
    store: TableStore, symbol: str, request: ExportRequest, tally: _Tally, tail: LiveTail | None
) -> Iterator[pl.DataFrame]:
    """The rows month by month, day by day of short ones; no bar is longer than a day, so none is cut."""
    start = request.start
    while start < request.end:
        midnight = start.replace(hour=0, minute=0, second=0)
        short = store.layout.grain < MINUTE
        end = min(midnight + DAY if short else (midnight.replace(day=1) + _CHUNK).replace(day=1), request.end)
        part = ExportRequest(start, end, request.timeframe, request.columns)
        with reading(store.layout, symbol, start, end):
            rows = (
                scan_export(store, symbol, part, tail)
                .select(pl.lit(symbol).alias("symbol"), pl.exclude("symbol"))
                .collect()
            )
        tally.count_rows(rows)
        yield rows.filter(COMPLETE) if request.incomplete == "omit" and COMPLETE in rows.columns else rows
        start = end


def _stage(temp: Path, tally: _Tally, chunks: Iterator[pl.DataFrame], form: Format) -> StagedFile:
    first = next(chunks)
    tally.count(first)
    if form == "csv":
        return _stage_csv(temp, tally, first, chunks)
    if form == "arrow":
        return _stage_arrow(temp, tally, first, chunks)
    with StagingWriter(temp, first.schema, {}) as writer:
        writer.write(first)
        for chunk in chunks:
            tally.count(chunk)
            writer.write(chunk)
        return writer.finish()


def _stage_csv(temp: Path, tally: _Tally, first: pl.DataFrame, chunks: Iterator[pl.DataFrame]) -> StagedFile:
    path = temp / "rows.csv"
    rows = first.height
    with disk_errors(f"export {path}"):
        temp.mkdir()
        with path.open("wb") as file:
            _append_csv(file, first, header=True)
            for chunk in chunks:
                tally.count(chunk)
                rows += chunk.height
                _append_csv(file, chunk, header=False)
        fsync_file(path)
        return StagedFile(path, file_hash(path), path.stat().st_size, rows)


def _stage_arrow(temp: Path, tally: _Tally, first: pl.DataFrame, chunks: Iterator[pl.DataFrame]) -> StagedFile:
    path, schema = temp / "rows.arrow", first.to_arrow().schema
    rows = 0
    with disk_errors(f"export {path}"):
        temp.mkdir()
        with pa.ipc.new_file(str(path), schema) as writer:
            writer.write_table(first.to_arrow())
            rows += first.height
            for chunk in chunks:
                tally.count(chunk)
                rows += chunk.height
                writer.write_table(chunk.to_arrow())
        fsync_file(path)
        return StagedFile(path, file_hash(path), path.stat().st_size, rows)


def _append_csv(file: BinaryIO, rows: pl.DataFrame, *, header: bool) -> None:
    file.write(rows.write_csv(include_header=header, datetime_format=_CSV_TIME).encode())


def _stage_text(temp: Path, text: str) -> StagedFile:
    path = temp / "certificate.json"
    with disk_errors(f"export {path}"):
        path.write_text(text)
        fsync_file(path)
    return StagedFile(path, hashlib.sha256(text.encode()).hexdigest(), len(text.encode()), 0)


def write_exports(
    store: TableStore,
    symbols: Sequence[str],
    request: ExportRequest,
    target: ExportTarget,
    *,
    now: datetime,
    lag_minutes: int,
) -> Iterator[Export]:
    """One export per symbol, in order; arguments as `write_export`."""
    request.chosen(store.table)
    for symbol in symbols:
        yield write_export(store, symbol, request, target, now=now, lag_minutes=lag_minutes)
