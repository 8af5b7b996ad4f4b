"""All rows of an archive's zip, as the lake has them when they are few.

Belongs here: that one frame. Does not belong here: making zips, downloading, what a test expects of the rows.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from lake_resources.binance.archives.archive_csv import read_frames, sorted_once
from lake_resources.binance.stream import Stream


def archive_rows(zip_path: Path, stream: Stream) -> pl.DataFrame:
    """The wire frame of the whole archive, sorted by `stream.key`, identical rows once.

    Raises:
        ArchiveCorrupt: it cannot be read, or two different rows share a key.
    """
    return sorted_once(zip_path, stream, list(read_frames(zip_path, stream)))
