"""The watermark in the ledger: up to where everything is accounted for.

Belongs here: rows of `watermark`, moving it over what is committed or in quarantine, closing quarantine that a commit
made good. Does not belong here: committing (`partition_rows`), rejecting (`quarantine_rows`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from lake_resources.storage.ledger.table_rows import TableRows, keyed
from lake_resources.storage.ledger.tables import PARTITIONS, QUARANTINE, WATERMARK

_FIRST_LOOK, _LONGEST_LOOK = 24, 2_400


# A commit is these statements each time: making one costs more than executing it.
_MARK = sa.select(WATERMARK.c.last_complete_utc).where(*keyed(WATERMARK, "table_name", "symbol"))
_BETWEEN = [
    (
        table.c.start_utc >= sa.bindparam("first", type_=table.c.start_utc.type),
        table.c.start_utc < sa.bindparam("end", type_=table.c.start_utc.type),
        *keyed(table, "table_name", "symbol"),
    )
    for table in (PARTITIONS, QUARANTINE)
]
_COMMITTED: sa.Select[Any] = (
    sa.select(PARTITIONS.c.start_utc, PARTITIONS.c.complete, PARTITIONS.c.max_ts, PARTITIONS.c.expected_rows)
    .where(*_BETWEEN[0])
    .order_by(PARTITIONS.c.start_utc)
)
_REFUSED: sa.Select[Any] = sa.select(QUARANTINE.c.start_utc, QUARANTINE.c.accounted_until_utc).where(
    *_BETWEEN[1], QUARANTINE.c.resolved_at_utc.is_(None)
)
_MADE_GOOD = (
    sa.update(QUARANTINE)
    .where(
        *(QUARANTINE.c[n] == sa.bindparam(f"b_{n}", type_=QUARANTINE.c[n].type) for n in ("table_name", "symbol")),
        QUARANTINE.c.start_utc.in_(sa.bindparam("b_starts", type_=QUARANTINE.c.start_utc.type, expanding=True)),
        QUARANTINE.c.resolved_at_utc.is_(None),
    )
    .values(resolved_at_utc=sa.bindparam("b_at", type_=QUARANTINE.c.resolved_at_utc.type))
)


class WatermarkRows(TableRows):
    """Statements on `watermark`."""

    def symbols(self) -> list[str]:
        """Symbols with committed partitions."""
        query = sa.select(WATERMARK.c.symbol).where(WATERMARK.c.table_name == self.layout.name)
        with self.reading() as connection:
            return list(connection.execute(query.order_by(WATERMARK.c.symbol)).scalars())

    def watermark(self, symbol: str) -> datetime | None:
        """Time of the last row up to which every partition since the first is committed whole, or in quarantine."""
        query = sa.select(WATERMARK.c.last_complete_utc).where(*self.of_symbol(WATERMARK, symbol))
        with self.reading() as connection:
            return connection.execute(query).scalar()

    def resolve(self, connection: sa.Connection, symbol: str, starts: Sequence[datetime], at: datetime) -> None:
        """Within a transaction: close the open quarantine rows of these partitions."""
        given = {"b_table_name": self.layout.name, "b_symbol": symbol, "b_at": at}
        for index in range(0, len(starts), 500):
            connection.execute(_MADE_GOOD, given | {"b_starts": starts[index : index + 500]})

    def advance_watermark(self, connection: sa.Connection, symbol: str, at: datetime) -> None:
        """Within a transaction: move the watermark over every partition that is now accounted for; never back.

        It starts at the first partition of the symbol's first commit. The partition it stands in is looked at again, so
        one that is still open is passed only once it is whole (or in quarantine).
        """
        held = connection.execute(_MARK, {"table_name": self.layout.name, "symbol": symbol}).scalar()
        if held is None:
            first = sa.select(sa.func.min(PARTITIONS.c.start_utc, type_=PARTITIONS.c.start_utc.type))
            start = connection.execute(first.where(*self.of_symbol(PARTITIONS, symbol))).scalar()
        else:
            start = self.layout.start_of(held)
        mark = held if start is None else self._mark(connection, symbol, start, held)
        if mark is None or mark == held:
            return
        row = {"last_complete_utc": mark, "updated_at_utc": at}
        if held is None:
            key = {"table_name": self.layout.name, "symbol": symbol}
            connection.execute(sa.insert(WATERMARK), key | row)
        else:
            connection.execute(sa.update(WATERMARK).where(*self.of_symbol(WATERMARK, symbol)).values(**row))

    def _mark(self, connection: sa.Connection, symbol: str, start: datetime, held: datetime | None) -> datetime | None:
        """Where the watermark moves to, looked for from the partition that starts at `start`."""
        mark, look, step = held, _FIRST_LOOK, self.layout.step
        while True:
            end = start + look * step
            reached = self._reached(connection, symbol, start, end)
            while start < end:
                last, whole = reached.get(start, (None, False))
                if last is not None and (mark is None or last > mark):
                    mark = last
                if not whole:
                    return mark
                start += step
            look = min(2 * look, _LONGEST_LOOK)  # a closed gap may have years of committed partitions behind it

    def _reached(
        self, connection: sa.Connection, symbol: str, start: datetime, end: datetime
    ) -> dict[datetime, tuple[datetime | None, bool]]:
        """By partition: time of the last row accounted for, and whether that is all of the partition."""
        reached: dict[datetime, tuple[datetime | None, bool]] = {}
        step, grain = self.layout.step, self.layout.grain
        given = {"table_name": self.layout.name, "symbol": symbol, "first": start, "end": end}
        for row in connection.execute(_COMMITTED, given):
            last = row.start_utc + step - grain if row.complete else self._last_required(row)
            reached[row.start_utc] = (last, row.complete)
        for row in connection.execute(_REFUSED, given):
            last, whole = reached.get(row.start_utc, (None, False))
            until = row.accounted_until_utc - grain
            if until >= row.start_utc and (last is None or until > last):
                last = until
            reached[row.start_utc] = (last, whole or row.accounted_until_utc >= row.start_utc + step)
        return reached

    def _last_required(self, row: sa.Row[Any]) -> datetime | None:
        """Time of the last row of an open partition that does not count as provisional."""
        if row.max_ts is None or not row.expected_rows:
            return None
        last: datetime = row.max_ts
        required: int = row.expected_rows
        start: datetime = row.start_utc
        return min(last, start + (required - 1) * self.layout.grain)
