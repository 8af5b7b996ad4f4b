"""Slices of the minute table as files for others: Parquet or CSV, each with its certificate beside it.

Belongs here: reading a window in bounded memory, rolling it up, writing both files whole or not at all.
Does not belong here: the certificate (`certificate`), roll-up rules (`transforms.rollup`).
"""

from __future__ import annotations

import hashlib
import json
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
from lake_assets.schema.tables import MINUTE
from lake_assets.transforms.rollup import COMPLETE, Incomplete, Timeframe, needed_columns, rolled_columns, rollup
from lake_resources.errors import SettingsError, StorageError
from lake_resources.storage.catalog import Catalog
from lake_resources.storage.disk import disk_errors, fsync_dirs, fsync_file
from lake_resources.storage.ledger import Ledger
from lake_resources.storage.parquet import StagedFile, StagingWriter, file_hash, publish_all
from lake_resources.storage.reader import scan_minutes

Format = Literal["parquet", "csv"]
_CSV_TIME = "%Y-%m-%dT%H:%M:%SZ"
_CHUNK = timedelta(days=31)


@dataclass(frozen=True)
class SliceRequest:
    """What is wanted of each symbol.

    Attributes:
        start, end: window of whole minutes, half-open, UTC.
        timeframe: length of a row.
        columns: columns of the minute table, default all (of longer bars: all that can be derived).
        incomplete: bars that lack a minute are marked, or left out.
        require: `clean` refuses a window with unexplained holes.
    """

    start: datetime
    end: datetime
    timeframe: Timeframe = "1m"
    columns: tuple[str, ...] | None = None
    incomplete: Incomplete = "mark"
    require: Require = "any"

    def chosen(self) -> tuple[str, ...]:
        """Columns of the rows besides `timestamp`.

        Raises:
            SettingsError: a column is unknown, or cannot be had in this timeframe.
        """
        if self.timeframe != "1m":
            return rolled_columns(self.columns)
        wanted = MINUTE.names if self.columns is None else tuple(dict.fromkeys(self.columns))
        unknown = [name for name in wanted if name not in MINUTE.names]
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


def scan_slice(catalog: Catalog, ledger: Ledger, symbol: str, request: SliceRequest) -> pl.LazyFrame:
    """Rows of the request, lazily: minutes as they are, or bars of a longer timeframe."""
    chosen = request.chosen()
    if request.timeframe == "1m":
        columns = [name for name in MINUTE.names if name == "timestamp" or name in set(chosen)]
        if request.columns is not None:
            columns = ["timestamp", *chosen]
        return scan_minutes(catalog, ledger, symbol, request.start, request.end, columns, schema=MINUTE.polars_schema)
    minutes = scan_minutes(
        catalog, ledger, symbol, request.start, request.end, needed_columns(chosen), schema=MINUTE.polars_schema
    )
    return rollup(minutes, request.timeframe, chosen, incomplete=request.incomplete)


def write_slice(
    catalog: Catalog,
    ledger: Ledger,
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
        catalog: paths of the lake.
        ledger: its ledger.
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
        StorageError: hours of the window were committed while it was read; no file is written.
        DiskFull: no space; no file is written.
    """
    certificate = certify(catalog, ledger, symbol, request.start, request.end, now=now, lag_minutes=lag_minutes)
    if request.require == "clean":
        require_clean(certificate)
    with disk_errors(f"slice in {out}"):
        out.mkdir(parents=True, exist_ok=True)
    name = f"{symbol}_{request.timeframe}_{request.start:%Y%m%dT%H%M}_{request.end:%Y%m%dT%H%M}"
    tally = _Tally()
    staged = _stage(out, tally, _chunks(catalog, ledger, symbol, request), form)
    try:
        if not staged.row_count:
            raise SettingsError(
                f"{symbol} has no row in [{request.start.isoformat()}, {request.end.isoformat()})",
                remedy="Backfill the window first; `lake show` and `lake audit` tell what there is",
            )
        if (
            data_version(committed_hours(ledger, symbol, certificate.start, certificate.end))
            != certificate.data_version
        ):
            raise StorageError(f"{symbol}: hours of the window were committed meanwhile", remedy="Slice again")
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
        beside = _stage_text(out, json.dumps(described, indent=2) + "\n")
        try:
            publish_all([(staged, path), (beside, path.with_name(path.name + ".certificate.json"))])
        finally:
            beside.discard()
    finally:
        staged.discard()
    return Slice(
        path, path.with_name(path.name + ".certificate.json"), certificate, staged.row_count, staged.content_hash
    )


class _Tally:
    """What is counted while rows pass by."""

    def __init__(self) -> None:
        self.columns: list[str] = []
        self.nulls: Counter[str] = Counter()
        self.incomplete_bars = 0

    def count(self, rows: pl.DataFrame) -> None:
        self.columns = rows.columns
        self.nulls.update({name: count for name, count in rows.null_count().row(0, named=True).items() if count})
        if COMPLETE in rows.columns:
            self.incomplete_bars += int((~rows[COMPLETE]).sum())

    def as_json(self) -> dict[str, Any]:
        return {"columns": self.columns, "null_values": dict(self.nulls), "incomplete_bars": self.incomplete_bars}


def _chunks(catalog: Catalog, ledger: Ledger, symbol: str, request: SliceRequest) -> Iterator[pl.DataFrame]:
    """The rows month by month; no bar is longer than a day, so none is cut."""
    start = request.start
    while start < request.end:
        month = (start.replace(day=1, hour=0, minute=0) + _CHUNK).replace(day=1)
        end = min(month, request.end)
        part = SliceRequest(start, end, request.timeframe, request.columns, request.incomplete)
        yield scan_slice(catalog, ledger, symbol, part).select(pl.lit(symbol).alias("symbol"), pl.all()).collect()
        start = end


def _stage(out: Path, tally: _Tally, chunks: Iterator[pl.DataFrame], form: Format) -> StagedFile:
    first = next(chunks)
    tally.count(first)
    if form == "csv":
        return _stage_csv(out, tally, first, chunks)
    with StagingWriter(out, first.schema, {}) as writer:
        writer.write(first)
        for chunk in chunks:
            tally.count(chunk)
            writer.write(chunk)
        return writer.finish()


def _stage_csv(out: Path, tally: _Tally, first: pl.DataFrame, chunks: Iterator[pl.DataFrame]) -> StagedFile:
    path = out / f"{uuid4().hex}.csv"
    rows = first.height
    try:
        with disk_errors(f"slice {path}"):
            with path.open("wb") as file:
                _append_csv(file, first, header=True)
                for chunk in chunks:
                    tally.count(chunk)
                    rows += chunk.height
                    _append_csv(file, chunk, header=False)
            fsync_file(path)
            return StagedFile(path, file_hash(path), path.stat().st_size, rows)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _append_csv(file: BinaryIO, rows: pl.DataFrame, *, header: bool) -> None:
    file.write(rows.write_csv(include_header=header, datetime_format=_CSV_TIME).encode())


def _stage_text(out: Path, text: str) -> StagedFile:
    path = out / f"{uuid4().hex}.json"
    with disk_errors(f"slice {path}"):
        path.write_text(text)
        fsync_file(path)
        fsync_dirs([out])
    return StagedFile(path, hashlib.sha256(text.encode()).hexdigest(), len(text.encode()), 0)


def write_slices(
    catalog: Catalog, ledger: Ledger, symbols: Sequence[str], request: SliceRequest, out: Path, **given: Any
) -> Iterator[Slice]:
    """One slice per symbol, in order; arguments as `write_slice`."""
    request.chosen()
    for symbol in symbols:
        yield write_slice(catalog, ledger, symbol, request, out, **given)
