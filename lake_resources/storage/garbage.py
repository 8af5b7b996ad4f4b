"""Files that no row of the ledger names: what writers left that were killed, and contents that were replaced.

Belongs here: finding and removing them after a grace. Does not belong here: files that rows name (`compaction` removes
those that were compacted), temporary files (`commit.recover`).

Nothing is committed while files are removed, and each is looked at once more: one that a row names by now stays, and so
does one that was written anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa

from lake_resources.storage.disk import disk_errors
from lake_resources.storage.ledger.tables import ARCHIVES, CAPTURES, COMPACTED_FILES, INTENTS, PARTITIONS, QUARANTINE
from lake_resources.storage.store import Store

_NAMING = (PARTITIONS, INTENTS, COMPACTED_FILES, QUARANTINE, ARCHIVES, CAPTURES)
_AT_ONCE = 100
"""Removed in one transaction; writers wait meanwhile."""


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
            of the place where the files lie.
    """
    store = stores[0]
    with disk_errors(f"read {store.root}"):
        latest = store.files.now() - grace.total_seconds()
        found = [each for place in _places(stores) for each in store.files.listed(place)]
    # After the files: whatever was committed meanwhile is known then.
    with store.engine.reading() as connection:
        named = _named(connection)
    old = sorted(each for each in found if each.written_s <= latest and each.path not in named)
    return [Garbage(each.path, each.size_bytes) for each in old]


def remove_garbage(store: Store, found: list[Garbage], grace: timedelta) -> list[Garbage]:
    """Remove files that were found; returns those that are gone, without those that are wanted by now."""
    latest = store.files.now() - grace.total_seconds()
    gone: list[Garbage] = []
    for index in range(0, len(found), _AT_ONCE):
        with store.engine.writing() as connection:
            named = _named(connection)
            some = [each for each in found[index : index + _AT_ONCE] if each.path not in named]
            gone += [each for each in some if store.files.remove_old(each.path, latest)]
    return gone


def drop_copies(stores: Sequence[Store], grace: timedelta) -> int:
    """Remove this host's copies of files that lie elsewhere and that nobody has read for the grace; how many."""
    files = stores[0].files
    return sum(files.drop_copies(place, grace.total_seconds()) for place in _places(stores))


def _places(stores: Sequence[Store]) -> list[str]:
    """Only where the lake itself writes: what others put below its root is theirs."""
    places = set()
    for catalog in (store.catalog for store in stores):
        places |= {catalog.partitions_dir("any").parent, catalog.compacted_dir("any").parent}
        places |= {catalog.archives_dir, catalog.captures_dir}
    return sorted(stores[0].catalog.relative(place) for place in places)


def _named(connection: sa.Connection) -> set[str]:
    """Every path of the lake that a row names."""
    paths: set[str] = set()
    for table in _NAMING:
        paths.update(path for path in connection.execute(sa.select(table.c.path)).scalars() if path)
    return paths
