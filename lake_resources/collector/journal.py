"""What the collector must not forget about itself: connections and lost trades, as rows of the ledger.

Belongs here: two tables and their statements. Does not belong here: deciding anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from lake_resources.storage.ledger_engine import LedgerEngine
from lake_resources.storage.ledger_tables import METADATA, UtcText

CONNECTIONS = sa.Table(
    "collector_connections",
    METADATA,
    sa.Column("conn", sa.BigInteger, primary_key=True),
    sa.Column("route", sa.String, nullable=False),
    sa.Column("opened_at_utc", UtcText, nullable=False),
    sa.Column("last_frame_at_utc", UtcText),
    sa.Column("closed_at_utc", UtcText),
    sa.Column("reason", sa.String),
    sa.Column("frames", sa.BigInteger, nullable=False),
    sa.Column("silent_streams", sa.String, nullable=False),
)
TRADE_GAPS = sa.Table(
    "collector_trade_gaps",
    METADATA,
    sa.Column("symbol", sa.String, primary_key=True),
    sa.Column("first_id", sa.BigInteger, primary_key=True),
    sa.Column("last_id", sa.BigInteger, primary_key=True),
    sa.Column("found_at_utc", UtcText, nullable=False),
    sa.Column("status", sa.String, nullable=False),
    sa.Column("settled_at_utc", UtcText),
    sa.Column("detail", sa.String, nullable=False),
)


@dataclass(frozen=True)
class ConnectionRow:
    """A connection: what it was and why it ended."""

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


class Journal(LedgerEngine):
    """The collector's tables in the ledger's database."""

    def opened(self, row: ConnectionRow) -> None:
        """Record a new connection."""
        with self._write() as db:
            db.execute(CONNECTIONS.insert().values(_connection_values(row)))

    def closed(self, row: ConnectionRow) -> None:
        """Record the end of a connection."""
        with self._write() as db:
            db.execute(CONNECTIONS.update().where(CONNECTIONS.c.conn == row.conn).values(_connection_values(row)))

    def close_left_open(self, at: datetime) -> int:
        """Connections of a collector that was killed; only for the one collector, when it starts."""
        with self._write() as db:
            changed = db.execute(
                CONNECTIONS.update()
                .where(CONNECTIONS.c.closed_at_utc.is_(None))
                .values(closed_at_utc=at, reason="the collector ended without closing it")
            )
            return int(changed.rowcount)

    def connections(self) -> list[ConnectionRow]:
        """All connections, in order of opening."""
        with self._read() as db:
            rows = db.execute(sa.select(CONNECTIONS).order_by(CONNECTIONS.c.opened_at_utc, CONNECTIONS.c.conn))
            return [ConnectionRow(*row) for row in rows]

    def gap(self, row: GapRow) -> None:
        """Record a gap, or what became of it."""
        values = {
            "symbol": row.symbol,
            "first_id": row.first_id,
            "last_id": row.last_id,
            "found_at_utc": row.found_at,
            "status": row.status,
            "settled_at_utc": row.settled_at,
            "detail": row.detail,
        }
        changes = {name: values[name] for name in ("status", "settled_at_utc", "detail")}
        with self._write() as db:
            db.execute(
                self._insert(TRADE_GAPS)
                .values(values)
                .on_conflict_do_update(index_elements=["symbol", "first_id", "last_id"], set_=changes)
            )

    def gaps(self, status: str | None = None) -> list[GapRow]:
        """Gaps, oldest first; only those of a status where one is given."""
        query = sa.select(TRADE_GAPS).order_by(TRADE_GAPS.c.symbol, TRADE_GAPS.c.first_id)
        if status is not None:
            query = query.where(TRADE_GAPS.c.status == status)
        with self._read() as db:
            return [GapRow(*row) for row in db.execute(query)]

    def prune(self, now: datetime, max_age: timedelta) -> None:
        """Forget connections that ended longer ago; gaps are kept, they explain the table for ever."""
        with self._write() as db:
            db.execute(CONNECTIONS.delete().where(CONNECTIONS.c.closed_at_utc < now - max_age))


def _connection_values(row: ConnectionRow) -> dict[str, object]:
    return {
        "conn": row.conn,
        "route": row.route,
        "opened_at_utc": row.opened_at,
        "last_frame_at_utc": row.last_frame_at,
        "closed_at_utc": row.closed_at,
        "reason": row.reason,
        "frames": row.frames,
        "silent_streams": row.silent_streams,
    }
