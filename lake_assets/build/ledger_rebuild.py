"""A lost or damaged ledger made anew from the files of the lake.

Belongs here: the order of it, what is taken over from the old ledger, what cannot be known. Does not belong here: what
a file tells (`committed_files`, `raw_files`), judging partitions (`hours`).

The new ledger grows beside the old one and takes its name at the end; the old one is kept under another. No Parquet
file is written, changed or removed, so a rebuild that is killed has changed nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from lake_assets.at_rest import LakeAtRest, TableStore
from lake_assets.build.committed_files import committed_files, symbols_of
from lake_assets.build.hours import build_partitions
from lake_assets.build.raw_files import archive_files, capture_files, refused_files
from lake_assets.inputs.missing import DAMAGED_ROWS
from lake_assets.lake import Lake
from lake_assets.schema.stream_use import StreamUse
from lake_assets.schema.table import Table
from lake_resources.clock import HOUR
from lake_resources.errors import LakeError, LedgerVersion
from lake_resources.sqlite_file import connect_to_read
from lake_resources.storage.disk import disk_errors, fsync_dirs, fsync_file
from lake_resources.storage.ledger import versions
from lake_resources.storage.ledger.ledger import Capture, Partition
from lake_resources.storage.ledger.restored_rows import LOST
from lake_resources.storage.ledger.tables import (
    API_PARITY,
    CONNECTIONS,
    IDENTITY,
    KNOWN_HOLES,
    KNOWN_IDS,
    LEDGER_VERSION,
    LISTINGS,
    ORIGINS,
    OUTBOX,
    REVISIONS,
    SLICES,
    TRADE_GAPS,
)

UNKNOWN = (
    "when a source was looked for in vain and how often, and partitions refused without rows: they are asked for again",
    "slices without a kept answer, and how often each was asked for: they are asked for again",
    "URLs of REST requests, sizes of zips, texts of refusals",
    "times of commits and downloads are those of the files",
)
"""What no file says."""
FROM_OLD = tuple(
    table.name
    for table in (
        KNOWN_HOLES, LISTINGS, IDENTITY, CONNECTIONS, TRADE_GAPS, KNOWN_IDS, API_PARITY, REVISIONS, OUTBOX
    )
)  # fmt: skip
"""Tables about which files say nothing: taken over from an old ledger as far as it reads."""
BETTER_FROM_OLD = (SLICES.name, ORIGINS.name)
"""Tables that an old ledger tells more exactly than the files do, which tell the rest."""
_AT_ONCE = 500
_SIDES = ("", "-wal", "-shm")
Say = Callable[[str], None]


@dataclass
class Rebuilt:
    """What a rebuilt ledger holds.

    Attributes:
        partitions, compacted, archives, captures, refused, missing, slices: rows that were made from files.
        judged: partitions whose checks and verdict were made anew from their sources.
        taken_over: rows by table that the old ledger still gave.
        not_taken_over: tables that are known to no file, and that the old ledger did not give.
        left_out: files that say too little or do not read.
        old: where the old ledger is kept; None where there was none.
    """

    partitions: int = 0
    compacted: int = 0
    archives: int = 0
    captures: int = 0
    refused: int = 0
    missing: int = 0
    slices: int = 0
    judged: int = 0
    taken_over: dict[str, int] = field(default_factory=dict)
    not_taken_over: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    old: Path | None = None


@contextmanager
def ledger_beside(path: Path) -> Iterator[Path]:
    """A new ledger's file beside that of a lake, for the time inside; what a killed rebuild left there is removed."""
    new = path.with_name(f"{path.name}.rebuilding")
    for side in _SIDES:
        Path(f"{new}{side}").unlink(missing_ok=True)
    try:
        yield new
    finally:
        for side in _SIDES:
            Path(f"{new}{side}").unlink(missing_ok=True)


def put_in_place(new: Path, path: Path, at: datetime) -> Path | None:
    """Give a finished ledger the name of the old one, which is kept under another name; returns that.

    Raises:
        DiskFull, StorageError: it could not be done; the old one has its name.
    """
    with disk_errors(f"ledger {path}"):
        with closing(sqlite3.connect(new)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for side in _SIDES[1:]:
            Path(f"{new}{side}").unlink(missing_ok=True)
        fsync_file(new)
        kept = path.with_name(f"{path.name}.before-{at:%Y%m%dT%H%M%SZ}") if path.exists() else None
        if kept is not None:
            for side in _SIDES[1:]:
                log = Path(f"{path}{side}")
                if log.exists():
                    log.rename(f"{kept}{side}")
            path.rename(kept)
        new.rename(path)
        fsync_dirs([path.parent])
    return kept


def rebuild_rows(lake: LakeAtRest, tables: Sequence[Table], *, max_ffill_minutes: int, say: Say) -> Rebuilt:
    """Fill the (new, empty) ledger of a lake from its files.

    Args:
        lake: over the new ledger.
        tables: all tables of the lake.
        max_ffill_minutes: setting with which the partitions were built.
        say: takes a line of progress.
    """
    rebuilt, at = Rebuilt(), lake.clock()
    stores = [lake.store.beside(table) for table in tables]
    for store in {store.layout.market: store for store in stores}.values():
        archives, captures = rebuilt.archives, rebuilt.captures
        _raw_inputs(store, _uses(tables, store), rebuilt)
        archives, captures = rebuilt.archives - archives, rebuilt.captures - captures
        say(f"{store.layout.market}: {archives} archives, {captures} answers of REST")
    for store in stores:
        for symbol in symbols_of(store):
            found = committed_files(store, symbol, max_ffill_minutes=max_ffill_minutes)
            rebuilt.left_out += found.left_out
            partitions = [found.partitions[start] for start in sorted(found.partitions)]
            for index in range(0, len(partitions), _AT_ONCE):
                store.ledger.restore_partitions(partitions[index : index + _AT_ONCE])
            store.ledger.restore_compacted(found.compacted)
            rebuilt.partitions += len(partitions)
            rebuilt.compacted += len(found.compacted)
            rebuilt.missing += _missing(store, _uses(tables, store), partitions)
            _refused(store, symbol, rebuilt)
            store.ledger.restore_watermark(symbol, at)
            say(f"{store.layout.title}, {symbol}: {len(partitions)} {store.layout.span}s")
    return rebuilt


def _uses(tables: Sequence[Table], store: TableStore) -> dict[str, StreamUse]:
    """How the tables of a market use its streams."""
    market = [table for table in tables if table.layout.market == store.layout.market]
    return {name: use for table in market for name, use in table.uses.items()}


def _raw_inputs(store: TableStore, uses: dict[str, StreamUse], rebuilt: Rebuilt) -> None:
    ledger = store.ledger
    for archive, defects in archive_files(store, rebuilt.left_out.append):
        ledger.record_archive(archive)
        rebuilt.archives += 1
        ledger.resolve_missing(archive.symbol, archive.stream, archive.period, at=archive.fetched_at)
        if defects:
            period, reason = archive.period, defects
            ledger.record_missing(archive.symbol, archive.stream, period, DAMAGED_ROWS, reason, at=archive.fetched_at)
            rebuilt.missing += 1
    for captures in _in_parts(capture_files(store, uses, rebuilt.left_out.append)):
        ledger.record_captures(captures)
        rebuilt.captures += len(captures)


def _in_parts(captures: Iterable[Capture]) -> Iterator[list[Capture]]:
    part: list[Capture] = []
    for capture in captures:
        part.append(capture)
        if len(part) == _AT_ONCE:
            yield part
            part = []
    if part:
        yield part


def _missing(store: TableStore, uses: dict[str, StreamUse], partitions: Iterable[Partition]) -> int:
    """Streams without a source in a partition, as far as REST serves them, as missing sources of its hours."""
    count, ledger = 0, store.ledger
    for partition in partitions:
        for name, source in partition.sources.items():
            if source.kind != "none" or name not in uses or uses[name].stream.rest is None:
                continue
            for index in range(store.layout.step // HOUR):
                period = f"{partition.start + index * HOUR:%Y-%m-%dT%H}"
                ledger.record_missing(
                    partition.symbol, name, period, "rest", f"no source when it was built; why is {LOST}",
                    at=partition.committed_at,
                )  # fmt: skip
                count += 1
    return count


def _refused(store: TableStore, symbol: str, rebuilt: Rebuilt) -> None:
    ledger = store.ledger
    for entry in refused_files(store, [symbol], rebuilt.left_out.append):
        ledger.record_quarantine(symbol, entry.start, entry.path, entry.codes, f"the text is {LOST}", at=entry.at)
        held = ledger.partition(symbol, entry.start)
        if held is not None and held.committed_at >= entry.at:
            ledger.resolve_quarantine(symbol, [entry.start], at=held.committed_at)
        rebuilt.refused += 1


class _Asked(NamedTuple):
    starts: list[datetime]
    now: datetime
    provisional: bool


def judge(lake: Lake, *, now: datetime, say: Say) -> int:
    """Say anew what the sources of committed partitions say of them; returns of how many.

    A partition is left unjudged where its sources are not on the disk any more, or give other rows than are committed.

    Args:
        lake: judging (`Lake.judging`), on the table.
        now: the moment of it, UTC.
        say: takes a line per partition that is left unjudged.
    """
    judged, ledger, layout = 0, lake.ledger, lake.store.layout
    for symbol in ledger.symbols():
        first, last = ledger.first_partition(symbol), ledger.last_partition(symbol)
        if first is None or last is None:
            continue
        held = ledger.partition_facts(symbol, first, last + layout.step)
        whole = [row.start for row in held if row.complete]
        asked = [_Asked(list(day), now, provisional=False) for _, day in groupby(whole, key=lambda start: start.date())]
        # What is open was judged as it was at its commit.
        for row in held:
            partition = None if row.complete else ledger.partition(symbol, row.start)
            if partition is not None:
                more = partition.row_count > partition.expected_rows
                asked.append(_Asked([row.start], partition.committed_at, provisional=more))
        for one in asked:
            try:
                days = build_partitions(
                    lake, symbol, one.starts, now=one.now, report=_silent, provisional=one.provisional, force=True
                )
                results = [result for found in days for result in found.hours]
            except LakeError as error:
                say(f"{layout.title}, {symbol}: not judged: {error}")
                continue
            judged += sum(result.status == "unchanged" for result in results)
            for result in results:
                if result.status != "unchanged":
                    say(f"{layout.title}, {symbol} {layout.text(result.hour)}: not judged: {result.reason}")
    return judged


def _silent(_line: str) -> None:
    """Progress of a build that nobody needs to read."""


def take_over(old: Path, new: Path, rebuilt: Rebuilt) -> None:
    """Copy what no file says from an old ledger, as far as it reads.

    Raises:
        LedgerVersion: newer code made the old ledger: it is not damaged.
    """
    rebuilt.not_taken_over = list(FROM_OLD)
    try:
        version = versions.version_of(old)
    except sqlite3.DatabaseError:
        return
    if version is not None and version > LEDGER_VERSION:
        raise LedgerVersion(
            f"ledger {old} has version {version}, this code knows versions up to {LEDGER_VERSION}",
            remedy="Install the version of minute-lake that made it; nothing was changed",
        )
    if version != LEDGER_VERSION:
        return
    for table in (*FROM_OLD, *BETTER_FROM_OLD):
        try:
            with closing(connect_to_read(old)) as source:
                cursor = source.execute(f'SELECT * FROM "{table}"')  # noqa: S608 - the name of a table
                names = [column[0] for column in cursor.description]
                rows = cursor.fetchall()
            with closing(sqlite3.connect(new)) as target, target:
                marks, columns = ", ".join("?" * len(names)), ", ".join(f'"{name}"' for name in names)
                target.executemany(f'INSERT OR IGNORE INTO "{table}" ({columns}) VALUES ({marks})', rows)  # noqa: S608
        except sqlite3.DatabaseError:
            continue
        rebuilt.taken_over[table] = len(rows)
        if table in rebuilt.not_taken_over:
            rebuilt.not_taken_over.remove(table)
