"""Bytes by relative path below a directory of this machine, or below a bucket of an S3 service.

Belongs here: one form of reading, writing, removing and listing for both; each write is whole or not there.
Does not belong here: what the bytes are (`raw_store`, the manifest), the ledger and locks, which are always local.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Protocol
from uuid import uuid4

from lake_resources.data_root import BUCKET
from lake_resources.errors import StorageError
from lake_resources.storage.bucket import BUCKET_REMEDY, Bucket
from lake_resources.storage.disk import disk_errors, fsync_dirs, fsync_file, make_dirs


class Blobs(Protocol):
    """Bytes by relative path; every path has `/` and stays below the root."""

    def where(self, path: str) -> str:
        """The path as people find it: of the file, or the URL."""

    def read(self, path: str) -> bytes:
        """The bytes.

        Raises:
            StorageError: they are not there or cannot be read.
        """

    def write_parts(self, path: str, parts: Iterable[bytes]) -> None:
        """The same as `write` for what is too large to be held as a whole; what was there before is replaced."""

    def write(self, path: str, data: bytes, *, create: bool = False) -> None:
        """Write in one step: a reader sees what was there before, or all of this.

        Args:
            path: where.
            data: the bytes.
            create: refuse to replace other bytes that are there; the same bytes are no error.

        Raises:
            DiskFull, StorageError: it cannot be written, or other bytes are there; those stay.
        """

    def remove(self, path: str) -> None:
        """Remove; what is gone already is no error."""

    def names(self, directory: str) -> list[str]:
        """Paths of the files directly in a directory (empty: the root), in order; none where it is not there."""


def open_blobs(root: Path | str) -> Blobs:
    """The bytes below a directory, or below `s3://bucket/prefix`.

    Raises:
        SettingsError: the URL names no bucket.
    """
    if isinstance(root, str) and root.startswith(BUCKET):
        return BucketBlobs(root)
    return LocalBlobs(Path(root))


class LocalBlobs:
    """Files below a directory: a temporary file, fsync, rename, fsync of the directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def where(self, path: str) -> str:
        """The file of a relative path.

        Raises:
            ValueError: the path would leave the root.
        """
        return str(self._file(path))

    def read(self, path: str) -> bytes:
        """The bytes of a file."""
        with disk_errors(f"read {path}"):
            return self._file(path).read_bytes()

    def write(self, path: str, data: bytes, *, create: bool = False) -> None:
        """A file in one step."""
        self._put(path, [data], data if create else None)

    def write_parts(self, path: str, parts: Iterable[bytes]) -> None:
        """A large file in one step."""
        self._put(path, parts, None)

    def _put(self, path: str, parts: Iterable[bytes], new: bytes | None) -> None:
        file = self._file(path)
        temp = file.with_name(f".{file.name[:40]}-{uuid4().hex}")
        with disk_errors(f"write {file}"):
            fsync_dirs(make_dirs(file.parent))
            try:
                with temp.open("wb") as opened:
                    opened.writelines(parts)
                fsync_file(temp)
                if new is not None:
                    _link(temp, file, new)
                else:
                    temp.replace(file)
            finally:
                temp.unlink(missing_ok=True)
            fsync_dirs([file.parent])

    def remove(self, path: str) -> None:
        """Remove a file."""
        with disk_errors(f"remove {path}"):
            self._file(path).unlink(missing_ok=True)

    def names(self, directory: str) -> list[str]:
        """Files of a directory; temporary ones are none."""
        found = self._file(directory)
        if not found.is_dir():
            return []
        names = (path.name for path in found.iterdir() if path.is_file())
        return sorted(str(PurePosixPath(directory, name)) for name in names if not name.startswith("."))

    def _file(self, path: str) -> Path:
        relative = PurePosixPath(path)
        if relative.is_absolute() or ".." in relative.parts:
            raise ValueError(f"path {path!r} leaves {self.root}")
        return self.root / relative


class BucketBlobs:
    """Objects of a bucket."""

    def __init__(self, url: str) -> None:
        self._bucket = Bucket(url)
        self.url = self._bucket.url

    def where(self, path: str) -> str:
        """URL of an object."""
        return f"{self.url}/{path}"

    def read(self, path: str) -> bytes:
        """The bytes of an object.

        Raises:
            StorageError: it is not there.
        """
        found = self._bucket.get(path)
        if found is None:
            raise StorageError(f"{self.where(path)}: there is no such object", remedy=BUCKET_REMEDY)
        return found[0]

    def write(self, path: str, data: bytes, *, create: bool = False) -> None:
        """An object in one step."""
        if not create:
            self._bucket.put(path, data)
        elif not self._bucket.create(path, data) and self.read(path) != data:
            raise _other_bytes(self.where(path))

    def write_parts(self, path: str, parts: Iterable[bytes]) -> None:
        """A large object in one step: it is there once its last part is."""
        self._bucket.put(path, parts)

    def remove(self, path: str) -> None:
        """Remove an object."""
        self._bucket.remove(path)

    def names(self, directory: str) -> list[str]:
        """Objects below a prefix, without those of deeper ones."""
        return self._bucket.names(directory)


def _link(temp: Path, file: Path, data: bytes) -> None:
    """Give a file its name where nothing has it; unlike a rename, a link never replaces."""
    try:
        os.link(temp, file)
    except FileExistsError:
        if file.read_bytes() != data:
            raise _other_bytes(str(file)) from None


def _other_bytes(where: str) -> StorageError:
    return StorageError(f"{where} exists with other bytes", remedy="Nothing was replaced; `lake slices verify` looks")
