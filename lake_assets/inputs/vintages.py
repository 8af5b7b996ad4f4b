"""Two vintages of one archive file: the values that a re-publication changed.

Belongs here: comparing the typed files, keeping differences as revisions. Does not belong here: noticing a
re-publication (`archives`), comparing an archive with what REST said (`reconcile`).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise

import polars as pl

from lake_assets.lake import Lake
from lake_assets.validation.parity import compare_stream
from lake_assets.windows import hours_between
from lake_resources.binance.stream import Stream
from lake_resources.clock import HOUR
from lake_resources.spans import within
from lake_resources.storage.catalog import floor_hour
from lake_resources.storage.ledger.ledger import Archive, Revision
from lake_resources.storage.parquet import StagedFile

_ROWS_AT_ONCE = 100_000
MOST_REVISIONS = 10_000
"""Of one file: a re-publication that fills a loss of aggTrades has a row for each of them."""


def record_changes(lake: Lake, stream: Stream, before: Archive, after: Archive, new: StagedFile) -> str:
    """Keep what `after` says differently than `before` as revisions, both values each.

    Args:
        lake: the lake.
        stream: of what.
        before: the vintage that was current.
        after: the one that replaces it.
        new: its typed rows.

    Returns:
        What could not be kept, in words; empty where all was.
    """
    kept: list[Revision] = []
    changes = 0
    try:
        for cells in _differences(lake, stream, before, after, new):
            changes += cells.height
            kept += [_revision(before, after, cell) for cell in cells.head(MOST_REVISIONS - len(kept)).to_dicts()]
    except (pl.exceptions.PolarsError, OSError) as error:
        return f"its values are not compared with those of the vintage before, whose file does not read: {error}"
    lake.ledger.record_revisions(kept)
    return f"{changes:,} values changed, the first {len(kept):,} are kept as revisions" if changes > len(kept) else ""


def _differences(
    lake: Lake, stream: Stream, before: Archive, after: Archive, new: StagedFile
) -> Iterator[pl.DataFrame]:
    """Differing cells in order of time; trades, and what is as long, hour by hour, so that no day of them is held."""
    bounds = [time for time in (before.min_ts, before.max_ts, after.min_ts, after.max_ts) if time is not None]
    if not bounds:
        return
    time = pl.col(stream.time_column)
    files = [pl.scan_parquet(path, glob=False) for path in (new.temp_path, lake.files.here(before.path))]
    start, end = floor_hour(min(bounds)), floor_hour(max(bounds)) + HOUR
    at_once = stream.key == (stream.time_column,) and max(before.row_count, after.row_count) <= _ROWS_AT_ONCE
    starts = [start] if at_once else hours_between(start, end)
    for first, last in pairwise([*starts, end]):
        inside = within(time, first, last)
        later, earlier = (file.filter(inside).collect() for file in files)
        if later.height or earlier.height:
            yield compare_stream(stream, later, earlier, first, last).differences


def _revision(before: Archive, after: Archive, cell: dict[str, object]) -> Revision:
    timestamp, old, new = cell["timestamp"], cell["old"], cell["new"]
    assert isinstance(timestamp, datetime)
    assert old is None or isinstance(old, float)
    assert new is None or isinstance(new, float)
    return Revision(
        symbol=after.symbol,
        stream=after.stream,
        timestamp=timestamp,
        column=str(cell["column"]),
        # The vintage is part of the name: a second re-publication of the same cell is another one.
        old_source=f"archive:{before.sha256[:12]}",
        new_source=f"archive:{after.sha256[:12]}",
        old_value=old,
        new_value=new,
        noticed_at=after.fetched_at,
    )
