"""Order books from REST for symbols whose differences do not continue.

Belongs here: when to ask, and again where that failed. Does not belong here: what needs a book (`intake`), HTTP.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from lake_resources.backoff import Backoff
from lake_resources.collector.intake import Intake
from lake_resources.errors import ExchangeError, StorageError

log = logging.getLogger(__name__)

WAIT_MAX_S = 60.0
CALM_S = 120.0
_LOST_AGAIN = Backoff(2.0, WAIT_MAX_S)
_FAILED = Backoff(1.0, WAIT_MAX_S, jitter=0.25)


class BookSource(Protocol):
    """The REST call that is needed here."""

    def depth(self, symbol: str) -> dict[str, Any]:
        """The order book of now."""


@dataclass
class Snapshots:
    """Asks once per (re)synchronisation; a symbol that loses its book again and again has to wait.

    Args:
        rest: the exchange.
        intake: says which symbols need a book, takes the books.
        in_thread: runs a blocking call elsewhere.
        now_s: steady clock.
    """

    rest: BookSource
    intake: Intake
    in_thread: Callable[[Callable[[], Any]], Awaitable[Any]]
    now_s: Callable[[], float]
    _asked: dict[str, tuple[float, int]] = field(default_factory=dict)

    async def run(self) -> None:
        """Ask for what is due, for ever."""
        due = self.intake.snapshots_due
        running: set[asyncio.Task[None]] = set()
        try:
            while True:
                while due:
                    symbol = due.popleft()
                    task = asyncio.create_task(self._ask(symbol, self._wait_s(symbol)), name=f"snapshot {symbol}")
                    running.add(task)
                    task.add_done_callback(running.discard)
                await asyncio.sleep(0.05)
        finally:
            for task in running:
                task.cancel()

    def _wait_s(self, symbol: str) -> float:
        last_s, times = self._asked.get(symbol, (-CALM_S, 0))
        times = times + 1 if self.now_s() - last_s < CALM_S else 0
        self._asked[symbol] = (self.now_s(), times)
        return _LOST_AGAIN.after_s(times - 2)

    async def _ask(self, symbol: str, wait_s: float) -> None:
        await asyncio.sleep(wait_s)
        failures = 0
        while True:
            try:
                body = await self.in_thread(partial(self.rest.depth, symbol))
            except (ExchangeError, StorageError) as error:  # the governor's file may be locked
                log.warning("%s: no order book snapshot: %s", symbol, error)
                failures += 1
                await asyncio.sleep(_FAILED.after_s(failures))
            else:
                self.intake.snapshot(symbol, body)
                return
