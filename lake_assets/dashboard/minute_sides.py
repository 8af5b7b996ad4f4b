"""One row of a table from all sides: every vintage of the archive, every kept REST answer, the socket, the lake.

Belongs here: finding what each source said of an instant. Does not belong here: choosing between them (`inputs`).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import polars as pl

from lake_assets.at_rest import TableStore
from lake_assets.live.row_files import LiveRows
from lake_resources.clock import HOUR
from lake_resources.storage.catalog import floor_hour
from lake_resources.storage.reader import reading, scan

FIELD = "field"


def sides_of(store: TableStore, symbol: str, instant: datetime) -> pl.DataFrame:
    """What each source said of the row that begins at `instant`.

    Raises:
        StorageError: a file that holds the row does not read.

    Returns:
        Column `field`, the names of the table's columns that repeat one of its row stream; a column of text per source,
        null where it said nothing; and `differs`, whether two of them said different things.
    """
    stream = store.table.row_stream
    # A table whose rows are no stream of the exchange has one side alone: its own.
    verbatim = store.table.verbatim(stream) or dict.fromkeys(store.table.names, "")
    names = [name for name in verbatim if name != store.layout.time_column]
    until = instant + store.layout.grain
    found: dict[str, dict[str, object]] = {}
    for title, path in _files(store, symbol, instant):
        time = pl.col(store.table.uses[stream].stream.time_column)
        with reading(store.layout, symbol, instant, until):
            row = pl.scan_parquet(path).filter(time == instant).collect()
        if row.height:
            found[title] = {name: row[verbatim[name]][0] for name in names}
    live = _live(store, symbol, instant)
    if live:
        found["socket"] = {name: live.get(name) for name in names if name in live}
    with reading(store.layout, symbol, instant, until):
        lake = scan(store, symbol, instant, until, None, schema=store.table.polars_schema).collect()
    if lake.height:
        found["the lake"] = {name: lake[name][0] for name in names}
    table = {FIELD: names} | {
        title: [None if values.get(name) is None else _text(values[name]) for name in names]
        for title, values in found.items()
    }
    said = [[values[name] for values in found.values() if values.get(name) is not None] for name in names]
    return pl.DataFrame(table | {"differs": [len(set(each)) > 1 for each in said]})


def _files(store: TableStore, symbol: str, instant: datetime) -> Iterator[tuple[str, Path]]:
    if store.table.row_stream not in store.table.uses:
        return
    ledger, files, use = store.ledger, store.files, store.table.uses[store.table.row_stream]
    if use.stream.archive is not None:
        period = use.stream.archive.period(instant.date())
        for archive in ledger.archive_vintages(symbol, use.name, period):
            yield f"archive {archive.sha256[:8]}", files.here(archive.path)
    for capture in ledger.capture_vintages(symbol, use.name, floor_hour(instant)):
        yield f"REST {capture.captured_at:%m-%d %H:%M:%S}", files.here(capture.path)


def _live(store: TableStore, symbol: str, instant: datetime) -> dict[str, object]:
    """The collector's row; columns of the table that it has under the same name."""
    rows = LiveRows(store.catalog).read(symbol, floor_hour(instant), floor_hour(instant) + HOUR)
    row = rows.filter(pl.col("timestamp") == instant)
    return row.row(0, named=True) if row.height else {}


def _text(value: object) -> str:
    return f"{value:.12g}" if isinstance(value, float) else str(value)
