"""Files of partitions as they lie on the disk: bytes, hash, schema, rows.

Belongs here: reading many files quickly and judging each alone. Does not belong here: ledger, Dagster (`scan`).

Sound files are the rule. A batch of them is read in one scan and judged by the gate at once; every file that is odd in
any way is then read alone and gets its codes from `partition_audit`.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path

import polars as pl

from lake_assets.schema.table import Table
from lake_assets.validation.gate import PartitionWindow, gate, passes
from lake_assets.validation.outcome import outcome
from lake_assets.validation.partition_audit import partition_audit
from lake_resources.known_hole import KnownHole
from lake_resources.spans import within
from lake_resources.storage.parquet import encoded

_MAGIC = b"PAR1"
_TAIL_BYTES = 8
_FILE = "_file"
_NOT_JUDGED = (outcome("schema", passed=False, metadata={}),)
_UNREADABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)
"""What reading a damaged file raises; some damage makes the reader panic."""


@dataclass(frozen=True)
class AuditedFile:
    """Where a partition should lie, and the rows `[start, end)` of it that must be there.

    Attributes:
        path: its own file, or the day or month file that serves it.
        expected_hash: sha256 that the ledger says the file has; empty where the ledger does not know the hour.
        shared: the file holds other hours too.
    """

    hour: datetime
    path: Path
    start: datetime
    end: datetime
    expected_hash: str = ""
    shared: bool = False


@dataclass(frozen=True)
class FileFacts:
    """What is in a file.

    Attributes:
        content_hash: sha256 of its bytes; empty where they could not be read.
        row_count: rows, -1 where the file cannot be read.
        minutes: how many different minutes of those that must be there the rows are of.
        first: first timestamp, None where there is none.
        last: last timestamp, None where there is none.
        codes: what is wrong with its rows.
    """

    content_hash: str
    row_count: int
    minutes: int
    first: datetime | None
    last: datetime | None
    codes: tuple[str, ...]


def read_facts(table: Table, files: Sequence[AuditedFile], holes: Sequence[KnownHole]) -> dict[datetime, FileFacts]:
    """Facts of each hour whose file exists.

    Args:
        table: whose files.
        files: partitions of one symbol, each once; those in shared files in any order.
        holes: known holes of the symbol.
    """
    facts: dict[datetime, FileFacts] = {}
    for path in dict.fromkeys(file.path for file in files if file.shared):
        facts |= _shared(table, [file for file in files if file.path == path], holes)
    contents: dict[datetime, bytes] = {}
    own = [file for file in files if not file.shared]
    for file in own:
        content = _content(file.path)
        if isinstance(content, FileFacts):
            facts[file.hour] = content
        elif content is not None:
            contents[file.hour] = content
    present = [file for file in own if file.hour in contents]
    usual = [f for f in present if _footer(contents[f.hour]).startswith(_schema_bytes(table)) and f.start == f.hour]
    facts |= _sound(table, usual, contents, holes)
    for file in present:
        if file.hour not in facts:
            facts[file.hour] = _alone(table, file, contents[file.hour], holes)
    return facts


def _content(path: Path) -> bytes | FileFacts | None:
    """Bytes of a file; None where there is none, facts where it does not read."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return FileFacts("", -1, 0, None, None, (f"unreadable_parquet:{type(error).__name__}",))


def _shared(table: Table, files: Sequence[AuditedFile], holes: Sequence[KnownHole]) -> dict[datetime, FileFacts]:
    """Facts of the hours of one day or month file; rows of hours that it holds but does not serve are left alone."""
    content = _content(files[0].path)
    if not isinstance(content, bytes):
        return {} if content is None else dict.fromkeys((file.hour for file in files), content)
    digest = _sha256(content)
    rows = _read(content, digest)
    if isinstance(rows, FileFacts):
        return dict.fromkeys((file.hour for file in files), rows)
    time = pl.col(table.layout.time_column)
    parts: dict[object, pl.DataFrame] = {}
    if _has_times(table, rows):
        by_hour = rows.with_columns(time.dt.truncate(table.layout.every).alias(_FILE)).partition_by(_FILE, as_dict=True)
        parts = {key[0]: part.drop(_FILE) for key, part in by_hour.items()}
    served = [file for file in files if file.hour in parts and file.start == file.hour]
    verdicts = {}
    if served:
        frame = pl.concat([parts[file.hour] for file in served])
        verdicts = gate(table, frame, [PartitionWindow(file.hour, file.end) for file in served], holes)
    return {
        file.hour: _facts(
            table,
            file,
            parts.get(file.hour, rows.clear()),
            digest,
            holes,
            sound=passes(verdicts.get(file.hour, _NOT_JUDGED)),
        )
        for file in files
    }


def _sound(
    table: Table, files: Sequence[AuditedFile], contents: dict[datetime, bytes], holes: Sequence[KnownHole]
) -> dict[datetime, FileFacts]:
    """Facts of those files that have nothing wrong, read in one scan; empty when a file does not read."""
    if not files:
        return {}
    try:
        rows = pl.scan_parquet(
            [file.path for file in files], glob=False, hive_partitioning=False, include_file_paths=_FILE
        ).collect()
    except _UNREADABLE:
        return {}
    time = pl.col(table.layout.time_column)
    stats = rows.group_by(_FILE).agg(pl.len(), time.min().alias("first"), time.max().alias("last"))
    by_path = {path: rest for path, *rest in stats.iter_rows()}
    inside = [f for f in files if str(f.path) in by_path and _within(f, by_path[str(f.path)])]
    if len(inside) < len(files):
        rows = rows.filter(pl.col(_FILE).is_in([str(file.path) for file in inside]))
    # A chunk per file would cost the gate five times as much.
    verdicts = gate(table, rows.drop(_FILE).rechunk(), [PartitionWindow(file.hour, file.end) for file in inside], holes)
    found = {}
    for file in inside:
        if passes(verdicts[file.hour]):
            count, first, last = by_path[str(file.path)]
            # The gate lets no minute through twice, and none from outside the window.
            found[file.hour] = FileFacts(_sha256(contents[file.hour]), count, count, first, last, ())
    return found


def _within(file: AuditedFile, stats: Iterable[object]) -> bool:
    _, first, last = stats
    return isinstance(first, datetime) and isinstance(last, datetime) and file.hour <= first and last < file.end


def _alone(table: Table, file: AuditedFile, content: bytes, holes: Sequence[KnownHole]) -> FileFacts:
    digest = _sha256(content)
    rows = _read(content, digest)
    if isinstance(rows, FileFacts):
        return rows
    # The gate knows of rows that may be absent; what another version wrote differs in its footer alone.
    due = _due_rows(table, file, rows)
    judged = due.height and file.start == file.hour
    verdicts = gate(table, due, [PartitionWindow(file.hour, file.end)], holes) if judged else {}
    return _facts(table, file, rows, digest, holes, sound=passes(verdicts.get(file.hour, _NOT_JUDGED)))


def _due_rows(table: Table, file: AuditedFile, rows: pl.DataFrame) -> pl.DataFrame:
    """Rows but those of the partition that need not be there yet."""
    time = table.layout.time_column
    if rows.schema.get(time) != table.polars_schema[time]:
        return rows
    newer = within(time, file.end, file.hour + table.layout.step).fill_null(value=False)
    return rows.filter(~newer)


def _read(content: bytes, digest: str) -> pl.DataFrame | FileFacts:
    try:
        return pl.read_parquet(io.BytesIO(content), glob=False, hive_partitioning=False)
    except _UNREADABLE as error:
        return FileFacts(digest, -1, 0, None, None, (f"unreadable_parquet:{type(error).__name__}",))


def _facts(
    table: Table, file: AuditedFile, rows: pl.DataFrame, digest: str, holes: Sequence[KnownHole], *, sound: bool
) -> FileFacts:
    codes = [] if sound else partition_audit(table, rows, file.hour, file.start, file.end, holes=holes)
    first = last = None
    minutes = 0
    if _has_times(table, rows) and rows.height:
        time = pl.col(table.layout.time_column)
        first, last = rows.select(time.min().alias("a"), time.max().alias("b")).row(0)
        inside = within(time, file.start, file.end) & (time == time.dt.truncate(table.layout.grain))
        minutes = rows.filter(inside)[table.layout.time_column].n_unique()
    return FileFacts(digest, rows.height, minutes, first, last, tuple(code for code in codes if code != "ok"))


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _footer(content: bytes) -> bytes:
    """The file's metadata: they end with its length (4 bytes, little-endian) and the magic."""
    if content[-4:] != _MAGIC:
        return b""
    length = int.from_bytes(content[-_TAIL_BYTES:-4], "little")
    return content[-_TAIL_BYTES - length : -_TAIL_BYTES]


@cache
def _schema_bytes(table: Table) -> bytes:
    """How a footer of exactly the declared columns begins.

    Format version and schema come first in it, the number of rows next: what the footers of files of no row and of one
    row share is the schema. Comparing it costs a hundredth of parsing the footer.
    """
    empty = table.empty()
    frames = empty, pl.DataFrame([[None]] * empty.width, schema=empty.schema)
    empty_footer, other = (_footer(bytes(encoded(frame, {}, table.layout.form))) for frame in frames)
    same = next(index for index, pair in enumerate(zip(empty_footer, other, strict=False)) if pair[0] != pair[1])
    return empty_footer[:same]


def _has_times(table: Table, rows: pl.DataFrame) -> bool:
    time = table.layout.time_column
    return rows.schema.get(time) == table.polars_schema[time]
