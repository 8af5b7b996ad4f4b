"""The few calls that make bytes durable, and their errors.

Belongs here: fsync of files and directories, and the translation of the system's disk errors into the lake's.
Does not belong here: any file format.
"""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import polars as pl

from lake_resources.errors import DiskFull, StorageError

_FLUSHES = 8
_FULL = {errno.ENOSPC, errno.EDQUOT}
_FULL_TEXTS = (
    "No space left on device", "Disk quota exceeded", "os error 28", "os error 122", "database or disk is full",
)  # fmt: skip
_FILE_TEXTS = ("File too large", "os error 27")
_HANDLE_TEXTS = ("Too many open files", "os error 24", "os error 23")
_NO_CAUSE_TEXT = "disk I/O error"
"""SQLite says no more than this of a write that the system refused, but for a disk without space."""
_LEAST_FREE = 1 << 20
_TEXTS = (*_FULL_TEXTS, *_FILE_TEXTS, *_HANDLE_TEXTS)


@contextmanager
def disk_errors(what: str) -> Iterator[None]:
    """Turn a failed disk operation inside into an error of the lake that names `what`.

    Raises:
        DiskFull: no space or quota is left, or the process may write no larger file, also where polars or pyarrow
            report it in an error of their own.
        StorageError: any other error of the system.
    """
    try:
        yield
    except (OSError, pl.exceptions.ComputeError) as error:
        if isinstance(error, OSError) or any(text in str(error) for text in _TEXTS):
            raise of_disk(what, error) from error
        raise


def of_disk(what: str, error: OSError | pl.exceptions.ComputeError) -> StorageError:
    """What an error of the system means to the lake; `what` was being done."""
    number, text = getattr(error, "errno", None), str(error)
    if number in _FULL or any(each in text for each in _FULL_TEXTS):
        return disk_full(what)
    if number == errno.EFBIG or any(each in text for each in _FILE_TEXTS):
        return _file_too_large(what)
    if number in (errno.EMFILE, errno.ENFILE) or any(each in text for each in _HANDLE_TEXTS):
        return StorageError(
            f"{what}: this process may open no more files",
            remedy="Raise the limit (`ulimit -n 4096`), then repeat; nothing committed is touched",
        )
    return StorageError(f"{what}: {error}", remedy="Check the disk and the permissions below the paths that are named")


def of_database(what: str, error: Exception, remedy: str) -> StorageError:
    """What an error of a database means to the lake: the disk, where its text says so, else `remedy` is given."""
    if any(text in str(error) for text in _TEXTS):
        return of_disk(what, OSError(str(error)))
    return StorageError(f"{what}: {error}", remedy=remedy)


def of_sqlite(what: str, error: Exception, directory: Path, remedy: str) -> StorageError:
    """What an error of SQLite means to the lake: the disk or a limit of this process, else the remedy that is given.

    Args:
        what: was being done.
        error: as SQLite, or SQLAlchemy above it, raised it.
        directory: where the database's files lie; its free space is looked at where SQLite does not tell the cause.
        remedy: for every other error.
    """
    if _NO_CAUSE_TEXT in str(error):
        if resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY:
            return _file_too_large(what)
        if _free_bytes(directory) < _LEAST_FREE:
            return disk_full(what)
    # SQLAlchemy's own text shows the statement and a link, too.
    return of_database(what, getattr(error, "orig", None) or error, remedy)


def _free_bytes(directory: Path) -> int:
    try:
        found = os.statvfs(directory)
    except OSError:
        return _LEAST_FREE  # not known, so nothing is said of it
    return found.f_bavail * found.f_frsize


def _file_too_large(what: str) -> DiskFull:
    return DiskFull(
        f"{what}: no space in a file of the size that this process may write; nothing committed is touched",
        remedy="Free the limit (`ulimit -f unlimited`), or use a file system that takes larger files",
    )


def disk_full(what: str) -> DiskFull:
    """The error for a disk without space."""
    return DiskFull(
        f"{what}: no space left on the disk; nothing that was committed is touched",
        remedy="Free space below the lake's root (`LAKE_ROOT`), then materialize the partition again",
    )


def replace_text(path: Path, text: str) -> None:
    """Write a text file in one step, as UTF-8, as `replace_bytes` does."""
    replace_bytes(path, text.encode())


def replace_bytes(path: Path, content: bytes) -> None:
    """Write a file in one step, its directory too where absent: a reader sees the old one or the new one.

    Raises:
        DiskFull, StorageError: it cannot be written; the old one stays.
    """
    temp = path.with_name(f".{path.name}-{uuid4().hex}")
    with disk_errors(f"write {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temp.write_bytes(content)
            temp.replace(path)
        finally:
            temp.unlink(missing_ok=True)


def fsync_file(path: Path) -> None:
    """Flush one file's bytes to the disk."""
    _fsync(path, os.O_RDONLY)


def fsync_dirs(directories: Iterable[Path]) -> None:
    """Flush directory entries (names, renames) to the disk, each directory once.

    Side by side: each call waits for a flush of the whole device, and the system joins those that wait together.
    """
    once = list(dict.fromkeys(directories))
    if len(once) == 1:
        _fsync_dir(once[0])
    elif once:
        with ThreadPoolExecutor(min(len(once), _FLUSHES)) as pool:
            list(pool.map(_fsync_dir, once))


def make_dirs(directory: Path) -> list[Path]:
    """Create `directory` and its parents; returns the directories that received a new entry, for `fsync_dirs`."""
    changed: list[Path] = []
    missing = []
    while not directory.is_dir():
        missing.append(directory)
        directory = directory.parent
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        changed.append(path.parent)
    return changed


def file_time(directory: Path) -> float:
    """Now, by the clock of the file system that also stamps files: an injected clock may stand anywhere."""
    probe = directory / f"{uuid4().hex}.probe"
    probe.touch()
    try:
        return probe.stat().st_mtime
    finally:
        probe.unlink()


def _fsync_dir(directory: Path) -> None:
    _fsync(directory, os.O_RDONLY | os.O_DIRECTORY)


def _fsync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
