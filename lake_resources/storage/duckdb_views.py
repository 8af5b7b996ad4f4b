"""The DuckDB file with a view of a table: all committed rows by the ledger's paths, for any SQL tool.

Belongs here: the view's text, replacing the file in one step, which files there are.
Does not belong here: options. A view names the files of the moment: after new partitions, and before any of them is
removed, it is made again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from uuid import uuid4

import duckdb

from lake_resources.errors import NotYet, SettingsError, StorageError
from lake_resources.storage.catalog import Catalog
from lake_resources.storage.disk import disk_errors, of_database, replace_text
from lake_resources.storage.locks import writer_lock
from lake_resources.storage.placement import Stretch, joined, stretches
from lake_resources.storage.store import Store

_YEARS = timedelta(days=366 * 100)
_PARTS = ("year", "month", "day", "hour")


@dataclass(frozen=True)
class View:
    """A DuckDB file with the view, as it is after a call.

    Attributes:
        files: how many Parquet files the view reads.
        warning: what its users must know; empty where nothing.
    """

    path: Path
    files: int
    warning: str = ""


def write_view(store: Store, symbols: Sequence[str], path: Path) -> View:
    """Write the DuckDB file and remember it for `remake_views`; its readers keep the one before until they reopen it.

    Who may not write in the lake gets a file that nobody makes anew after a compaction.

    Raises:
        NotYet: no partition of these symbols is committed.
        SettingsError: the file holds something else than the view.
        StorageError: the file cannot be written.
    """
    if not os.access(store.root, os.W_OK):
        made = _make(store, symbols, path)
        return replace(made, warning=made.warning or "the lake cannot remember it: make it anew after a compaction")
    with _views(store.catalog) as known:
        found = _make(store, symbols, path)
        known[_key(store.catalog, path)] = list(symbols)
    return found


def remake_views(store: Store) -> list[View]:
    """Write every file that `write_view` made of the table and that is still there anew, for the files of the moment.

    A file that holds something else by now, or cannot be written, is left alone and says so; the others are remade.
    """
    done: list[View] = []
    if not os.access(store.root, os.W_OK):  # its owner remakes them
        return done
    with _views(store.catalog) as known:
        for key, symbols in list(known.items()):
            path = store.root / key
            if not path.is_file():
                del known[key]
                continue
            try:
                done.append(_make(store, symbols, path))
            except (NotYet, SettingsError, StorageError) as error:
                done.append(View(path, 0, f"it is as old as before: {error}"))
    return done


def rows_of(store: Store, symbols: Sequence[str], instants: Mapping[str, str] | None = None) -> tuple[str, int]:
    """All committed rows of symbols as a query on the files of the moment, and how many files those are.

    Its columns are `symbol`, the parts `year`, `month`, `day`, `hour` of the UTC time, then those of the table. Where
    no partition is committed the query is empty.

    Args:
        store: the table.
        symbols: whose rows.
        instants: further columns after the symbol by name: the UTC start of what the row lies in (`second`, `minute`,
            `hour`), each a TIMESTAMP without a zone. A filter on one of them skips the parts of files that it excludes;
            a filter on the same value computed outside of this query would read them all.
    """
    selects: list[str] = []
    count = 0
    for symbol in symbols:
        first = store.ledger.first_partition(symbol)
        if first is None:
            continue
        for stretch in joined(stretches(store, symbol, first, first + _YEARS)):
            count += len(stretch.paths)
            selects.append(_select(store, symbol, stretch, instants or {}))
    return "\nUNION ALL\n".join(selects), count


def _make(store: Store, symbols: Sequence[str], path: Path) -> View:
    selects, files = rows_of(store, symbols)
    if not selects:
        raise NotYet(
            f"no {store.layout.span} is committed in {store.root}", remedy="Backfill first, or name other symbols"
        )
    warning = _look(path, store.layout.directory) if path.exists() else ""
    temp = path.with_name(f".{path.name}-{uuid4().hex}")
    with disk_errors(f"DuckDB view {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with duckdb.connect(str(temp)) as connection:
                connection.execute("SET TimeZone = 'UTC'")
                connection.execute(f'CREATE VIEW "{store.layout.directory}" AS\n{selects}')
            temp.replace(path)
        except duckdb.Error as error:
            raise of_database(f"DuckDB view {path}", error, "Run `lake audit`, repair, try again") from error
        finally:
            temp.unlink(missing_ok=True)
    return View(path, files, warning)


def _look(path: Path, view: str) -> str:
    """A warning where a program has the file open for writing.

    Raises:
        SettingsError: the file is not one of ours: what is in it would be lost.
    """
    try:
        with duckdb.connect(str(path), read_only=True) as connection:
            found = connection.execute(
                "SELECT (SELECT count(*) FROM duckdb_tables()), list(view_name) FROM duckdb_views() WHERE NOT internal"
            ).fetchall()
    except (duckdb.IOException, duckdb.ConnectionException) as error:
        text = str(error)
        if "lock" in text or "different configuration" in text:
            return "a program has it open for writing: it sees the old view, and what it writes is lost"
        raise SettingsError(f"{path} is no DuckDB file", remedy="Give another path: it is not overwritten") from error
    if found != [(0, [view])]:
        raise SettingsError(
            f"{path} holds something else than the view `{view}`, or more",
            remedy="Give another path, or ATTACH the view's file from yours: it is not overwritten",
        )
    return ""


@contextmanager
def _views(catalog: Catalog) -> Iterator[dict[str, list[str]]]:
    """Symbols by file of all views that were made; what the caller changes is kept. One caller at a time."""
    with writer_lock(catalog.views_lock_path):
        register = catalog.views_path
        known = _registered(register)
        before = json.dumps(known)
        yield known
        if json.dumps(known) != before:
            replace_text(register, json.dumps(known, indent=2) + "\n")


def _registered(register: Path) -> dict[str, list[str]]:
    """What the list of views says; a damaged one is begun anew, for it can cost nothing but a stale view."""
    try:
        found = json.loads(register.read_text()) if register.is_file() else {}
    except (ValueError, RecursionError):
        return {}
    whole = isinstance(found, dict) and all(isinstance(symbols, list) for symbols in found.values())
    return found if whole else {}


def _key(catalog: Catalog, path: Path) -> str:
    """Relative where it lies in the lake, so that the lake can be moved."""
    return str(path.relative_to(catalog.root)) if path.is_relative_to(catalog.root) else str(path)


def _select(store: Store, symbol: str, stretch: Stretch, instants: Mapping[str, str]) -> str:
    paths = ", ".join(_quoted(str(path)) for path in store.files.here_all(stretch.paths))
    time = f'"{store.layout.time_column}"'
    # Of the epoch, so that the session's time zone does not matter.
    utc = f"make_timestamp(epoch_us({time}))"
    told = (f"date_trunc('{unit}', {utc}) AS \"{name}\"" for name, unit in instants.items())
    parts = ", ".join([*told, *(f"{part}({utc}) AS {part}" for part in _PARTS)])
    where = f" WHERE {time} >= {_instant(stretch.start)} AND {time} < {_instant(stretch.end)}" if stretch.cut else ""
    # Parts of the path are not taken for columns, nor is a symbol in the rows: they would come twice.
    source = f"read_parquet([{paths}], hive_partitioning = false)"
    return f"SELECT {_quoted(symbol)} AS symbol, {parts}, COLUMNS(lambda c: c <> 'symbol') FROM {source}{where}"  # noqa: S608 - all parts are quoted


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _instant(instant: datetime) -> str:
    return f"TIMESTAMPTZ '{instant:%Y-%m-%d %H:%M:%S}+00'"
