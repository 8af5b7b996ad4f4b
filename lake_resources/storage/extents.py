"""Whether the files that a reader is about to open are those that the ledger means, by what their footers tell.

Belongs here: rows and first and last time of each file of a window against the ledger. Does not belong here: the bytes
between (a hash of them is `verify`'s), choosing files (`placement`).
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lake_resources.errors import StorageError
from lake_resources.storage.placement import stretches
from lake_resources.storage.store import Store

_LOOKS, _THREADS = 3, 4


@dataclass(frozen=True)
class _Extent:
    rows: int
    first: datetime | None
    last: datetime | None


def require_extents(store: Store, symbol: str, start: datetime, end: datetime) -> None:
    """Refuse a window of which a file has other rows, or rows of another time, than the ledger says.

    A partition that is committed meanwhile is looked at again: only a file that the ledger does not mean is refused.

    Raises:
        StorageError: a file is gone, does not read, or is another one; names the first.
    """
    wrong: list[str] = []
    for _ in range(_LOOKS):
        wrong = list(_wrong(store, symbol, start, end))
        if not wrong:
            return
    raise StorageError(
        f"{store.layout.title}, {symbol}: {wrong[0]}"
        + (f", and {len(wrong) - 1} more files" if len(wrong) > 1 else ""),
        remedy="Run `lake audit --full` and `lake backfill-range` over the window",
    )


def _wrong(store: Store, symbol: str, start: datetime, end: datetime) -> Iterator[str]:
    layout, ledger = store.layout, store.ledger
    many = {file.path: file for file in ledger.compacted_files(symbol, start, end)}
    read = stretches(store, symbol, start, end)
    told = {
        fact.path: _Extent(fact.row_count, fact.min_ts, fact.max_ts)
        for stretch in read
        if not many.keys() >= set(stretch.paths)
        for fact in ledger.partition_facts(symbol, stretch.start, stretch.end)
    }
    paths = list(dict.fromkeys(path for stretch in read for path in stretch.paths))
    with ThreadPoolExecutor(_THREADS) as pool:
        found = pool.map(lambda path: _looked_at(path, layout.time_column), store.files.here_all(paths))
        for path, extent in zip(paths, found, strict=True):
            if isinstance(extent, str):
                yield f"{path} {extent}"
            elif path in many:
                file = many[path]
                first, last = extent.first or file.end, extent.last or file.end
                if extent.rows != file.row_count or first < file.start or last >= file.end:
                    yield f"{path} has {_text(extent)}, and should have {file.row_count} rows of its period"
            elif extent != told.get(path):
                yield f"{path} has {_text(extent)}, the ledger says {_text(told.get(path))}"


def _text(extent: _Extent | None) -> str:
    if extent is None:
        return "nothing"
    span = "" if extent.first is None or extent.last is None else f" of {extent.first:%F %T} to {extent.last:%F %T}"
    return f"{extent.rows} rows{span}"


def _looked_at(path: Path, time_column: str) -> _Extent | str:
    """The extent of a file; one that is as it was at an earlier look is not opened again."""
    try:
        found = path.stat()
    except OSError as error:
        return "is gone" if isinstance(error, FileNotFoundError) else f"does not read: {error}"
    return _extent(path, time_column, (found.st_ino, found.st_size, found.st_mtime_ns))


@lru_cache(maxsize=32_768)
def _extent(path: Path, time_column: str, _as_it_is: tuple[int, int, int]) -> _Extent | str:
    """Rows and bounds by the footer, or why there are none."""
    try:
        with pq.ParquetFile(path) as file:
            metadata, column = file.metadata, file.schema_arrow.get_field_index(time_column)
            bounds = [metadata.row_group(index).column(column).statistics for index in range(metadata.num_row_groups)]
    except (pa.ArrowException, OSError) as error:
        return "is gone" if isinstance(error, FileNotFoundError) else f"does not read: {error}"
    known = [each for each in bounds if each is not None and each.has_min_max]
    if not known:
        return _Extent(metadata.num_rows, None, None)
    first, last = min(_utc(each.min) for each in known), max(_utc(each.max) for each in known)
    return _Extent(metadata.num_rows, first, last)


def _utc(value: Any) -> datetime:
    assert isinstance(value, datetime), "the time column holds times"
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
