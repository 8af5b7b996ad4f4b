"""Files of a lake in a directory that all of its writers see: this machine's, or one that hosts mount.

Belongs here: the local side of the port `file_store`. Does not belong here: commits by rename (`commit`).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from uuid import uuid4

from lake_resources.storage.bucket import Listed
from lake_resources.storage.catalog import LakePaths
from lake_resources.storage.disk import disk_errors, file_time, fsync_dirs, fsync_file, make_dirs
from lake_resources.storage.file_store import Placed, Tagged
from lake_resources.storage.hashing import file_hash
from lake_resources.storage.ledger.identity import known_files
from lake_resources.storage.locks import writer_lock


class FilesHere:
    """Files below a directory.

    Args:
        root: directory of the lake.
    """

    needs_server = False

    def __init__(self, root: Path) -> None:
        self.root = root
        self._paths = LakePaths(root)

    def uri(self, path: str) -> str:
        """A `file://` URI, percent-encoded."""
        return self.here(path).as_uri()

    def here(self, path: str) -> Path:
        """The file itself."""
        return self._paths.absolute(path)

    def here_all(self, paths: Sequence[str], *, anew: bool = False) -> list[Path]:  # noqa: ARG002 - these are the files
        """The files themselves."""
        return [self._paths.absolute(path) for path in paths]

    def sizes(self, paths: Sequence[str]) -> dict[str, int]:
        """Bytes of each file that is there."""
        found = {}
        for path in paths:
            with suppress(FileNotFoundError):
                found[path] = self.here(path).stat().st_size
        return found

    def is_intact(self, path: str, content_hash: str, size_bytes: int) -> bool:  # noqa: ARG002 - the hash says more
        """Whether the file has its hash; one that is as it was at an earlier look is not read again."""
        file = self.here(path)
        if not file.is_file():
            return False
        found = file.stat()
        return _hash_of(file, (found.st_ino, found.st_size, found.st_mtime_ns)) == content_hash

    def publish(self, files: Sequence[Placed]) -> list[Placed]:
        """Give files their names by links; one that is there is touched, so that no collector takes it for old."""
        placed = [(each, self.here(each[1])) for each in files]
        taken = []
        with disk_errors(f"publish {len(placed)} file(s) to {placed[0][1] if placed else '-'}"):
            changed = [directory for _, path in placed for directory in make_dirs(path.parent)]
            for each, path in placed:
                if not _place(each[0].temp_path, path, each[0].content_hash):
                    taken.append(each)
                changed.append(path.parent)
            fsync_dirs(changed)
        return taken

    def remove(self, paths: Sequence[str]) -> None:
        """Remove files, and the directories that are empty then."""
        with disk_errors(f"remove {len(paths)} files"):
            for path in paths:
                file = self.here(path)
                file.unlink(missing_ok=True)
                for directory in file.parents:
                    if directory == self.root or not directory.is_dir() or any(directory.iterdir()):
                        break
                    with suppress(OSError):  # a writer has put a file there since
                        directory.rmdir()

    def remove_old(self, path: str, latest: float) -> bool:
        """Take a file aside, look at its time once more, and put it back where it was written since."""
        file, aside = self.here(path), self._paths.temp_dir / f"garbage-{uuid4().hex}"
        with disk_errors(f"remove {path}"):
            try:
                file.rename(aside)
            except FileNotFoundError:
                return False
            is_old = aside.stat().st_mtime <= latest
            if not is_old:
                with suppress(FileExistsError):  # its writer has put it there again
                    os.link(aside, file)
            aside.unlink()
            return is_old

    def drop_copies(self, directory: str, grace_s: float) -> int:  # noqa: ARG002 - there are no copies
        """None."""
        return 0

    def listed(self, directory: str) -> Iterator[Listed]:
        """All Parquet files below a directory."""
        for file in self.here(directory).rglob("*.parquet"):
            with suppress(FileNotFoundError):
                found = file.stat()
                yield Listed(self._paths.relative(file), found.st_size, found.st_mtime)

    def now(self) -> float:
        """Seconds since 1970 by the clock of the file system."""
        with disk_errors(f"write {self._paths.temp_dir}"):
            self._paths.temp_dir.mkdir(parents=True, exist_ok=True)
            return file_time(self._paths.temp_dir)

    def holding(self) -> str | None:
        """Path of some file that a ledger has a row of."""
        found = next(known_files(self.root), None)
        return None if found is None else self._paths.relative(found)

    def read(self, path: str) -> Tagged | None:
        """A small file; its tag is its hash."""
        file = self.here(path)
        with disk_errors(f"read {file}"):
            try:
                data = file.read_bytes()
            except FileNotFoundError:
                return None
        return Tagged(data, hashlib.sha256(data).hexdigest())

    def create(self, path: str, data: bytes) -> bool:
        """Write a file where there is none: a link never replaces."""
        return self._write(path, data, replace=False)

    def replace(self, path: str, data: bytes, tag: str) -> bool:
        """Write a file in place of the one that has a tag, one writer at a time."""
        with writer_lock(self._paths.replace_lock_path):
            found = self.read(path)
            return found is not None and found.tag == tag and self._write(path, data, replace=True)

    def require_conditions(self, path: str, data: bytes) -> None:
        """Nothing to refuse: what a link and a lock file do is the kernel's word."""

    def _write(self, path: str, data: bytes, *, replace: bool) -> bool:
        file = self.here(path)
        temp = file.with_name(f".{file.name[:40]}-{uuid4().hex}")
        with disk_errors(f"write {file}"):
            changed = make_dirs(file.parent)
            try:
                temp.write_bytes(data)
                fsync_file(temp)
                if replace:
                    temp.replace(file)
                else:
                    os.link(temp, file)
            except FileExistsError:
                return False
            finally:
                temp.unlink(missing_ok=True)
            fsync_dirs([*changed, file.parent])
        return True


def _place(temp: Path, path: Path, content_hash: str) -> bool:
    """Whether nothing had the name."""
    try:
        os.link(temp, path)
    except FileExistsError:
        with suppress(FileNotFoundError):  # a collector of garbage was faster: it is placed below
            os.utime(path)
            if file_hash(path) == content_hash:
                return False
        spare = temp.with_suffix(".again")
        os.link(temp, spare)
        spare.replace(path)
        return False
    return True


@lru_cache(maxsize=1024)
def _hash_of(path: Path, _as_it_is: tuple[int, int, int]) -> str:
    """A month file is asked about once per partition in it."""
    return file_hash(path)
