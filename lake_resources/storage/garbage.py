"""Files that no row of the ledger names: what writers left that were killed, and contents that were replaced.

Belongs here: finding and removing them after a grace. Does not belong here: files that rows name (`compaction` removes
those that were compacted), temporary files (`commit.recover`).

A file is taken aside before it goes and looked at once more: a writer that made the same bytes meanwhile, or a row that
names it by now, gets it back.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import sqlalchemy as sa

from lake_resources.storage.disk import disk_errors, file_time
from lake_resources.storage.ledger.tables import ARCHIVES, CAPTURES, COMPACTED_FILES, INTENTS, PARTITIONS, QUARANTINE
from lake_resources.storage.store import Store

_NAMING = (PARTITIONS, INTENTS, COMPACTED_FILES, QUARANTINE, ARCHIVES, CAPTURES)


@dataclass(frozen=True)
class Garbage:
    """A file that no row names.

    Attributes:
        path: relative to the lake's root.
        size_bytes: of the file.
    """

    path: str
    size_bytes: int


def find_garbage(stores: Sequence[Store], grace: timedelta) -> list[Garbage]:
    """Files of tables and of their raw inputs that no row names and that were last written before the grace; in order.

    Args:
        stores: the tables, all of one lake.
        grace: how long a writer may take from a file to its row, and a reader to read what was replaced. Time is that
            of the file system.
    """
    store = stores[0]
    with disk_errors(f"read {store.root}"):
        latest = _now(store) - grace.total_seconds()
        old = dict(_older(_files(stores), latest))
    # After the files: whatever was committed meanwhile is known then.
    named = _named(store)
    found = {store.catalog.relative(path): size for path, size in old.items()}
    return [Garbage(path, size) for path, size in sorted(found.items()) if path not in named]


def remove_garbage(store: Store, found: list[Garbage], grace: timedelta) -> list[Garbage]:
    """Remove files that were found; returns those that are gone, without those that are wanted by now."""
    temp = store.catalog.temp_dir
    with disk_errors(f"remove {len(found)} files that no row names"):
        latest = _now(store) - grace.total_seconds()
        aside: dict[str, tuple[Garbage, Path]] = {}
        for each in found:
            taken = temp / f"garbage-{uuid4().hex}"
            with suppress(FileNotFoundError):
                store.catalog.absolute(each.path).rename(taken)
                aside[each.path] = each, taken
        named = _named(store)
        gone = []
        for each, taken in aside.values():
            if each.path in named or taken.stat().st_mtime > latest:
                with suppress(FileExistsError):  # the writer that wants it has put it there again
                    os.link(taken, store.catalog.absolute(each.path))
            else:
                gone.append(each)
            taken.unlink()
    return gone


def _now(store: Store) -> float:
    store.catalog.temp_dir.mkdir(parents=True, exist_ok=True)
    return file_time(store.catalog.temp_dir)


def _files(stores: Sequence[Store]) -> Iterator[Path]:
    """Only where the lake itself writes: what others put below its root is theirs."""
    places = set()
    for catalog in (store.catalog for store in stores):
        places |= {catalog.partitions_dir("any").parent, catalog.compacted_dir("any").parent}
        places |= {catalog.archives_dir, catalog.captures_dir}
    for place in sorted(places):
        yield from place.rglob("*.parquet")


def _older(paths: Iterable[Path], latest: float) -> Iterator[tuple[Path, int]]:
    for path in paths:
        with suppress(FileNotFoundError):
            stat = path.stat()
            if stat.st_mtime <= latest:
                yield path, stat.st_size


def _named(store: Store) -> set[str]:
    """Every path of the lake that a row names."""
    paths: set[str] = set()
    with store.engine.reading() as connection:
        for table in _NAMING:
            paths.update(path for path in connection.execute(sa.select(table.c.path)).scalars() if path)
    return paths
