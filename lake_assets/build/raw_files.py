"""Raw inputs and refused rows as their files tell of them: archives, answers of REST, quarantine.

Belongs here: ledger rows from the files below a market's directories. Does not belong here: writing them
(`ledger_rebuild`), files of a table (`committed_files`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from lake_assets.at_rest import TableStore
from lake_assets.build.committed_files import files_below, metadata_of, symbol_directories, written_at
from lake_assets.inputs.trade_tallies import GapFinder
from lake_assets.schema.stream_use import StreamUse
from lake_resources.binance.market import market_of
from lake_resources.binance.streams import STREAMS
from lake_resources.clock import HOUR
from lake_resources.errors import StorageError
from lake_resources.storage.hashing import file_hash
from lake_resources.storage.ledger.ledger import Archive, Capture
from lake_resources.storage.ledger.restored_rows import LOST

LeftOut = Callable[[str], None]
"""Takes a file that says too little or does not read, with the reason."""


@dataclass(frozen=True)
class Refused:
    """Rows of a partition that broke the gate: which, where they lie, the rules they broke, when that was."""

    symbol: str
    start: datetime
    path: str
    codes: tuple[str, ...]
    at: datetime


def archive_files(store: TableStore, left_out: LeftOut) -> Iterator[tuple[Archive, str]]:
    """Every typed archive of the market, oldest first, and what of the published file is not in it."""
    streams = STREAMS.get(store.layout.market, {})
    for name, symbol, path in _by_stream(store.catalog.archives_dir):
        with _leaving_out(store, path, left_out):
            _require(name in streams, f"{name} is no stream of the market")
            metadata = metadata_of(path)
            market = market_of(metadata["lake.source_url"]) or store.layout.market
            _require(market == store.layout.market, f"it is an archive of {market}")
            period, _, short = path.stem.rpartition("-")
            _require(metadata["lake.sha256"].startswith(short), "its name is not that of its zip")
            rows, first, last = _extent(path, streams[name].time_column)
            yield (
                Archive(
                    symbol=symbol,
                    stream=name,
                    period=period,
                    sha256=metadata["lake.sha256"],
                    url=metadata["lake.source_url"],
                    path=store.catalog.relative(path),
                    row_count=rows,
                    min_ts=first,
                    max_ts=last,
                    content_hash=file_hash(path),
                    size_bytes=int(metadata.get("lake.zip_bytes", 0)),
                    checksum_verdict=metadata["lake.checksum"],
                    fetched_at=written_at(path),
                ),
                metadata.get("lake.defects", "") or GapFinder.told_in(metadata),
            )


def capture_files(store: TableStore, uses: Mapping[str, StreamUse], left_out: LeftOut) -> Iterator[Capture]:
    """Every kept answer of REST of the market, oldest first.

    Args:
        store: a table of the market.
        uses: by stream, for when an answer needs no second request.
        left_out: takes files that are no such answers.
    """
    for name, symbol, path in _by_stream(store.catalog.captures_dir):
        with _leaving_out(store, path, left_out):
            _require(name in uses, f"no table reads {name}")
            hour = datetime.fromisoformat(metadata_of(path)["lake.hour"]).astimezone(UTC)
            digest, at = file_hash(path), written_at(path)
            _require(path.stem.endswith(digest[:12]), "its bytes are not those that its name tells")
            rows, _, _ = _extent(path, uses[name].stream.time_column)
            yield Capture(
                symbol=symbol,
                stream=name,
                hour=hour,
                path=store.catalog.relative(path),
                row_count=rows,
                window_start=hour,
                window_end=min(hour + HOUR, at),
                complete=uses[name].is_final(hour, rows, at),
                request=LOST,
                content_hash=digest,
                captured_at=at,
            )


def refused_files(store: TableStore, symbols: Iterable[str], left_out: LeftOut) -> Iterator[Refused]:
    """Every file of refused rows of the table, oldest first."""
    found = [(symbol, path) for symbol in symbols for path in files_below(store.catalog.refused_dir / symbol)]
    for symbol, path in sorted(found, key=lambda each: each[1].stat().st_mtime_ns):
        with _leaving_out(store, path, left_out):
            metadata = metadata_of(path)
            start = store.layout.whole(datetime.fromisoformat(metadata[f"lake.{store.layout.span}"]))
            codes = tuple(metadata["lake.codes"].split(","))
            yield Refused(symbol, start, store.catalog.relative(path), codes, written_at(path))


def _by_stream(directory: Path) -> list[tuple[str, str, Path]]:
    """Stream, symbol and path of every file, oldest first."""
    streams = [path for path in directory.iterdir() if path.is_dir()] if directory.is_dir() else []
    found = [
        (stream.name, symbol, path)
        for stream in streams
        for symbol, below in symbol_directories(stream)
        for path in files_below(below)
    ]
    return sorted(found, key=lambda each: (each[2].stat().st_mtime_ns, each[2]))


def _extent(path: Path, time_column: str) -> tuple[int, datetime | None, datetime | None]:
    """Rows of a file, and its first and last time."""
    time = pl.col(time_column)
    scan = pl.scan_parquet(path, glob=False, hive_partitioning=False)
    rows, first, last = scan.select(pl.len(), time.min().alias("first"), time.max().alias("last")).collect().row(0)
    return rows, _utc(first), _utc(last)


def _utc(value: Any) -> datetime | None:
    return value if isinstance(value, datetime) else None


@contextmanager
def _leaving_out(store: TableStore, path: Path, left_out: LeftOut) -> Iterator[None]:
    """A file that cannot be taken is told and passed over."""
    try:
        yield
    except (StorageError, ValueError, KeyError, pl.exceptions.PolarsError) as error:
        left_out(f"{store.catalog.relative(path)}: {error}")


def _require(holds: bool, why: str) -> None:
    if not holds:
        raise ValueError(why)
