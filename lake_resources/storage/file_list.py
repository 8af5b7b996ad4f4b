"""The committed files of a table as a plain list that other engines can register: names, hashes, sizes, rows, bounds.

Belongs here: the list, by the ledger alone. Does not belong here: reading rows (`reader`), judging what is in them.
"""

from __future__ import annotations

from datetime import datetime

import polars as pl

from lake_resources.errors import StorageError
from lake_resources.storage.placement import Stretch, stretches
from lake_resources.storage.store import Store

_TIME = pl.Datetime("us", "UTC")
FILE_SCHEMA = pl.Schema(
    {
        "table_name": pl.String(),
        "symbol": pl.String(),
        "path": pl.String(),
        "uri": pl.String(),
        "start": _TIME,
        "end": _TIME,
        "is_cut": pl.Boolean(),
        "partitions": pl.Int64(),
        "row_count": pl.Int64(),
        "min_ts": _TIME,
        "max_ts": _TIME,
        "is_complete": pl.Boolean(),
        "size_bytes": pl.Int64(),
        "sha256": pl.String(),
        "schema_hash": pl.String(),
    }
)
"""One row for each file and stretch of time that is read from it; instants in UTC, spans half-open."""


def file_list(store: Store, symbol: str) -> pl.DataFrame:
    """The files that a symbol's committed rows are read from, in time order.

    A file of several partitions, one of which was committed anew since, holds rows that are no longer true: it is
    listed once for each stretch that is still read from it, with `is_cut` set, and a reader takes the rows of
    `[start, end)` alone.

    Args:
        store: the table.
        symbol: one that the table has; of another, the list is empty.

    Returns:
        A frame of `FILE_SCHEMA`. `path` is relative to the lake's root; `row_count`, `min_ts`, `max_ts` and
        `is_complete` are of the stretch, `size_bytes` and `sha256` of the whole file.

    Raises:
        StorageError: a file that the ledger names is not on the disk.
    """
    first, last = store.ledger.first_partition(symbol), store.ledger.last_partition(symbol)
    if first is None or last is None:
        return pl.DataFrame(schema=FILE_SCHEMA)
    rows = [
        row
        for stretch in stretches(store, symbol, first, last + store.layout.step)
        for row in _rows(store, symbol, stretch)
    ]
    return pl.DataFrame(rows, schema=FILE_SCHEMA, orient="row")


def _rows(store: Store, symbol: str, stretch: Stretch) -> list[dict[str, object]]:
    facts = store.ledger.partition_facts(symbol, stretch.start, stretch.end)
    own = {fact.path: fact for fact in facts}
    if set(stretch.paths) == set(own):
        step = store.layout.step
        return [
            _row(store, symbol, fact.path, fact.start, fact.start + step)
            | {
                "is_cut": False, "partitions": 1, "row_count": fact.row_count, "min_ts": fact.min_ts,
                "max_ts": fact.max_ts, "is_complete": fact.complete, "sha256": fact.content_hash,
                "schema_hash": fact.schema_hash,
            }
            for fact in facts
        ]  # fmt: skip
    (path,) = stretch.paths
    file = next(each for each in store.ledger.compacted_files(symbol, stretch.start, stretch.end) if each.path == path)
    firsts = [fact.min_ts for fact in facts if fact.min_ts is not None]
    lasts = [fact.max_ts for fact in facts if fact.max_ts is not None]
    return [
        _row(store, symbol, path, stretch.start, stretch.end)
        | {
            "is_cut": stretch.cut, "partitions": len(facts), "row_count": sum(fact.row_count for fact in facts),
            "min_ts": min(firsts, default=None), "max_ts": max(lasts, default=None),
            "is_complete": all(fact.complete for fact in facts), "sha256": file.content_hash,
            "schema_hash": file.schema_hash,
        }
    ]  # fmt: skip


def _row(store: Store, symbol: str, path: str, start: datetime, end: datetime) -> dict[str, object]:
    at = store.catalog.absolute(path)
    if not at.is_file():
        raise StorageError(
            f"{store.layout.title}, {symbol}: {at} is not on the disk",
            remedy="Run `lake audit` and repair what it finds, then export the list again",
        )
    return {
        "table_name": store.layout.name, "symbol": symbol, "path": path, "uri": at.as_uri(),
        "start": start, "end": end, "size_bytes": at.stat().st_size,
    }  # fmt: skip
