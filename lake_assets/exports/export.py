"""Slices of the minute table as files for others: Parquet or CSV, each with its certificate beside it.

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

from lake_assets.quality.certificate import (
    Certificate,
    Require,
    certify,
    committed_hours,
    data_version,
    require_clean,
)
from lake_assets.tables.um_minute import UM_MINUTE
from lake_assets.transforms.rollup import (
    COMPLETE,
    Incomplete,
    Timeframe,
    count_column,
    is_grain,
    needed_columns,
    rolled_columns,
    rollup,
)
from lake_resources.errors import SettingsError, StorageError
from lake_resources.storage.catalog import utc
from lake_resources.storage.disk import disk_errors, fsync_file
from lake_resources.storage.hashing import file_hash
from lake_resources.storage.parquet import StagedFile, StagingWriter, publish_all
from lake_resources.storage.reader import reading, scan
from lake_resources.storage.store import Store

Format = Literal["parquet", "csv"]
_CSV_TIME = "%Y-%m-%dT%H:%M:%SZ"
_CHUNK = timedelta(days=31)


@dataclass(frozen=True)
class SliceRequest:
    """What is wanted of each symbol.

    Attributes:
        start, end: window of whole minutes, half-open; in any zone, kept in UTC.
        timeframe: length of a row.
        columns: columns of the minute table, default all (of longer bars: all that can be derived).
        incomplete: bars that lack a minute are marked, or left out.
        require: `clean` refuses a window with unexplained holes or lost columns.

    Raises:
        ValueError: a time has no zone.
    """

    start: datetime
    end: datetime
    timeframe: Timeframe = "1m"
    columns: tuple[str, ...] | None = None
    incomplete: Incomplete = "mark"
    require: Require = "any"

    def __post_init__(self) -> None:
        # Months and days of another zone would cut bars in two and name the file by that zone's clock.
        object.__setattr__(self, "start", utc(self.start))
        object.__setattr__(self, "end", utc(self.end))

    def named(self) -> tuple[str, ...] | None:
        """Columns of the minute table that the rows are made of, where columns are asked for by name."""
        if self.columns is None:
            return None
        return self.chosen() if is_grain(UM_MINUTE, self.timeframe) else needed_columns(UM_MINUTE, self.chosen())

    def stem(self, symbol: str) -> str:
        """Name of the file without its ending: requests for other rows or columns have another one."""
        parts = [symbol, self.timeframe, f"{self.start:%Y%m%dT%H%M}", f"{self.end:%Y%m%dT%H%M}"]
        if self.columns is not None:
            chosen = self.chosen()
            digest = hashlib.sha256(",".join(chosen).encode()).hexdigest()[:8]
            parts.append(f"{len(chosen)}columns-{digest}")
        if self.timeframe != "1m" and self.incomplete == "omit":
            parts.append("whole")
        return "_".join(parts)

    def chosen(self) -> tuple[str, ...]:
        """Columns of the rows besides `timestamp`.

        Raises:
            SettingsError: a column is unknown, or cannot be had in this timeframe.
        """
        if not is_grain(UM_MINUTE, self.timeframe):
            return rolled_columns(UM_MINUTE, self.columns)
        wanted = UM_MINUTE.names if self.columns is None else tuple(dict.fromkeys(self.columns))
        unknown = [name for name in wanted if name not in UM_MINUTE.names]
        if unknown:
            raise SettingsError(
                f"the minute table has no column {', '.join(unknown)}", remedy="See docs/data-dictionary.md"
            )
        return tuple(name for name in wanted if name != "timestamp")


@dataclass(frozen=True)
class Slice:
    """A written slice; both files exist."""

    path: Path
    certificate_path: Path
    certificate: Certificate
    row_count: int
    sha256: str
    incomplete_bars: int


def scan_slice(store: Store, symbol: str, request: SliceRequest) -> pl.LazyFrame:
    """Rows of the request, lazily: minutes as they are, or bars of a longer timeframe."""
    chosen = request.chosen()
    if is_grain(UM_MINUTE, request.timeframe):
        columns = [name for name in UM_MINUTE.names if name == "timestamp" or name in set(chosen)]
        if request.columns is not None:
            columns = ["timestamp", *chosen]
        return scan(store, symbol, request.start, request.end, columns, schema=UM_MINUTE.polars_schema)
    minutes = scan(
        store,
        symbol,
        request.start,
        request.end,
        needed_columns(UM_MINUTE, chosen),
        schema=UM_MINUTE.polars_schema,
    )
    return rollup(UM_MINUTE, minutes, request.timeframe, chosen, incomplete=request.incomplete)


def write_slice(
    store: Store,
    symbol: str,
    request: SliceRequest,
    out: Path,
    *,
    form: Format,
    exchange: str,
    now: datetime,
    lag_minutes: int,
) -> Slice:
    """Write one symbol's rows and their certificate into a directory. Equal requests of equal data give equal files.

    Args:
        store: the table.
        symbol: whose rows.
        request: which rows.
        out: directory, created where absent; a slice of the same name is replaced.
        form: `parquet` or `csv` (times as ISO 8601, NULL as nothing).
        exchange: name of the exchange, for the certificate.
        now: decides which minutes must exist.
        lag_minutes: safety lag.

    Raises:
        NotClean: the request requires a clean window and it is not; no file is written.
        SettingsError: no row, or a column that cannot be had; no file is written.
        StorageError: hours of the window were committed while it was read, or the files do not hold the minutes that
            the certificate counts; no file is written.
        DiskFull: no space; no file is written.
    """
    certificate = certify(
        store, symbol, request.start, request.end,
        now=now, lag_minutes=lag_minutes, columns=request.named(),
    )  # fmt: skip
    if request.require == "clean":
        require_clean(certificate)
    with disk_errors(f"slice in {out}"):
        out.mkdir(parents=True, exist_ok=True)
    name = request.stem(symbol)
    tally = _Tally(certificate.as_of, request.end)
    temp = out / f".{uuid4().hex}"  # hidden: what a killed process leaves is nobody's data
    try:
        staged = _stage(temp, tally, _chunks(store, symbol, request, tally), form)
        if not staged.row_count:
            raise SettingsError(
                f"{symbol} has no row in [{request.start.isoformat()}, {request.end.isoformat()})",
                remedy="Backfill the window first; `lake show` and `lake audit` tell what there is",
            )
        if (
            data_version(committed_hours(store.ledger, symbol, certificate.start, certificate.end))
            != certificate.data_version
        ):
            raise StorageError(f"{symbol}: hours of the window were committed meanwhile", remedy="Slice again")
        if not tally.agrees(certificate.present_minutes):
            raise StorageError(
                f"{symbol}: the files hold {tally.minutes:,} different minutes in {tally.rows:,} rows, the certificate"
                f" counts {certificate.present_minutes:,}",
                remedy="`lake audit --full` names the hours, `lake backfill-range --full` builds them again",
            )
        path = out / f"{name}.{form}"
        described = {
            "file": path.name,
            "sha256": staged.content_hash,
            "size_bytes": staged.size_bytes,
            "rows": staged.row_count,
            "exchange": exchange,
            "timeframe": request.timeframe,
            **tally.as_json(),
            **certificate.as_json(),
        }
        beside = _stage_text(temp, json.dumps(described, indent=2) + "\n")
        told = path.with_name(path.name + ".certificate.json")
        publish_all([(staged, path), (beside, told)])
    finally:
        shutil.rmtree(temp, ignore_errors=True)
    return Slice(path, told, certificate, staged.row_count, staged.content_hash, tally.incomplete_bars)


class _Tally:
    """What is counted while rows pass by.

    Args:
        as_of: later minutes are not expected, whether they are there or not.
        end: end of the window.
    """

    def __init__(self, as_of: datetime, end: datetime) -> None:
        self._as_of, self._open = as_of, as_of < end
        self._of_bars = False
        self.minutes = self.rows = 0
        self.columns: list[str] = []
        self.nulls: Counter[str] = Counter()
        self.incomplete_bars = 0

    def count_minutes(self, rows: pl.DataFrame) -> None:
        """Count the minutes of a chunk, before any bar is left out."""
        of_bar = count_column(UM_MINUTE)
        if of_bar in rows.columns:
            self._of_bars = True
            count = int(rows[of_bar].sum())
            self.minutes += count
            self.rows += count
            return
        due = rows.filter(pl.col("timestamp") < self._as_of)
        self.minutes += due["timestamp"].n_unique()
        self.rows += due.height

    def agrees(self, present: int) -> bool:
        """Whether these are the minutes that a certificate counts."""
        if self._of_bars and self._open:
            return self.rows >= present  # the last bar may hold minutes that are not expected yet
        return self.minutes == self.rows == present

    def count(self, rows: pl.DataFrame) -> None:
        self.columns = rows.columns
        self.nulls.update({name: count for name, count in rows.null_count().row(0, named=True).items() if count})
        if COMPLETE in rows.columns:
            self.incomplete_bars += int((~rows[COMPLETE]).sum())

    def as_json(self) -> dict[str, Any]:
        return {"columns": self.columns, "null_values": dict(self.nulls), "incomplete_bars": self.incomplete_bars}


def _chunks(store: Store, symbol: str, request: SliceRequest, tally: _Tally) -> Iterator[pl.DataFrame]:
    """The rows month by month; no bar is longer than a day, so none is cut."""
    start = request.start
    while start < request.end:
        month = (start.replace(day=1, hour=0, minute=0) + _CHUNK).replace(day=1)
        end = min(month, request.end)
        part = SliceRequest(start, end, request.timeframe, request.columns)
        with reading(store.layout, symbol, start, end):
            rows = scan_slice(store, symbol, part).select(pl.lit(symbol).alias("symbol"), pl.all()).collect()
        tally.count_minutes(rows)
        yield rows.filter(COMPLETE) if request.incomplete == "omit" and COMPLETE in rows.columns else rows
        start = end


def _stage(temp: Path, tally: _Tally, chunks: Iterator[pl.DataFrame], form: Format) -> StagedFile:
    first = next(chunks)
    tally.count(first)
    if form == "csv":
        return _stage_csv(temp, tally, first, chunks)
    with StagingWriter(temp, first.schema, {}) as writer:
        writer.write(first)
        for chunk in chunks:
            tally.count(chunk)
            writer.write(chunk)
        return writer.finish()


def _stage_csv(temp: Path, tally: _Tally, first: pl.DataFrame, chunks: Iterator[pl.DataFrame]) -> StagedFile:
    path = temp / "rows.csv"
    rows = first.height
    with disk_errors(f"slice {path}"):
        temp.mkdir()
        with path.open("wb") as file:
            _append_csv(file, first, header=True)
            for chunk in chunks:
                tally.count(chunk)
                rows += chunk.height
                _append_csv(file, chunk, header=False)
        fsync_file(path)
        return StagedFile(path, file_hash(path), path.stat().st_size, rows)


def _append_csv(file: BinaryIO, rows: pl.DataFrame, *, header: bool) -> None:
    file.write(rows.write_csv(include_header=header, datetime_format=_CSV_TIME).encode())


def _stage_text(temp: Path, text: str) -> StagedFile:
    path = temp / "certificate.json"
    with disk_errors(f"slice {path}"):
        path.write_text(text)
        fsync_file(path)
    return StagedFile(path, hashlib.sha256(text.encode()).hexdigest(), len(text.encode()), 0)


def write_slices(
    store: Store, symbols: Sequence[str], request: SliceRequest, out: Path, **given: Any
) -> Iterator[Slice]:
    """One slice per symbol, in order; arguments as `write_slice`."""
    request.chosen()
    for symbol in symbols:
        yield write_slice(store, symbol, request, out, **given)
