"""Parquet files that appear whole or not at all.

Belongs here: staging a frame (or a stream of frames) into a temp file, verifying it, publishing it by a rename; rows of
files that a process wants again and again.
Does not belong here: which path a file gets (`catalog`), and what is recorded about it (`ledger`, `commit`).
Equal frames and metadata give equal bytes: the content hash tells whether anything changed.
"""

from __future__ import annotations

import hashlib
import io
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from lake_resources.errors import StorageError
from lake_resources.layout import FileForm
from lake_resources.storage.disk import disk_errors, fsync_dirs, fsync_file, make_dirs
from lake_resources.storage.hashing import file_hash

ROW_GROUP_ROWS = 131_072
_STAGING_THREADS = 2
_VALUE_BYTES = 8
Stamp = tuple[int, int, int]
"""Inode, bytes, and when it was written last, nanoseconds."""


@dataclass(frozen=True)
class StagedFile:
    """A finished temp file.

    Attributes:
        temp_path: where it lies until it is published or discarded.
        content_hash: sha256 of its bytes, hexadecimal.
        size_bytes: its length.
        row_count: its rows.
    """

    temp_path: Path
    content_hash: str
    size_bytes: int
    row_count: int

    def publish(self, path: Path) -> Path:
        """Give the file its final name and make the name durable; replaces what was there in one step."""
        publish_all([(self, path)])
        return path

    def discard(self) -> None:
        """Remove the temp file; harmless after `publish`."""
        self.temp_path.unlink(missing_ok=True)


def publish_all(files: Sequence[tuple[StagedFile, Path]]) -> None:
    """Publish several staged files: all directories first, then all renames, then one fsync per directory.

    Raises:
        DiskFull: no space for a directory entry. Files renamed before stay renamed.
    """
    with disk_errors(f"publish {len(files)} file(s) to {files[0][1] if files else '-'}"):
        changed = [directory for _, path in files for directory in make_dirs(path.parent)]
        for staged, path in files:
            staged.temp_path.rename(path)
            changed.append(path.parent)
        fsync_dirs(changed)


def publish_told(files: Sequence[tuple[StagedFile, Path]], told: tuple[StagedFile, Path]) -> None:
    """Publish files, and one that tells what they are: while they are replaced there is none that tells of others.

    Raises:
        DiskFull: no space for a directory entry. Files renamed before stay renamed, and nothing tells of them.
    """
    with disk_errors(f"publish {told[1]}"):
        if any(not path.exists() or file_hash(path) != staged.content_hash for staged, path in files):
            told[1].unlink(missing_ok=True)
    publish_all([*files, told])


def stage(
    frame: pl.DataFrame,
    temp_dir: Path,
    metadata: Mapping[str, str],
    *,
    row_group_rows: int | None = None,
    form: FileForm = "small",
) -> StagedFile:
    """Write one frame into a durable temp file and verify what lies on the disk.

    Args:
        frame: any frame that fits in memory twice.
        temp_dir: directory on the file system of the final path.
        metadata: key-value metadata of the file; order does not matter.
        row_group_rows: rows per row group, default polars' own choice.
        form: what the file is made for.

    Raises:
        DiskFull: no space; no temp file is left.
        StorageError: the file read back is not the frame.
    """
    return stage_all([(frame, metadata)], temp_dir, row_group_rows=row_group_rows, form=form)[0]


def stage_all(
    frames: Sequence[tuple[pl.DataFrame, Mapping[str, str]]],
    temp_dir: Path,
    *,
    row_group_rows: int | None = None,
    form: FileForm = "small",
) -> list[StagedFile]:
    """Stage several frames, writing all before the first fsync: the disk then flushes them together.

    Raises:
        DiskFull: no space; no temp file is left.
        StorageError: a file read back is not its frame.
    """
    paths = [temp_dir / f"{uuid4().hex}.parquet" for _ in frames]
    try:
        with disk_errors(f"stage {len(frames)} file(s) in {temp_dir}"):
            temp_dir.mkdir(parents=True, exist_ok=True)
            if len(frames) == 1:  # as every answer of REST for an open hour: threads would cost more than they bring
                digest = _write(frames[0], paths[0], row_group_rows, form)
                return [_flushed(paths[0], digest, frames[0])]
            with ThreadPoolExecutor(_STAGING_THREADS) as pool:  # encoding and fsync both leave the interpreter
                hashes = list(pool.map(_write, frames, paths, repeat(row_group_rows), repeat(form)))
                return list(pool.map(_flushed, paths, hashes, frames))
    except BaseException:
        for path in paths:
            path.unlink(missing_ok=True)
        raise


def _write(
    content: tuple[pl.DataFrame, Mapping[str, str]], path: Path, row_group_rows: int | None, form: FileForm
) -> str:
    frame, metadata = content
    data = encoded(frame, metadata, form, row_group_rows=row_group_rows)
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def encoded(
    frame: pl.DataFrame, metadata: Mapping[str, str], form: FileForm, *, row_group_rows: int | None = None
) -> memoryview:
    """The bytes of a frame as a Parquet file of a form; equal frames and metadata give equal bytes.

    Args:
        frame: any frame.
        metadata: key-value metadata of the file; order does not matter.
        form: what the file is made for.
        row_group_rows: rows per row group, by default the writer's choice.
    """
    buffer = io.BytesIO()
    told = dict(sorted(metadata.items()))
    if form == "quick":
        _write_quick(frame, buffer, told, row_group_rows or max(1, frame.height))
    else:
        frame.write_parquet(buffer, compression="zstd", row_group_size=row_group_rows, metadata=told)
    return buffer.getbuffer()


def _write_quick(frame: pl.DataFrame, buffer: io.BytesIO, metadata: Mapping[str, str], row_group_rows: int) -> None:
    """By dictionary are the columns of which a quarter of the values at most are distinct."""
    pq.write_table(
        _arrow(frame).replace_schema_metadata(dict(metadata)),
        buffer,
        compression="none",
        row_group_size=row_group_rows,
        dictionary_pagesize_limit=max(1, min(frame.height, row_group_rows) // 4) * _VALUE_BYTES,
        **_encodings(frame.schema),
    )


def _flushed(path: Path, digest: str, content: tuple[pl.DataFrame, Mapping[str, str]]) -> StagedFile:
    fsync_file(path)
    return _verified(path, digest, content[0])


def _verified(path: Path, digest: str, frame: pl.DataFrame) -> StagedFile:
    content = path.read_bytes()
    rows = pq.read_metadata(pa.BufferReader(content)).num_rows
    schema = pl.read_parquet_schema(io.BytesIO(content))
    same_schema = list(schema) == frame.columns and list(schema.values()) == frame.dtypes
    if hashlib.sha256(content).hexdigest() != digest or rows != frame.height or not same_schema:
        raise StorageError(
            f"staged file {path}: read back {rows} rows × {len(schema)} columns, wrote {frame.height} × {frame.width}",
            remedy="Check the disk (dmesg, SMART), then materialize the partition again",
        )
    return StagedFile(path, digest, len(content), rows)


class StagingWriter:
    """A temp file written frame by frame, in bounded memory.

    Row groups are cut at a fixed number of rows, so the bytes do not depend on how the rows were chunked.
    As a context manager it removes the temp file unless `finish` was reached.

    Args:
        temp_dir: directory on the file system of the final path.
        schema: polars schema of every frame.
        metadata: key-value metadata of the file.
        row_group_rows: rows per row group; as many are kept in memory.
        bounded: columns whose least and largest value are noted per row group, for readers that skip by them; all of
            them by default.
    """

    def __init__(
        self,
        temp_dir: Path,
        schema: Mapping[str, pl.DataType],
        metadata: Mapping[str, str],
        *,
        row_group_rows: int = ROW_GROUP_ROWS,
        bounded: Sequence[str] | None = None,
    ) -> None:
        self._schema = pl.Schema(schema)
        self._rows_per_group = row_group_rows
        self._pending: list[pl.DataFrame] = []
        self._pending_rows = 0
        self._rows = 0
        self._finished = False
        self._path = temp_dir / f"{uuid4().hex}.parquet"
        self._metadata = dict(metadata)
        self._arrow = _arrow(pl.DataFrame(schema=self._schema)).schema
        with disk_errors(f"stage {self._path}"):
            temp_dir.mkdir(parents=True, exist_ok=True)
            try:
                self._writer = pq.ParquetWriter(
                    self._path,
                    self._arrow,
                    compression="zstd",
                    write_statistics=True if bounded is None else list(bounded),
                    **_encodings(self._schema),
                )
            except BaseException:  # a full disk has room for the file's name, but not for its first bytes
                self._path.unlink(missing_ok=True)
                raise

    def write(self, frame: pl.DataFrame) -> None:
        """Append rows.

        Raises:
            DiskFull: no space; the temp file is removed.
            StorageError: the frame has another schema.
        """
        if frame.schema != self._schema:
            self.discard()
            raise StorageError(
                f"staged file {self._path}: a frame has {dict(frame.schema)}, expected {dict(self._schema)}",
                remedy="Cast the frame to the stream's declared columns first",
            )
        self._pending.append(frame)
        self._pending_rows += frame.height
        if self._pending_rows < self._rows_per_group:
            return
        rows = pl.concat(self._pending, rechunk=False)
        whole = rows.height - rows.height % self._rows_per_group
        for offset in range(0, whole, self._rows_per_group):
            self._write_group(rows.slice(offset, self._rows_per_group))
        self._pending = [rows.slice(whole)]
        self._pending_rows = rows.height - whole

    def finish(self, metadata: Mapping[str, str] | None = None) -> StagedFile:
        """Close, flush to the disk and hash.

        Args:
            metadata: more key-value metadata, known only now.

        Raises:
            DiskFull: no space; the temp file is removed.
            StorageError: the footer read back does not hold the rows written.
        """
        if self._pending_rows:
            self._write_group(pl.concat(self._pending, rechunk=False))
        self._pending = []
        with self._guard():
            self._writer.add_key_value_metadata(dict(sorted((self._metadata | dict(metadata or {})).items())))
            self._writer.close()
            fsync_file(self._path)
            rows = pq.read_metadata(self._path).num_rows
            if rows != self._rows:
                raise StorageError(
                    f"staged file {self._path}: footer says {rows} rows, wrote {self._rows}",
                    remedy="Check the disk (dmesg, SMART), then materialize the partition again",
                )
            staged = StagedFile(self._path, file_hash(self._path), self._path.stat().st_size, rows)
        self._finished = True
        return staged

    def discard(self) -> None:
        """Give up: close and remove the temp file."""
        try:
            with suppress(OSError):  # the footer no longer fits on a full disk, and the file goes away anyway
                self._writer.close()
        finally:
            self._path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._finished:
            self.discard()

    def _write_group(self, rows: pl.DataFrame) -> None:
        with self._guard():
            self._writer.write_table(_arrow(rows), row_group_size=self._rows_per_group)
        self._rows += rows.height

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            with disk_errors(f"stage {self._path}"):
                yield
        except BaseException:
            self.discard()
            raise


def _encodings(schema: pl.Schema) -> dict[str, Any]:
    """Ids and times as differences, everything else by dictionary.

    Against the writer's defaults, which try a dictionary on ids too: a third of the CPU, and fewer bytes.
    """
    steps = [name for name, dtype in schema.items() if dtype.is_integer() or dtype.is_temporal()]
    return {
        "use_dictionary": [name for name in schema if name not in steps],
        "column_encoding": dict.fromkeys(steps, "DELTA_BINARY_PACKED"),
    }


def _arrow(frame: pl.DataFrame) -> pa.Table:
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest())


class KeptFrames:
    """Rows of files that this process wrote or read last; of a file that somebody changed since there are none.

    Args:
        files: how many are kept at most.
    """

    def __init__(self, files: int) -> None:
        self._files = files
        self._frames: OrderedDict[Path, tuple[Stamp, pl.DataFrame]] = OrderedDict()
        self._guard = Lock()

    def keep(self, path: Path, rows: pl.DataFrame, stamp: Stamp | None = None) -> None:
        """Keep the rows of a file, in place of those of the one that was wanted longest ago.

        Args:
            path: of the file.
            rows: what it holds.
            stamp: `stamp_of` the file before it was read; None where it was just published.
        """
        found = stamp_of(path) if stamp is None else stamp
        with self._guard:
            self._frames[path] = found, rows
            self._frames.move_to_end(path)
            while len(self._frames) > self._files:
                self._frames.popitem(last=False)

    def forget(self, path: Path) -> None:
        """Drop the rows of a file that nobody will want again; harmless where there are none."""
        with self._guard:
            self._frames.pop(path, None)

    def get(self, path: Path) -> pl.DataFrame | None:
        """Rows of a file, or None."""
        with self._guard:
            found = self._frames.get(path)
            if found is None:
                return None
            self._frames.move_to_end(path)
        try:
            return found[1] if found[0] == stamp_of(path) else None
        except FileNotFoundError:
            return None


def stamp_of(path: Path) -> Stamp:
    """Another one as soon as the file was replaced or written.

    Raises:
        FileNotFoundError: there is none.
    """
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns
