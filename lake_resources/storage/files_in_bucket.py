"""Files of a lake in a bucket of an S3-compatible service, with copies on this host.

Belongs here: the remote side of the port `file_store`. Does not belong here: requests and their errors (`bucket`).

What is read is fetched whole, once, into the root of this host, and is read there by every engine: a file never
changes, so its copy is true for ever. Copies may be removed at any time.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

from lake_resources.errors import SettingsError, StoreUnreachable
from lake_resources.storage.bucket import Bucket, Listed
from lake_resources.storage.catalog import LakePaths
from lake_resources.storage.disk import disk_errors, file_time, fsync_file
from lake_resources.storage.file_store import Placed, Tagged

_One = TypeVar("_One")
_Found = TypeVar("_Found")
_AT_ONCE = 16
_PUTS_AT_ONCE = 4
"""Each holds its file in memory."""
_TRIES = 8
_NAMED = re.compile(r"(?:/part-|_compacted/.*-)([0-9a-f]{12,64})\.parquet$")
"""Names that hold the hash of the file's bytes, or its beginning; those of archives hold that of the zip."""


class FilesInBucket:
    """Objects below a prefix of a bucket.

    Args:
        root: directory of this host for copies.
        url: `s3://bucket/prefix`.
    """

    needs_server = True

    def __init__(self, root: Path, url: str) -> None:
        self.root = root
        self._copies = LakePaths(root)
        self._bucket = Bucket(url)

    def uri(self, path: str) -> str:
        """The `s3://` URL, as it is."""
        return f"{self._bucket.url}/{path}"

    def here(self, path: str) -> Path:
        """The copy, fetched where it is not there yet; one with other bytes than its name says counts as lost."""
        copy = self._copies.absolute(path)
        if copy.is_file():
            return copy
        found = self._bucket.get(path)
        if found is not None and _is_named(path, found[0]):
            data = found[0]
            self._keep(copy, lambda temp: temp.write_bytes(data))
        return copy

    def here_all(self, paths: Sequence[str], *, anew: bool = False) -> list[Path]:
        """Copies, fetched side by side; a copy of what the bucket lost is removed where it is looked at anew."""
        copies = [self._copies.absolute(path) for path in paths]
        if anew:
            sizes = self.sizes(paths)
            for path, copy in zip(paths, copies, strict=True):
                if copy.is_file() and copy.stat().st_size != sizes.get(path):
                    copy.unlink(missing_ok=True)
        _side_by_side(self.here, [path for path, copy in zip(paths, copies, strict=True) if not copy.is_file()])
        return copies

    def sizes(self, paths: Sequence[str]) -> dict[str, int]:
        """Bytes of each object that is there."""
        found = _side_by_side(self._bucket.head, paths)
        return {each.path: each.size_bytes for each in found if each is not None}

    def is_intact(self, path: str, content_hash: str, size_bytes: int) -> bool:  # noqa: ARG002 - it would be fetched
        """Whether the object is there with its size: that its bytes stay what they were is the service's part."""
        found = self._bucket.head(path)
        return found is not None and found.size_bytes == size_bytes

    def publish(self, files: Sequence[Placed]) -> list[Placed]:
        """Create objects; the staged files become the copies."""
        new = _side_by_side(self._publish, files, _PUTS_AT_ONCE)
        for file, path in files:
            self._keep(self._copies.absolute(path), partial(os.link, file.temp_path))
        return [each for each, is_new in zip(files, new, strict=True) if not is_new]

    def remove(self, paths: Sequence[str]) -> None:
        """Remove objects and this host's copies."""
        _side_by_side(self._remove, paths)

    def remove_old(self, path: str, latest: float) -> bool:
        """Remove an object by its time."""
        found = self._bucket.head(path)
        if found is None or found.written_s > latest:
            return False
        self._remove(path)
        return True

    def drop_copies(self, directory: str, grace_s: float) -> int:
        """Remove copies, each of an object that is there with its size: anything else below the root is no copy."""
        with disk_errors(f"remove copies below {self.root}"):
            self._copies.temp_dir.mkdir(parents=True, exist_ok=True)
            latest = file_time(self._copies.temp_dir) - grace_s
            old: dict[str, int] = {}
            for file in self._copies.absolute(directory).rglob("*.parquet"):
                with suppress(FileNotFoundError):
                    found = file.stat()
                    if max(found.st_atime, found.st_mtime) <= latest:
                        old[self._copies.relative(file)] = found.st_size
            there = self.sizes(list(old))
            gone = [path for path, size in old.items() if there.get(path) == size]
            for path in gone:
                self._copies.absolute(path).unlink(missing_ok=True)
        return len(gone)

    def listed(self, directory: str) -> Iterator[Listed]:
        """All Parquet objects below a directory."""
        return (found for found in self._bucket.listed(directory) if found.path.endswith(".parquet"))

    def now(self) -> float:
        """Seconds since 1970 by the service's clock, whole.

        Raises:
            StoreUnreachable: an object that was put is not found.
        """
        probe = f".tmp/probe-{uuid4().hex}"
        self._bucket.create(probe, b"")
        found = self._bucket.head(probe)
        self._bucket.remove(probe)
        if found is None:
            raise StoreUnreachable(
                f"{self.uri(probe)}: an object that was put a moment ago is not found",
                remedy="Use a service that shows objects once they are put, as S3 does",
            )
        return found.written_s

    def holding(self) -> str | None:
        """Path of some object that a ledger has a row of."""
        return next((found.path for found in self.listed("") if "/symbol=" in found.path), None)

    def read(self, path: str) -> Tagged | None:
        """A small object."""
        found = self._bucket.get(path)
        return None if found is None else Tagged(*found)

    def create(self, path: str, data: bytes) -> bool:
        """Put an object where there is none."""
        return self._bucket.create(path, data)

    def replace(self, path: str, data: bytes, tag: str) -> bool:
        """Put an object in place of the one that has a tag."""
        return self._bucket.replace(path, data, tag)

    def require_conditions(self, path: str, data: bytes) -> None:
        """Two puts that must both be refused; where they are not, the same bytes stand there as before.

        Raises:
            SettingsError: one was not refused.
        """
        if self._bucket.create(path, data) or self._bucket.replace(path, data, '"stale"'):
            raise SettingsError(
                f"LAKE_STORE_URL: the server of {self._bucket.url} ignores conditions of puts, so that two writers "
                "would replace each other's files",
                remedy="Use a service that keeps `If-None-Match` and `If-Match` of a PUT (S3, MinIO, SeaweedFS, Ceph)",
            )

    def _publish(self, each: Placed) -> bool:
        file, path = each
        data = file.temp_path.read_bytes()
        if self._bucket.create(path, data):
            return True
        for _ in range(_TRIES):
            found = self._bucket.get(path)
            if found is None:  # a collector of garbage was faster
                if self._bucket.create(path, data):
                    return False
            # The same bytes, too, are put again: no collector of garbage then takes them for old ones.
            elif self._bucket.replace(path, data, found[1]):
                return False
        raise StoreUnreachable(
            f"{self.uri(path)}: other writers changed it each time it was put",
            remedy="Nothing was committed by this call; it can be repeated",
        )

    def _remove(self, path: str) -> None:
        self._bucket.remove(path)
        with disk_errors(f"remove {path}"):
            self._copies.absolute(path).unlink(missing_ok=True)

    def _keep(self, copy: Path, made: Callable[[Path], object]) -> None:
        """Put a copy in its place, whole: after a loss of power a torn one would be read for ever."""
        temp = self._copies.temp_dir / f"{uuid4().hex}.copy"
        with disk_errors(f"copy {copy}"):
            for directory in (temp.parent, copy.parent):
                directory.mkdir(parents=True, exist_ok=True)
            try:
                made(temp)
                fsync_file(temp)
                temp.replace(copy)
            finally:
                temp.unlink(missing_ok=True)


def _is_named(path: str, data: bytes) -> bool:
    """Whether bytes are those that the name says, where it says them."""
    named = _NAMED.search(path)
    return named is None or hashlib.sha256(data).hexdigest().startswith(named.group(1))


def _side_by_side(work: Callable[[_One], _Found], wanted: Sequence[_One], at_once: int = _AT_ONCE) -> list[_Found]:
    if len(wanted) < 2:
        return [work(each) for each in wanted]
    with ThreadPoolExecutor(min(len(wanted), at_once)) as pool:
        return list(pool.map(work, wanted))
