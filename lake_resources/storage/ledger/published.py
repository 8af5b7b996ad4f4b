"""Reading the ledger in the moment between the rename of a partition's file and its row.

Belongs here: showing intents whose file lies under its final name as committed, to readers alone. Does not belong here:
committing them (`partition_rows` does, for the writer), which file is whose (`commit` moves them).

The moment lasts milliseconds, but a writer that is killed in it leaves it so until the next one comes. A reader that
took the old row and the new file for each other's would raise false alarms and certify what it does not hand out.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from itertools import groupby

import sqlalchemy as sa

from lake_resources.storage.catalog import LakePaths
from lake_resources.storage.hashing import file_hash
from lake_resources.storage.ledger.partition_rows import Intent, PartitionRows
from lake_resources.storage.ledger.tables import COMPACTED_FILES, INTENTS, PARTITIONS, QUARANTINE, WATERMARK

_KEYS = [column.name for column in PARTITIONS.primary_key]


@contextmanager
def as_published(connection: sa.Connection, rows: PartitionRows, paths: LakePaths) -> Iterator[None]:
    """Let SELECTs inside of it see what a table has published as its commit will leave it; nothing is written.

    What the commit does is done to temporary copies, which hide the tables of the same names on this connection until
    it is over. The copies are of a row per symbol, per month and per refused partition; the partitions are a view.
    """
    # Over a shared ledger nothing is published before its row: there are no intents.
    if rows.engine.is_shared or not _has_intents(connection):
        yield
        return
    # The driver begins nothing for a SELECT; the copies and what is read must be of one state.
    connection.exec_driver_sql("BEGIN")
    try:
        found = [intent for intent in rows.intents_of(connection) if is_published(paths, intent)]
        if found:
            _shadow(connection, rows, found)
        yield
    finally:
        connection.rollback()


def _has_intents(connection: sa.Connection) -> bool:
    """Whether any intent is there. Every read asks it first: by the driver itself it costs a tenth."""
    asked = "SELECT 1 FROM intents LIMIT 1"
    with suppress(sqlite3.Error), closing(connection.connection.cursor()) as cursor:
        cursor.execute(asked)
        return cursor.fetchone() is not None
    # What is wrong with the ledger is told in the one way that readers know.
    return connection.exec_driver_sql(asked).first() is not None


def is_published(paths: LakePaths, intent: Intent) -> bool:
    """Whether the staged file of an intent has become the file of its partition."""
    final = paths.absolute(intent.partition.path)
    if paths.absolute(intent.temp_path).exists() or not final.is_file():
        return False
    return file_hash(final) == intent.partition.content_hash


def _shadow(connection: sa.Connection, rows: PartitionRows, found: Sequence[Intent]) -> None:
    for table in (COMPACTED_FILES, QUARANTINE, WATERMARK):
        connection.exec_driver_sql(f"CREATE TEMPORARY TABLE {table} AS SELECT * FROM main.{table}")  # noqa: S608
    connection.exec_driver_sql("CREATE TEMPORARY TABLE published_intents (temp_path VARCHAR PRIMARY KEY)")
    published = sa.table("published_intents", sa.column("temp_path"))
    connection.execute(sa.insert(published), [{"temp_path": intent.temp_path} for intent in found])
    names = [column.name for column in PARTITIONS.columns]
    kept = ", ".join(f"p.{name}" for name in names)
    new = ", ".join("'COMMITTED'" if name == "status" else f"i.{name}" for name in names)
    same = " AND ".join(f"i.{name} = p.{name}" for name in _KEYS)
    mine = f"main.{INTENTS} AS i JOIN published_intents AS t ON t.temp_path = i.temp_path"
    connection.exec_driver_sql(
        f"CREATE TEMPORARY VIEW {PARTITIONS} AS"  # noqa: S608
        f" SELECT {kept} FROM main.{PARTITIONS} AS p WHERE NOT EXISTS (SELECT 1 FROM {mine} AND {same})"
        f" UNION ALL SELECT {new} FROM {mine}"
    )
    for symbol, intents in groupby(found, key=lambda intent: intent.partition.symbol):
        made = [intent.partition for intent in intents]
        starts, at = [partition.start for partition in made], max(partition.committed_at for partition in made)
        rows.resolve(connection, symbol, starts, at)
        rows.take_back(connection, symbol, starts, at)
        rows.advance_watermark(connection, symbol, at)
