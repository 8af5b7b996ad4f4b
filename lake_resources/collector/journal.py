"""What the collector must not forget about itself: connections, lost trades and known ids, as rows of the ledger.

Belongs here: statements on its three tables. Does not belong here: deciding anything, waiting for a locked database
(`notebook`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from lake_resources.storage.ledger.engine import LedgerEngine
from lake_resources.storage.ledger.tables import CONNECTIONS, KNOWN_IDS, TRADE_GAPS

CONNECTIONS_KEPT = timedelta(days=30)


@dataclass(frozen=True)
class ConnectionRow:
    """A connection: what it was and why it ended. While it is open, `frames` and their last are those noted last."""

    conn: int
    route: str
    opened_at: datetime
    last_frame_at: datetime | None = None
    closed_at: datetime | None = None
    reason: str | None = None
    frames: int = 0
    silent_streams: str = ""


@dataclass(frozen=True)
class GapRow:
    """AggTrade ids that no socket brought: `open`, `healed` from REST, or `lost` for ever. Bounds inclusive."""

    symbol: str
    first_id: int
    last_id: int
    found_at: datetime
    status: str
    settled_at: datetime | None = None
    detail: str = ""


@dataclass(frozen=True)
class KnownRow:
    """Each aggTrade id of a symbol up to `last_id` is in a record on disk or within the row of a gap.

    Records of later ids are filed under `minute` (epoch minutes) or later ones, save a few that were late.
    """

    symbol: str
    last_id: int
    minute: int


Row = ConnectionRow | GapRow | KnownRow


class Journal(LedgerEngine):
    """What the collector of one market notes in the ledger's database.

    Args:
        url: SQLAlchemy URL of the ledger.
        market: name of the market, e.g. `um`.
        busy_ms: how long a write waits for another process's; default as the ledger's.
        shard: of whose symbols the collector is, `3/12`; empty for all. Collectors of several shards note in one
            ledger, and each knows its own connections alone; gaps and ids are of a symbol.
    """

    def __init__(self, url: str, market: str, busy_ms: int | None = None, shard: str = "") -> None:
        super().__init__(url, busy_ms)
        self._market = market
        self._whose = f"{market} {shard}" if shard else market

    def write(self, rows: Iterable[Row]) -> None:
        """Record rows, or what became of them; all or none.

        Raises:
            StorageError: the database did not take them.
        """
        with self.writing() as db:
            for row in rows:
                table, values = _values(row)
                values["market"] = self._market_in(table)
                key = [column.name for column in table.primary_key]
                changes = {name: value for name, value in values.items() if name not in {*key, "found_at_utc"}}
                db.execute(self.insert(table).values(values).on_conflict_do_update(index_elements=key, set_=changes))

    def connections(self, start: datetime | None = None, end: datetime | None = None) -> list[ConnectionRow]:
        """Connections, in order of opening; only those that were there at a moment of `[start, end)`."""
        query = self._select(CONNECTIONS).order_by(CONNECTIONS.c.opened_at_utc, CONNECTIONS.c.conn)
        if start is not None:
            query = query.where(sa.or_(CONNECTIONS.c.closed_at_utc.is_(None), CONNECTIONS.c.closed_at_utc > start))
        if end is not None:
            query = query.where(CONNECTIONS.c.opened_at_utc < end)
        with self.reading() as db:
            return [ConnectionRow(*row) for row in db.execute(query)]

    def left_open(self) -> list[ConnectionRow]:
        """Connections that nobody closed: those of a running collector, or of one that was killed."""
        return [row for row in self.connections() if row.closed_at is None]

    def gaps(
        self, status: str | None = None, start: datetime | None = None, end: datetime | None = None
    ) -> list[GapRow]:
        """Gaps, by symbol and id; only those of a status, or found in `[start, end)`, where that is given."""
        query = self._select(TRADE_GAPS).order_by(TRADE_GAPS.c.symbol, TRADE_GAPS.c.first_id)
        if status is not None:
            query = query.where(TRADE_GAPS.c.status == status)
        if start is not None:
            query = query.where(TRADE_GAPS.c.found_at_utc >= start)
        if end is not None:
            query = query.where(TRADE_GAPS.c.found_at_utc < end)
        with self.reading() as db:
            return [GapRow(*row) for row in db.execute(query)]

    def known(self) -> dict[str, KnownRow]:
        """What was known last of each symbol's ids."""
        with self.reading() as db:
            return {row.symbol: KnownRow(*row) for row in db.execute(self._select(KNOWN_IDS))}

    def prune(self, now: datetime) -> None:
        """Forget connections that ended long ago; gaps are kept, they explain the table for ever."""
        with self.writing() as db:
            mine = CONNECTIONS.c.market == self._whose
            db.execute(CONNECTIONS.delete().where(mine, CONNECTIONS.c.closed_at_utc < now - CONNECTIONS_KEPT))

    def _select(self, table: sa.Table) -> sa.Select[Any]:
        """The market's rows of a table, without the market."""
        columns = [column for column in table.columns if column.name != "market"]
        return sa.select(*columns).where(table.c.market == self._market_in(table))

    def _market_in(self, table: sa.Table) -> str:
        return self._whose if table is CONNECTIONS else self._market


def _values(row: Row) -> tuple[sa.Table, dict[str, object]]:
    if isinstance(row, GapRow):
        return TRADE_GAPS, {
            "symbol": row.symbol,
            "first_id": row.first_id,
            "last_id": row.last_id,
            "found_at_utc": row.found_at,
            "status": row.status,
            "settled_at_utc": row.settled_at,
            "detail": row.detail,
        }
    if isinstance(row, KnownRow):
        return KNOWN_IDS, {"symbol": row.symbol, "last_id": row.last_id, "minute": row.minute}
    return CONNECTIONS, {
        "conn": row.conn,
        "route": row.route,
        "opened_at_utc": row.opened_at,
        "last_frame_at_utc": row.last_frame_at,
        "closed_at_utc": row.closed_at,
        "reason": row.reason,
        "frames": row.frames,
        "silent_streams": row.silent_streams,
    }
