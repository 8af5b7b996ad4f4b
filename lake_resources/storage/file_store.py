"""Where the Parquet files lie that rows of the ledger name: the port, and the choice by URL.

Belongs here: what storage needs of a place for files, which place a URL means. Does not belong here: either place
(`files_here`, `files_in_bucket`), which files there are (`catalog`), what is written into them (`parquet`).

A file's name holds the hash of what it was made of, so it is written once and never changes: a copy of it stays true.
Files that rename-commits replace (`commit`, over a ledger in a file) are those of this machine alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from os import getpid
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

from lake_resources.data_root import BUCKET
from lake_resources.storage.bucket import Listed

if TYPE_CHECKING:
    # Commands that only read the ledger come by here and need no Arrow.
    from lake_resources.storage.parquet import StagedFile

Placed: TypeAlias = "tuple[StagedFile, str]"
"""A staged file, and its path in the store."""


class Tagged(NamedTuple):
    """Bytes, and the tag by which they are replaced."""

    data: bytes
    tag: str


class FileStore(Protocol):
    """Files by path relative to the lake's root, with `/`.

    Attributes:
        root: directory of this host where the files are read: the files themselves, or copies of them.
        needs_server: files become visible by their names in a ledger that hosts share, never by a rename.
    """

    root: Path
    needs_server: bool

    def uri(self, path: str) -> str:
        """A file as other programs find it."""

    def here(self, path: str) -> Path:
        """The file of a path on this host, fetched where it is elsewhere; without a file where the store has none.

        Raises:
            StorageError: it cannot be fetched.
        """

    def here_all(self, paths: Sequence[str], *, anew: bool = False) -> list[Path]:
        """The files of several paths, in order.

        Args:
            paths: relative paths.
            anew: look whether the store still has each; without it a copy that is here is enough.
        """

    def sizes(self, paths: Sequence[str]) -> dict[str, int]:
        """Bytes of each file that the store has; of others nothing."""

    def is_intact(self, path: str, content_hash: str, size_bytes: int) -> bool:
        """Whether the store has a file with the bytes that were written, as far as can be told without fetching it."""

    def publish(self, files: Sequence[Placed]) -> list[Placed]:
        """Give staged files their names, durably; the staged files stay.

        Where a name is taken, its file has the same bytes, or was damaged and is replaced.

        Returns:
            Those whose names were taken. Who collects garbage may be about to remove them: publish these again once
            a row names them, or in the transaction that does it.

        Raises:
            DiskFull: no space; those before are published.
            StorageError: the store cannot be reached or written.
        """

    def remove(self, paths: Sequence[str]) -> None:
        """Remove files; what is gone already is no error."""

    def remove_old(self, path: str, latest: float) -> bool:
        """Remove a file that was last written at an instant or before; whether it is gone by this call.

        Args:
            path: of the file.
            latest: seconds since 1970 by the store's clock.
        """

    def drop_copies(self, directory: str, grace_s: float) -> int:
        """Remove copies on this host that nobody has read for so many seconds; how many. The files themselves stay."""

    def listed(self, directory: str) -> Iterator[Listed]:
        """All Parquet files below a directory."""

    def now(self) -> float:
        """Seconds since 1970 by the clock that stamps files."""

    def holding(self) -> str | None:
        """Path of some file that a ledger has a row of, None where there is none."""

    def read(self, path: str) -> Tagged | None:
        """A small file, None where there is none."""

    def create(self, path: str, data: bytes) -> bool:
        """Write a small file where there is none, durably; whether it was written."""

    def replace(self, path: str, data: bytes, tag: str) -> bool:
        """Write a small file in place of the one that has a tag, durably; whether it was written."""

    def require_conditions(self, path: str, data: bytes) -> None:
        """Refuse a place that writes over what is there when it is told not to.

        Args:
            path: a small file that is there.
            data: its bytes.

        Raises:
            SettingsError: a second create, or a replace by a stale tag, was done.
        """


def open_files(root: Path, url: str = "") -> FileStore:
    """The files of a lake; nothing is opened or created before the first use.

    Args:
        root: directory of the lake on this host.
        url: `s3://bucket/prefix`; empty, or `file://` and the root, stands for files in the root itself.
    """
    if url.startswith(BUCKET):
        return _in_bucket(root, url, getpid())
    from lake_resources.storage.files_here import FilesHere

    return FilesHere(root)


@lru_cache(maxsize=8)
def _in_bucket(root: Path, url: str, _pid: int) -> FileStore:
    """One client per process: a forked child must not use its parent's connections."""
    from lake_resources.storage.files_in_bucket import FilesInBucket

    return FilesInBucket(root, url)
