"""Rows on their way into the journal: the newest of each, written together, and again later where that failed.

Belongs here: what waits, one attempt to write it. Does not belong here: statements (`journal`), tasks (`collector`).
The records are the collector's truth. That another process keeps the database locked must neither end it nor keep it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import Any

from lake_resources.collector.journal import ConnectionRow, GapRow, Journal, KnownRow, Row
from lake_resources.errors import StorageError

log = logging.getLogger(__name__)


class Notebook:
    """Takes rows at any time; `write` brings them to the journal.

    Args:
        journal: of the lake.
        in_thread: runs a blocking call elsewhere, one after the other.
    """

    def __init__(self, journal: Journal, in_thread: Callable[[Callable[[], None]], Awaitable[Any]]) -> None:
        self._journal = journal
        self._in_thread = in_thread
        self._waiting: dict[tuple[object, ...], Row] = {}
        self._writing = asyncio.Lock()
        self._refused = False

    def note(self, row: Row) -> None:
        """Keep a row to be written; it replaces an earlier one of the same connection, gap or symbol."""
        self._waiting[_key(row)] = row

    async def write(self) -> bool:
        """Write what waits, all or nothing; False where the database did not take it: then it waits on."""
        async with self._writing:
            rows, self._waiting = self._waiting, {}
            if not rows:
                return True
            written = False
            try:
                written = await self._tried(partial(self._journal.write, tuple(rows.values())), len(rows))
            finally:
                if not written:
                    self._waiting = rows | self._waiting
            return written

    async def prune(self, now: datetime) -> None:
        """Let the journal forget what is old; where the database is locked, another time."""
        async with self._writing:
            await self._tried(partial(self._journal.prune, now), 0)

    async def _tried(self, call: Callable[[], None], rows: int) -> bool:
        try:
            await self._in_thread(call)
        except StorageError as error:
            if not self._refused:
                log.warning("the journal is not written for now, %d rows wait: %s", rows, error)
            self._refused = True
            return False
        if self._refused:
            log.info("the journal is written again")
        self._refused = False
        return True


def _key(row: Row) -> tuple[object, ...]:
    if isinstance(row, ConnectionRow):
        return (ConnectionRow, row.conn)
    if isinstance(row, GapRow):
        return (GapRow, row.symbol, row.first_id, row.last_id)
    return (KnownRow, row.symbol)
