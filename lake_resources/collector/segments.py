"""Append-only files of raw records, one per minute of event time.

Belongs here: names, writing and fsync, closing by a rename, reading back in order, what a crash left, retention.
Does not belong here: bytes of a block (`segment_format`), what a record means.
`date=…/hour=…/MM-<seq>.seg` is closed, `.seg.open` is being written; late records of a closed minute get one more.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from lake_resources.binance.ws.frames import EVERY_SYMBOL, Frame
from lake_resources.collector.segment_format import (
    FILE_HEADER_BYTES,
    blocks,
    columns_of,
    file_header,
    inspect,
    pack_block,
    record_parts,
    records,
)
from lake_resources.storage.disk import disk_errors, fsync_dirs, make_dirs

CLOSED, OPEN = ".seg", ".seg.open"
_READ_BYTES = 1 << 16

Buffers = dict[tuple[int, str], list[bytes]]
"""(minute, symbol) → parts of records."""


@dataclass(frozen=True)
class Recovered:
    """What a crash left: files that were open, and the bytes of their torn tails."""

    files: int
    lost_bytes: int


@dataclass(frozen=True)
class Pruned:
    """What retention removed."""

    files: int
    size_bytes: int


@dataclass
class _OpenFile:
    path: Path
    file: FileIO


class SegmentWriter:
    """Writes records of any minute; the only writer of its directory.

    `add` and `take` belong to one thread, `write` and `close_before` to one other: between them only buffers travel.

    Args:
        root: directory of all segments.

    Attributes:
        buffered_bytes: payload in memory.
        oldest_ns: receive time of the first record in memory.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._buffers: Buffers = {}
        self._open: dict[int, _OpenFile] = {}
        self._records = 0
        self.buffered_bytes = 0
        self.oldest_ns = 0

    def add(self, seq: int, received_ns: int, conn: int, kind: int, symbol: str, minute: int, payload: bytes) -> None:
        """Take a record into memory."""
        if not self._records:
            self.oldest_ns = received_ns
        self._records += 1
        parts = self._buffers.get((minute, symbol))
        if parts is None:
            parts = self._buffers[minute, symbol] = []
        parts.extend(record_parts(seq, received_ns, conn, kind, payload))
        self.buffered_bytes += len(payload)

    def take(self) -> tuple[Buffers, int]:
        """What was added since the last call, and how many records that is."""
        taken = self._buffers, self._records
        self._buffers, self._records, self.buffered_bytes = {}, 0, 0
        return taken

    def write(self, buffers: Buffers, first_seq: int) -> None:
        """Append and fsync; durable when it returns.

        Args:
            buffers: from `take`.
            first_seq: any number that grows from call to call; it names new files.

        Raises:
            DiskFull: no space; what was durable before stays readable.
        """
        by_minute: dict[int, list[bytes]] = {}
        for (minute, symbol), parts in buffers.items():
            by_minute.setdefault(minute, []).append(pack_block(symbol, parts))
        with disk_errors(f"append to segments in {self._root}"):
            for minute, packed in by_minute.items():
                file = self._file(minute, first_seq).file
                _write_all(file, b"".join(packed))
            for minute in by_minute:
                os.fdatasync(self._open[minute].file.fileno())

    def close_before(self, minute: int | None) -> int:
        """Close the files of all minutes before `minute` (None: all) by renaming them; returns how many."""
        done = [opened for opened in self._open if minute is None or opened < minute]
        with disk_errors(f"close segments in {self._root}"):
            for opened in done:
                segment = self._open.pop(opened)
                segment.file.close()
                _publish(segment.path)
            fsync_dirs(_directory(self._root, opened) for opened in done)
        return len(done)

    def _file(self, minute: int, first_seq: int) -> _OpenFile:
        found = self._open.get(minute)
        if found is None:
            directory = _directory(self._root, minute)
            changed = make_dirs(directory)
            path = directory / f"{minute % 60:02d}-{first_seq:020d}{OPEN}"
            file = FileIO(path, "x")
            _write_all(file, file_header(minute))
            fsync_dirs([*changed, directory])
            found = self._open[minute] = _OpenFile(path, file)
        return found


def recover(root: Path) -> Recovered:
    """Cut the torn tails of files that a killed collector left open, and close them.

    Only for the one writer, before it writes.
    """
    files = lost = 0
    with disk_errors(f"recover segments in {root}"):
        for path in sorted(root.glob(f"date=*/hour=*/*{OPEN}")):
            found = inspect(path.read_bytes())
            lost += found.lost_bytes
            files += 1
            if found.good_bytes <= FILE_HEADER_BYTES:
                path.unlink()
                continue
            with path.open("r+b") as file:
                file.truncate(found.good_bytes)
                os.fsync(file.fileno())
            _publish(path)
    return Recovered(files, lost)


def read_records(
    root: Path, symbol: str | None, first_minute: int, end_minute: int, kinds: frozenset[int] | None = None
) -> Iterator[Frame]:
    """Records of a symbol (and those that belong to all symbols) in the order in which they were taken.

    Files that are being written may be read; their unfinished tail is left out.

    Args:
        root: directory of all segments.
        symbol: upper case; None for the records of everything.
        first_minute: epoch minutes.
        end_minute: first minute that is not read.
        kinds: only these kinds.
    """
    merged = heapq.merge(
        *(
            records_of_one
            for minute in range(first_minute, end_minute)
            for path in _files(root, minute)
            for records_of_one in _records(path, minute, symbol)
        )
    )
    if kinds is None:
        return merged
    return (frame for frame in merged if frame.kind in kinds)


@dataclass(frozen=True)
class RecordColumns:
    """Records of one kind, as columns of the same length; those of one minute's file are in the order of `seq`."""

    seq: list[int]
    received_ns: list[int]
    conn: list[int]
    payload: list[bytes]


def read_columns(
    root: Path, symbol: str, first_minute: int, end_minute: int, kinds: frozenset[int]
) -> dict[int, RecordColumns]:
    """Records of a symbol, and those that belong to all symbols, by kind: for who folds them all at once.

    Args:
        root: directory of all segments.
        symbol: upper case.
        first_minute: epoch minutes.
        end_minute: first minute that is not read.
        kinds: what is read.
    """
    found: dict[int, tuple[list[int], list[int], list[int], list[bytes]]] = {kind: ([], [], [], []) for kind in kinds}
    wanted = frozenset((EVERY_SYMBOL, symbol))
    for minute in range(first_minute, end_minute):
        for path in _files(root, minute):
            file = _opened(path)
            if file is None:
                continue
            with file:
                for _, body in blocks(file, wanted):
                    columns_of(body, found)
    return {kind: RecordColumns(*lists) for kind, lists in found.items()}


def newest_minute(root: Path) -> int | None:
    """Newest minute that has a file, epoch minutes."""
    for day in sorted(root.glob("date=*"), reverse=True):
        for hour in sorted(day.glob("hour=*"), reverse=True):
            names = sorted(hour.glob("*.seg*"), reverse=True)
            if names:
                return _minute_of(names[0])
    return None


def minutes_on_disk(root: Path) -> list[int]:
    """All minutes (epoch minutes) that have a file, in order."""
    return sorted({_minute_of(path) for path in root.glob("date=*/hour=*/*.seg*")})


def lately_written(root: Path, within_s: float) -> list[int]:
    """Minutes (epoch minutes) whose files were written in the last seconds before the very last write, in order."""
    written = {path: path.stat().st_mtime for path in root.glob("date=*/hour=*/*.seg*")}
    since = max(written.values(), default=0.0) - within_s
    return sorted({_minute_of(path) for path, at in written.items() if at >= since})


def prune(root: Path, now: datetime, max_age: timedelta, max_bytes: int) -> Pruned:
    """Remove closed files that are too old, then the oldest ones until the rest fits.

    Args:
        root: directory of all segments.
        now: the current instant.
        max_age: distance of event time to `now`.
        max_bytes: size of all files together.
    """
    oldest = int((now - max_age).timestamp()) // 60
    paths = sorted(root.glob(f"date=*/hour=*/*{CLOSED}"))
    sizes = {path: path.stat().st_size for path in paths}
    total = sum(sizes.values())
    removed: list[Path] = []
    for path in paths:
        if _minute_of(path) >= oldest and total <= max_bytes:
            break
        path.unlink(missing_ok=True)
        total -= sizes[path]
        removed.append(path)
    for directory in {path.parent for path in removed}:
        for empty in (directory, directory.parent):
            if not any(empty.iterdir()):
                empty.rmdir()
    return Pruned(len(removed), sum(sizes[path] for path in removed))


def _records(path: Path, minute: int, wanted: str | None) -> list[Iterator[Frame]]:
    """Each symbol's blocks are in order of `seq` by themselves, but not among each other."""
    if wanted is None:
        return [iter(sorted(_symbol_records(path, minute, None)))]
    shared = list(_symbol_records(path, minute, frozenset((EVERY_SYMBOL,))))  # few
    return [iter(shared), _symbol_records(path, minute, frozenset((wanted,)))]


def _symbol_records(path: Path, minute: int, wanted: frozenset[str] | None) -> Iterator[Frame]:
    file = _opened(path)
    if file is None:
        return
    with file:
        for symbol, body in blocks(file, wanted):
            yield from records(symbol, minute, body)


def _opened(path: Path) -> BinaryIO | None:
    """The file under its name or, where the writer closed it since the directory was listed, its final one."""
    for name in (path.name, path.name.removesuffix(".open")):
        with suppress(FileNotFoundError):  # retention may have taken it
            return path.with_name(name).open("rb", buffering=_READ_BYTES)
    return None


def _files(root: Path, minute: int) -> list[Path]:
    return sorted(_directory(root, minute).glob(f"{minute % 60:02d}-*.seg*"))


def _directory(root: Path, minute: int) -> Path:
    hour = datetime.fromtimestamp(minute * 60, UTC)
    return root / f"date={hour:%Y-%m-%d}" / f"hour={hour:%H}"


def _minute_of(path: Path) -> int:
    day, hour = path.parent.parent.name.removeprefix("date="), path.parent.name.removeprefix("hour=")
    start = datetime.fromisoformat(f"{day}T{hour}:{path.name[:2]}:00+00:00")
    return int(start.timestamp()) // 60


def _publish(path: Path) -> None:
    path.rename(path.with_name(path.name.removesuffix(".open")))


def _write_all(file: FileIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) or 0 :]
