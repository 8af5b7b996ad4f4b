"""The ledger as one table of the lake sees it: whose rows it asks for.

Belongs here: the base of the classes with the statements, and the conditions that keep tables and markets apart.
Does not belong here: any statement.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from lake_resources.layout import TableLayout
from lake_resources.storage.catalog import utc
from lake_resources.storage.ledger.engine import LedgerEngine
from lake_resources.storage.ledger.tables import PARTITIONS


class TableRows:
    """Rows of one table, and of the streams of its market.

    Args:
        engine: connections to the ledger's database; all tables of a lake share one.
        layout: which table, and how it is cut into partitions.
    """

    def __init__(self, engine: LedgerEngine, layout: TableLayout) -> None:
        self.engine = engine
        self.layout = layout

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A connection for one SELECT."""
        with self.engine.reading() as connection:
            yield connection

    def rows_of(self, symbol: str) -> str:
        """What a transaction writes that is about one symbol's rows of the table alone."""
        return f"{self.layout.name}/{symbol}"

    def of_symbol(self, table: sa.Table, symbol: str) -> list[sa.ColumnElement[bool]]:
        """That rows of a table of the ledger are about this table of the lake, and a symbol."""
        return [table.c.table_name == self.layout.name, table.c.symbol == symbol]

    def of_market(self, table: sa.Table) -> sa.ColumnElement[bool]:
        """That rows of a table of the ledger are about this table's market."""
        return table.c.market == self.layout.market

    def within(self, query: sa.Select[Any], symbol: str, start: datetime, end: datetime) -> sa.Select[Any]:
        """A query on `partitions` for those that overlap `[start, end)`, in order."""
        at = PARTITIONS.c.start_utc
        return query.where(
            *self.of_symbol(PARTITIONS, symbol), at >= self.layout.start_of(start), at < utc(end)
        ).order_by(at)


def keyed(table: sa.Table, *names: str) -> list[sa.ColumnElement[bool]]:
    """Conditions on columns whose values come with each execution, under the names of the columns."""
    return [table.c[name] == sa.bindparam(name, type_=table.c[name].type) for name in names]
