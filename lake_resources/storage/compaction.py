"""Many partitions become one file, and the files it was made from go away.

Belongs here: writing a day or month file whose rows are proven to be those of the partitions, letting it serve them,
and removing what nothing is read from any more. Does not belong here: which partitions are closed (`lake_assets`
decides).

Order: read and verify the inputs → stage → read back and compare → rename → ledger. A kill at any point leaves either
the partitions as they were (and perhaps an unused file, which `clear` sweeps) or the new file serving all of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

import numpy as np
import orjson
import polars as pl

from lake_resources.clock import Clock
from lake_resources.errors import LedgerError
from lake_resources.layout import FileForm, TableLayout, Tier
from lake_resources.storage.hashing import file_hash
from lake_resources.storage.ledger.compacted_rows import bitmap
from lake_resources.storage.ledger.ledger import CompactedFile, PartitionFile
from lake_resources.storage.locks import DEFAULT_TIMEOUT_S
from lake_resources.storage.parquet import stage
from lake_resources.storage.placement import Stretch, stretches
from lake_resources.storage.store import Store

ROW_GROUP_ROWS: dict[FileForm, int] = {"small": 14_880, "quick": 86_400}
"""A third of a month of minutes: a day is read in half the time of one group per month, years of one column a tenth
slower. A day of seconds is one group, for it is mostly read whole."""
_FILES_AT_ONCE = 192
"""Their bytes are in memory together, so that what is hashed is what is read."""

CompactionStatus = Literal["compacted", "unchanged", "changed_meanwhile"]


@dataclass(frozen=True)
class Period:
    """A day or month of one symbol, half-open, UTC."""

    symbol: str
    tier: Tier
    start: datetime
    end: datetime

    @property
    def name(self) -> str:
        """`YYYY-MM-DD` or `YYYY-MM`."""
        return f"{self.start:%Y-%m}" if self.tier == "month" else f"{self.start:%Y-%m-%d}"


@dataclass(frozen=True)
class Compacted:
    """What became of a period.

    Attributes:
        status: `compacted`, `unchanged` (the same file was there already), `changed_meanwhile` (a partition was
            committed since the ledger was asked for them: nothing was changed, the next run takes it).
        input_bytes: size of the files that were read.
        path: the file; None where none was written.
    """

    period: Period
    status: CompactionStatus
    partitions: int
    row_count: int
    input_bytes: int
    size_bytes: int
    path: Path | None


@dataclass(frozen=True)
class Cleared:
    """What `clear` removed, or would remove."""

    files: int
    size_bytes: int


def compact(
    store: Store,
    period: Period,
    files: Sequence[PartitionFile],
    *,
    clock: Clock,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> Compacted:
    """Write one file of all committed partitions of a period and let it serve them. Their own files stay.

    Args:
        store: the table.
        period: which day or month.
        files: its committed partitions, all of them, as the ledger gave them.
        clock: gives the time from which the grace of their files counts.
        timeout_s: how long to wait for a writer of the symbol, seconds; the lock is held for the rename only.

    Raises:
        LedgerError: a file is not what the ledger says, or the rows read back are not those that were read.
        DiskFull: no space; nothing was changed, and no temp file is left.
        PartitionBusy: a writer held the symbol all that time.
        ValueError: no partitions, or partitions of different schemas.
    """
    catalog, ledger, step = store.catalog, store.ledger, store.layout.step
    schemas = {file.schema_hash for file in files}
    if len(schemas) != 1:
        raise ValueError(f"{period.symbol} {period.name}: {len(schemas)} schemas in {len(files)} partitions; need one")
    placed = stretches(store, period.symbol, period.start, period.end)
    try:
        rows, input_bytes = _read(store, period, files, placed)
    except LedgerError:
        # A writer renames its file before the ledger has the row; under its lock both are as it leaves them.
        with store.engine.locked(catalog.lock_path(period.symbol), timeout_s=timeout_s):
            if not _moved(store, period, files, placed):
                raise
        return Compacted(period, "changed_meanwhile", len(files), 0, 0, 0, None)
    proof = rows_hash(rows)
    metadata = _metadata(store.layout, period, files, proof)
    staged = stage(
        rows,
        catalog.temp_dir,
        metadata,
        row_group_rows=ROW_GROUP_ROWS[store.layout.form],
        form=store.layout.form,
    )
    try:
        del rows
        if rows_hash(pl.read_parquet(staged.temp_path)) != proof:
            raise LedgerError(
                f"{store.layout.title}, {period.symbol} {period.name}: the rows read back are not those that were read",
                remedy="Nothing was changed. Check the disk (dmesg, SMART), then compact again",
            )
        path = catalog.compacted_path(period.symbol, period.name, staged.content_hash)
        holds = bitmap(period.start, (file.start for file in files), step)
        compacted = CompactedFile(
            symbol=period.symbol,
            path=catalog.relative(path),
            tier=period.tier,
            start=period.start,
            end=period.end,
            step=step,
            serves=holds,
            holds=holds,
            row_count=staged.row_count,
            content_hash=staged.content_hash,
            rows_hash=proof,
            size_bytes=staged.size_bytes,
            schema_hash=files[0].schema_hash,
            compacted_at=clock(),
        )
        with store.engine.locked(catalog.lock_path(period.symbol), timeout_s=timeout_s):
            held = {found.path: found for found in ledger.compacted_files(period.symbol, period.start, period.end)}
            known = held.get(compacted.path)
            if known is not None and known.serves == holds:
                status: CompactionStatus = "unchanged"
            else:
                taken = store.files.publish([(staged, compacted.path)])
                served = ledger.activate(compacted, {file.start: file.content_hash for file in files})
                if taken:  # who collects garbage may have removed it before the row
                    store.files.publish(taken)
                status = "compacted" if served else "changed_meanwhile"
        return Compacted(period, status, len(files), staged.row_count, input_bytes, staged.size_bytes, path)
    finally:
        staged.discard()


def rows_hash(rows: pl.DataFrame) -> str:
    """sha256 of the values of a frame, hexadecimal: names, types, NULLs and the bits of every value, column by column.

    It does not depend on the file format, the compression, or how the rows are chunked.
    """
    digest = hashlib.sha256()
    nulls = {column.name: column.null_count() for column in rows}
    empty = {name for name, count in nulls.items() if count == rows.height}
    partly = {name for name, count in nulls.items() if 0 < count < rows.height}
    # Most columns are whole, and numbers as they lie; the others are made so in one query: a month of 66 columns would
    # else be two hundred.
    made = [name for name, dtype in rows.schema.items() if name in partly or (dtype == pl.String and name not in empty)]
    values = rows.with_columns(_plain(name, rows.schema[name]) for name in made) if made else rows
    masks = rows.select(pl.col(name).is_null().cast(pl.UInt8) for name in rows.columns if name in partly)
    for name, dtype in rows.schema.items():
        kind = "empty" if name in empty else "partly" if name in partly else "full"
        digest.update(f"{name}|{dtype}|{rows.height}|{kind}\n".encode())
        if name in partly:
            digest.update(_raw(masks[name]))
        if name not in empty:
            digest.update(_raw(values[name]))
    return digest.hexdigest()


def _plain(name: str, dtype: pl.DataType) -> pl.Expr:
    """Values as numbers without NULLs; which were NULL is hashed apart."""
    column = pl.col(name)
    if dtype == pl.String:
        return column.cast(pl.Binary).bin.encode("hex").fill_null("")
    return (column.cast(pl.UInt8) if dtype == pl.Boolean else column.to_physical()).fill_null(0)


def _raw(values: pl.Series) -> memoryview | bytes:
    if values.dtype == pl.String:
        return "\n".join(values).encode()
    dtype = values.dtype
    # Asking a column for its physical values costs more than hashing a day of it.
    as_it_lies = dtype.is_float() or dtype.is_integer() or dtype == pl.Boolean
    return np.ascontiguousarray((values if as_it_lies else values.to_physical()).to_numpy()).data


def clear(
    store: Store,
    symbol: str,
    *,
    clock: Clock,
    grace: timedelta,
    dry_run: bool = False,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> Cleared:
    """Remove files that nothing is read from since at least `grace`: those that were compacted, old compacted ones.

    Before a partition's own file goes, the compacted one that serves it is hashed again; a damaged one removes nothing.

    Args:
        grace: how long a reader that opened its files before the compaction may still need them.
        dry_run: count only.

    Raises:
        LedgerError: a compacted file is not what the ledger says.
        PartitionBusy: a writer held the symbol all that time.
    """
    files = size_bytes = 0
    catalog, ledger = store.catalog, store.ledger
    for compacted in ledger.compacted_files(symbol, superseded=True):
        since = compacted.superseded_at or compacted.compacted_at
        done = compacted.superseded_at is None and compacted.cleared_at is not None
        if done or clock() - since < grace:
            continue
        # The lock is taken per file, so that the writer of the open partition never waits for years of removals.
        with store.engine.locked(catalog.lock_path(symbol), timeout_s=timeout_s):
            if next(iter(_same(store, compacted)), None) != compacted:  # a commit or another compaction was faster
                continue
            gone = [compacted.path] if compacted.superseded_at else _replaced(store, compacted)
            files += len(gone)
            size_bytes += sum(store.files.sizes(gone).values())
            if dry_run:
                continue
            store.files.remove(gone)
            if compacted.superseded_at:
                ledger.forget_compacted(compacted)
            else:
                ledger.mark_cleared(compacted, at=clock())
    with store.engine.locked(catalog.lock_path(symbol), timeout_s=timeout_s):
        unused = _unused(store, symbol, grace)
        if not dry_run:
            store.files.remove(unused)
    return Cleared(files + len(unused), size_bytes)


def _same(store: Store, compacted: CompactedFile) -> Iterator[CompactedFile]:
    found = store.ledger.compacted_files(compacted.symbol, compacted.start, compacted.end, superseded=True)
    return (other for other in found if other.path == compacted.path)


def _replaced(store: Store, compacted: CompactedFile) -> list[str]:
    """The partitions' own files that a proven compacted file stands for, as far as they are still there."""
    (path,) = store.files.here_all([compacted.path], anew=True)
    if not path.is_file() or file_hash(path) != compacted.content_hash:
        raise _not_as_written(store, compacted.symbol, compacted.path, "Nothing was removed. Run `lake audit`")
    served = set(compacted.served)
    paths = [
        file.path
        for file in store.ledger.partition_files(compacted.symbol, compacted.start, compacted.end)
        if file.start in served
    ]
    return list(store.files.sizes(paths))


def _unused(store: Store, symbol: str, grace: timedelta) -> list[str]:
    """Compacted files without a ledger row: a compaction was killed, or overtaken, between rename and ledger.

    Under the writer lock, as that step is.
    """
    found = sorted(store.files.listed(store.catalog.relative(store.catalog.compacted_dir(symbol))))
    if not found:
        return []
    known = {row.path for row in store.ledger.compacted_files(symbol, superseded=True)}
    now = store.files.now()
    return [each.path for each in found if each.path not in known and now - each.written_s >= grace.total_seconds()]


def _moved(store: Store, period: Period, files: Sequence[PartitionFile], placed: Sequence[Stretch]) -> bool:
    """Whether a commit, another compaction or a removal has changed what is committed, or where it lies.

    A commit that was killed half-way is no damage either: the next writer finishes it.
    """
    unfinished = {intent.partition.start for intent in store.ledger.intents(period.symbol)}
    return (
        any(period.start <= start < period.end for start in unfinished)
        or store.ledger.partition_files(period.symbol, period.start, period.end) != list(files)
        or stretches(store, period.symbol, period.start, period.end) != placed
    )


def _read(
    store: Store, period: Period, files: Sequence[PartitionFile], placed: Sequence[Stretch]
) -> tuple[pl.DataFrame, int]:
    """Rows of the period as readers see them now, from verified bytes, and how many bytes that were."""
    ledger, time = store.ledger, pl.col(store.layout.time_column)
    expected = {file.path: file.content_hash for file in files}
    compacted = ledger.compacted_files(period.symbol, period.start, period.end)
    expected |= {found.path: found.content_hash for found in compacted}
    parts: list[pl.DataFrame] = []
    schema, size_bytes = None, 0
    for stretch in placed:
        for index in range(0, len(stretch.paths), _FILES_AT_ONCE):
            paths = stretch.paths[index : index + _FILES_AT_ONCE]
            store.files.here_all(paths)
            contents = [_verified(store, period.symbol, path, expected.get(path)) for path in paths]
            size_bytes += sum(len(content) for content in contents)
            # All have one schema, and a reader that knows it need not derive it from each footer.
            schema = schema or pl.read_parquet_schema(contents[0])
            part = pl.scan_parquet(contents, schema=schema, hive_partitioning=False)
            if stretch.cut:
                part = part.filter(time >= stretch.start, time < stretch.end)
            parts.append(part.collect())
            del contents, part
    rows = pl.concat(parts, rechunk=True)
    _check(store.layout, period, files, rows)
    return rows, size_bytes


def _verified(store: Store, symbol: str, path: str, content_hash: str | None) -> bytes:
    with suppress(FileNotFoundError):
        content = store.files.here(path).read_bytes()
        if content_hash is not None and hashlib.sha256(content).hexdigest() == content_hash:
            return content
    raise _not_as_written(store, symbol, path, "Nothing was changed. Materialize these partitions again, then compact")


def _not_as_written(store: Store, symbol: str, path: str, remedy: str) -> LedgerError:
    found = f"{store.layout.title}, {symbol}: {path} is lost or not the file that was committed"
    return LedgerError(found, remedy=remedy)


def _check(layout: TableLayout, period: Period, files: Sequence[PartitionFile], rows: pl.DataFrame) -> None:
    """Every partition has the rows the ledger says, each time once and in order."""
    counts = dict(rows.group_by(pl.col(layout.time_column).dt.truncate(layout.every)).len().iter_rows())
    wrong = [file.start for file in files if counts.pop(file.start, 0) != file.row_count] + sorted(counts)
    if wrong or bool((rows[layout.time_column].diff() <= timedelta()).any()):
        where = f"{len(wrong)} {layout.span}(s), first {layout.text(wrong[0])}" if wrong else "rows out of order"
        raise LedgerError(
            f"{layout.title}, {period.symbol} {period.name}: other rows than the ledger says in {where}",
            remedy=f"Nothing was changed. Materialize these {layout.span}s again, then compact",
        )


def _metadata(layout: TableLayout, period: Period, files: Sequence[PartitionFile], proof: str) -> dict[str, str]:
    """Where the rows came from, by stretches of equal sources; the ledger keeps each partition's own inputs hash."""
    sources: dict[str, list[list[object]]] = {}
    for file in files:
        first, end = layout.text(file.start), layout.text(file.start + layout.step)
        for stream, ref in orjson.loads(file.sources).items():
            found = sources.setdefault(stream, [])
            same = [ref["kind"], ref["reference"]]
            if found and found[-1][2:] == same:
                found[-1][1] = end
            else:
                found.append([first, end, *same])
    return {
        "lake.symbol": period.symbol,
        "lake.period": period.name,
        f"lake.{layout.span}s": f"{bitmap(period.start, (file.start for file in files), layout.step):x}",
        "lake.rows_hash": proof,
        "lake.schema_hash": files[0].schema_hash,
        "lake.code_version": ",".join(sorted({file.code_version for file in files})),
        "lake.sources": json.dumps(sources, sort_keys=True, separators=(",", ":")),
    }
