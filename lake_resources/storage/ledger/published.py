"""Reading the ledger in the moment between the rename of an hour's file and its row.

Belongs here: showing intents whose file lies under its final name as committed, to readers alone. Does not belong here:
committing them (`partition_rows` does, for the writer), which file is whose (`commit` moves them).

The moment lasts milliseconds, but a writer that is killed in it leaves it so until the next one comes. A reader that
took the old row and the new file for each other's would raise false alarms and certify what it does not hand out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby

import sqlalchemy as sa

from lake_resources.storage.catalog import Catalog
from lake_resources.storage.hashing import file_hash
from lake_resources.storage.ledger.compacted_rows import reopen
from lake_resources.storage.ledger.partition_rows import Intent, advance_watermark, intents_of, resolve
from lake_resources.storage.ledger.tables import INTENTS, PARTITIONS, QUARANTINE, SEGMENTS, WATERMARK

_KEYS = [column.name for column in PARTITIONS.primary_key]


@contextmanager
def as_published(connection: sa.Connection, catalog: Catalog) -> Iterator[None]:
    """Let the SELECTs inside of it see published intents as the commit will leave them; nothing is written.

    What the commit does is done to temporary copies, which hide the tables of the same names on this connection until
    it is over. The copies are of a row per symbol, per month and per refused hour; the hours themselves are a view.
    """
    if connection.exec_driver_sql("SELECT 1 FROM intents LIMIT 1").first() is None:
        yield
        return
    sqlite = connection.dialect.name == "sqlite"
    if sqlite:  # the driver begins nothing for a SELECT; the copies and what is read must be of one state
        connection.exec_driver_sql("BEGIN")
    try:
        found = [intent for intent in intents_of(connection) if is_published(catalog, intent)]
        if found:
            _shadow(connection, "main" if sqlite else str(connection.dialect.default_schema_name), found)
        yield
    finally:
        connection.rollback()


def is_published(catalog: Catalog, intent: Intent) -> bool:
    """Whether the staged file of an intent has become the file of its hour."""
    final = catalog.absolute(intent.partition.path)
    if catalog.absolute(intent.temp_path).exists() or not final.is_file():
        return False
    return file_hash(final) == intent.partition.content_hash


def _shadow(connection: sa.Connection, schema: str, found: Sequence[Intent]) -> None:
    for table in (SEGMENTS, QUARANTINE, WATERMARK):
        connection.exec_driver_sql(f"CREATE TEMPORARY TABLE {table} AS SELECT * FROM {schema}.{table}")  # noqa: S608
    connection.exec_driver_sql("CREATE TEMPORARY TABLE published_intents (temp_path VARCHAR PRIMARY KEY)")
    published = sa.table("published_intents", sa.column("temp_path"))
    connection.execute(sa.insert(published), [{"temp_path": intent.temp_path} for intent in found])
    names = [column.name for column in PARTITIONS.columns]
    kept = ", ".join(f"p.{name}" for name in names)
    new = ", ".join("'COMMITTED'" if name == "status" else f"i.{name}" for name in names)
    same = " AND ".join(f"i.{name} = p.{name}" for name in _KEYS)
    mine = f"{schema}.{INTENTS} AS i JOIN published_intents AS t ON t.temp_path = i.temp_path"
    connection.exec_driver_sql(
        f"CREATE TEMPORARY VIEW {PARTITIONS} AS"  # noqa: S608
        f" SELECT {kept} FROM {schema}.{PARTITIONS} AS p WHERE NOT EXISTS (SELECT 1 FROM {mine} AND {same})"
        f" UNION ALL SELECT {new} FROM {mine}"
    )
    for symbol, intents in groupby(found, key=lambda intent: intent.partition.symbol):
        rows = [intent.partition for intent in intents]
        hours, at = [row.hour for row in rows], max(row.committed_at for row in rows)
        resolve(connection, symbol, hours, at)
        reopen(connection, symbol, hours, at)
        advance_watermark(connection, symbol, at)
