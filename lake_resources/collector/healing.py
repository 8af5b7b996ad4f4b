"""Fetching the trades that no socket brought, by id, while REST still has them.

Belongs here: which gap next, how fast, what is given up. Does not belong here: noticing gaps (`trade_ids`), HTTP.
Runs in a thread per page; everything it learns goes back to the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol

from lake_resources.collector.intake import Intake
from lake_resources.collector.journal import GapRow, Journal
from lake_resources.collector.trade_ids import Gap
from lake_resources.errors import ExchangeError, OutsideRetention, RequestRefused

PATIENCE_S = 2.0
"""A gap that is younger may be a mere change of order."""
PAGE_PAUSE_S = 1.0
"""At most 60 pages a minute: half of the exchange's weight, and the governor's share is for others, too."""
RETRY_FIRST_S, RETRY_MAX_S = 5.0, 300.0
EMPTY_ANSWERS = 5
"""So often REST may not have an id yet (or not at all) before it counts as lost."""


class TradeSource(Protocol):
    """The REST call that is needed here."""

    def agg_trades_by_id(self, symbol: str, first_id: int, last_id: int) -> list[dict[str, Any]]:
        """One page of aggTrades by id."""


@dataclass
class _Attempt:
    row: GapRow
    not_before_s: float = 0.0
    wait_s: float = RETRY_FIRST_S
    empty: int = 0
    lost: list[str] = field(default_factory=list)


@dataclass
class Healer:
    """Heals the gaps of all symbols, one page at a time.

    Args:
        rest: the exchange.
        intake: knows the gaps, takes the trades.
        journal: remembers them.
        in_thread: runs a blocking call elsewhere.
        now_s: steady clock.
    """

    rest: TradeSource
    intake: Intake
    journal: Journal
    in_thread: Callable[[Callable[[], Any]], Awaitable[Any]]
    now_s: Callable[[], float]
    _attempts: dict[tuple[str, int, int], _Attempt] = field(default_factory=dict)

    async def run(self) -> None:
        """Look for due gaps for ever."""
        while True:
            if not await self.step():
                await asyncio.sleep(PAGE_PAUSE_S)

    async def step(self) -> bool:
        """Fetch one page, if a gap is due; False when nothing was to be done."""
        now_s = self.now_s()
        for symbol, ids in self.intake.trades.items():
            for gap in ids.due(now_s, PATIENCE_S):
                attempt = await self._attempt(symbol, gap)
                if attempt.not_before_s <= now_s:
                    await self._page(symbol, gap, attempt)
                    await asyncio.sleep(PAGE_PAUSE_S if gap.count > 1000 else 0)
                    return True
        await self._settle()
        return False

    async def _attempt(self, symbol: str, gap: Gap) -> _Attempt:
        """The journal keeps a gap as it was found, however it shrinks."""
        for (of, first_id, last_id), attempt in self._attempts.items():
            if of == symbol and first_id <= gap.first_id and gap.last_id <= last_id:
                return attempt
        row = GapRow(symbol, gap.first_id, gap.last_id, self._now(), "open")
        await self.in_thread(partial(self.journal.gap, row))
        return self._attempts.setdefault((symbol, gap.first_id, gap.last_id), _Attempt(row))

    async def _page(self, symbol: str, gap: Gap, attempt: _Attempt) -> None:
        try:
            rows = await self.in_thread(partial(self.rest.agg_trades_by_id, symbol, gap.first_id, gap.last_id))
        except OutsideRetention as error:
            kept_id = await self._first_kept(symbol, gap)
            await self._lost(symbol, Gap(gap.first_id, kept_id - 1, gap.since_s), attempt, str(error))
        except RequestRefused as error:
            await self._lost(symbol, gap, attempt, str(error))
        except ExchangeError as error:
            attempt.row = replace(attempt.row, detail=str(error))
            self._later(attempt)
        else:
            if self.intake.healed(symbol, rows, self.now_s()):
                attempt.wait_s, attempt.empty = RETRY_FIRST_S, 0
                return
            attempt.empty += 1
            if attempt.empty >= EMPTY_ANSWERS:
                await self._lost(symbol, gap, attempt, "REST does not have these ids")
            else:
                self._later(attempt)

    async def _first_kept(self, symbol: str, gap: Gap) -> int:
        """First id of a gap that REST still has, or the one after the gap: some twenty requests for any length."""
        refused, kept = gap.first_id, gap.last_id + 1
        while kept - refused > 1:
            middle = (refused + kept) // 2
            try:
                await self.in_thread(partial(self.rest.agg_trades_by_id, symbol, middle, middle))
            except OutsideRetention:
                refused = middle
            except ExchangeError:
                # Not known: what lies above the refused half is asked for again later.
                return refused + 1
            else:
                kept = middle
        return kept

    def _later(self, attempt: _Attempt) -> None:
        attempt.not_before_s = self.now_s() + attempt.wait_s
        attempt.wait_s = min(2 * attempt.wait_s, RETRY_MAX_S)

    async def _lost(self, symbol: str, gap: Gap, attempt: _Attempt, why: str) -> None:
        """What is missing of it now is missing for ever. The row stays as wide as the gap was found."""
        self.intake.trades[symbol].give_up(gap.first_id, gap.last_id)
        attempt.lost.append(f"ids {gap.first_id} to {gap.last_id}: {why}")
        detail = "; ".join(attempt.lost)
        attempt.row = replace(attempt.row, status="lost", settled_at=self._now(), detail=detail)
        await self.in_thread(partial(self.journal.gap, attempt.row))

    async def _settle(self) -> None:
        """Close the rows of gaps of which nothing is missing any more."""
        for key, attempt in list(self._attempts.items()):
            symbol, first_id, last_id = key
            missing = self.intake.trades[symbol].gaps
            if any(gap.first_id <= last_id and gap.last_id >= first_id for gap in missing):
                continue
            del self._attempts[key]
            if not attempt.lost:
                row = replace(attempt.row, status="healed", settled_at=self._now(), detail="")
                await self.in_thread(partial(self.journal.gap, row))

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self.intake.clock_ns() / 1e9, UTC)
