"""The committed files of a table as a plain list that other engines can register: names, hashes, sizes, rows, bounds.

Belongs here: the list, by the ledger alone. Does not belong here: reading rows (`reader`), judging what is in them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl

from lake_resources.errors import StorageError
from lake_resources.storage.ledger.compacted_rows import CompactedFile
from lake_resources.storage.ledger.fact_rows import PartitionFacts
from lake_resources.storage.placement import Stretch, stretches
from lake_resources.storage.store import Store

_LOOKS = 3
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
        StorageError: a file that the ledger names is not there, also at a second and third look: what is
            committed or compacted meanwhile is looked at again.
    """
    gone = ""
    for _ in range(_LOOKS):
        try:
            return pl.DataFrame(list(_rows(store, symbol)), schema=FILE_SCHEMA, orient="row")
        except _Gone as found:
            gone = str(found)
    raise StorageError(
        f"{store.layout.title}, {symbol}: {gone} is not there",
        remedy="Run `lake audit` and repair what it finds, then export the list again",
    )


class _Gone(Exception):
    """A file that is read no longer, or is lost: another look tells which."""


def _rows(store: Store, symbol: str) -> Iterator[dict[str, object]]:
    first, last = store.ledger.first_partition(symbol), store.ledger.last_partition(symbol)
    if first is None or last is None:
        return
    end = last + store.layout.step
    files = {file.path: file for file in store.ledger.compacted_files(symbol, first, end)}
    for stretch in stretches(store, symbol, first, end):
        sizes = store.files.sizes(stretch.paths)
        facts = store.ledger.partition_facts(symbol, stretch.start, stretch.end)
        own = {fact.path: fact for fact in facts}
        for path in stretch.paths:
            if path not in sizes or (path not in files and path not in own):
                raise _Gone(store.files.uri(path))
            if file := files.get(path):
                yield _row(store, symbol, stretch, facts, file, sizes[path])
            else:
                fact = own[path]
                hour = Stretch((path,), fact.start, fact.start + store.layout.step, cut=False)
                yield _row(store, symbol, hour, [fact], fact, sizes[path])


def _row(
    store: Store,
    symbol: str,
    stretch: Stretch,
    facts: Sequence[PartitionFacts],
    file: CompactedFile | PartitionFacts,
    size_bytes: int,
) -> dict[str, object]:
    return {
        "table_name": store.layout.name,
        "symbol": symbol,
        "path": file.path,
        "uri": store.files.uri(file.path),
        "start": stretch.start,
        "end": stretch.end,
        "is_cut": stretch.cut,
        "partitions": len(facts),
        "row_count": sum(fact.row_count for fact in facts),
        "min_ts": min((fact.min_ts for fact in facts if fact.min_ts is not None), default=None),
        "max_ts": max((fact.max_ts for fact in facts if fact.max_ts is not None), default=None),
        "is_complete": all(fact.complete for fact in facts),
        "size_bytes": size_bytes,
        "sha256": file.content_hash,
        "schema_hash": file.schema_hash,
    }
