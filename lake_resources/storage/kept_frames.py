"""Rows of files that a process wants again and again, in memory as long as nobody changed the file.

Belongs here: keeping frames by their path, and noticing that a file is another one. Does not belong here: reading or
writing files (`parquet`). The collector and whoever looks at a lake load this without pyarrow.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from threading import Lock

import polars as pl

Stamp = tuple[int, int, int]
"""Inode, bytes, and when it was written last, nanoseconds."""


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
