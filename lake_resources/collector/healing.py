"""Fetching the trades that no socket brought, by id, while REST still has them.

Belongs here: which gap next, how fast, what is given up, what the journal hears of it.
Does not belong here: noticing gaps (`trade_ids`), what a restart must know (`left_off`), HTTP.
Runs in a thread per page; everything it learns goes back to the event loop.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any, Protocol, cast

from lake_resources.binance.streams import rest_memories
from lake_resources.binance.um_streams import AGG_TRADES
from lake_resources.binance.ws.subscriptions import witness_of_trades
from lake_resources.clock import from_epoch_ns
from lake_resources.collector.intake import Intake
from lake_resources.collector.journal import GapRow, KnownRow
from lake_resources.collector.notebook import Notebook
from lake_resources.collector.trade_ids import Gap
from lake_resources.errors import ExchangeError, MalformedAnswer, OutsideRetention, StorageError

PATIENCE_S = 2.0
"""A gap that is younger may be a mere change of order."""
LOOK_S = 0.5
KNOWN_S = 10.0
"""What is known of the ids is noted this often: so far back a restart has to read, at least."""
PAGE_PAUSE_S = 1.0
"""At most 60 pages a minute: half of the exchange's weight, and the governor's share is for others, too."""
RETRY_FIRST_S, RETRY_MAX_S = 5.0, 300.0


class TradeSource(Protocol):
    """The REST call that is needed here."""

    def agg_trades_by_id(self, symbol: str, first_id: int, last_id: int) -> list[dict[str, Any]]:
        """One page of aggTrades by id."""


class CoveringSource(Protocol):
    """The REST call that is needed where single trades were missed, which REST has only in aggTrades without a key."""

    def agg_trades_covering(self, symbol: str, first_id: int, last_id: int) -> list[dict[str, Any]]:
        """One page of aggTrades that stand for trades of these ids."""


@dataclass
class _Patience:
    """When to ask again."""

    not_before_s: float = 0.0
    wait_s: float = RETRY_FIRST_S

    def later(self, now_s: float) -> None:
        self.not_before_s = now_s + self.wait_s
        self.wait_s = min(2 * self.wait_s, RETRY_MAX_S)


@dataclass
class _Attempt:
    row: GapRow
    patience: _Patience = field(default_factory=_Patience)
    lost: list[str] = field(default_factory=list)
    whole_at_seq: int | None = None


@dataclass
class Healer:
    """Heals the gaps of all symbols, one page at a time, the symbols in turn.

    Args:
        rest: the exchange.
        intake: knows the gaps, takes the trades.
        notebook: brings to the journal what must not be forgotten.
        in_thread: runs a blocking call elsewhere.
        now_s: steady clock.
        known: rows of gaps that an earlier collector left open.
    """

    rest: TradeSource | CoveringSource
    intake: Intake
    notebook: Notebook
    in_thread: Callable[[Callable[[], Any]], Awaitable[Any]]
    now_s: Callable[[], float]
    known: Iterable[GapRow] = ()
    _attempts: dict[str, list[_Attempt]] = field(default_factory=dict)
    _symbols: dict[str, _Patience] = field(default_factory=dict)
    _found: asyncio.Event = field(default_factory=asyncio.Event)
    _known_s: float = 0.0
    _known_next: tuple[int, list[KnownRow]] | None = None

    def __post_init__(self) -> None:
        first, last = witness_of_trades(self.intake.market.name).healed_by
        self._covered = first != last
        self._memory = rest_memories(self.intake.market.name)[AGG_TRADES.name]
        # In the order in which they are served; who was served goes to the end.
        self._symbols = {symbol: _Patience() for symbol in self.intake.trades}
        self._attempts = {symbol: [] for symbol in self.intake.trades}
        for row in sorted(self.known, key=lambda row: row.first_id):
            if row.symbol in self._attempts:
                self._attempts[row.symbol].append(_Attempt(row))

    async def watch(self) -> None:
        """Look for ever, beside `run`: a slow answer must not keep other gaps out of the journal."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def run(self) -> None:
        """Fetch for ever."""
        while True:
            if not await self.fetch():
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._found.wait(), PAGE_PAUSE_S)
                self._found.clear()

    async def look(self) -> None:
        """Journal the gaps that are due, those that are settled, and what is known of the ids."""
        now_s = self.now_s()
        found = [
            (symbol, _Attempt(GapRow(symbol, gap.first_id, gap.last_id, self._now(), "open")))
            for symbol, ids in self.intake.trades.items()
            for gap in ids.due(now_s, PATIENCE_S)
            if self._attempt(symbol, gap) is None
        ]
        for _, attempt in found:
            self.notebook.note(attempt.row)
        if found:
            await self.notebook.write()
        for symbol, attempt in found:
            attempts = self._attempts[symbol]
            attempts.insert(bisect_right(attempts, attempt.row.first_id, key=_first_id), attempt)
            self._found.set()
        self.settle()
        self._note_known(now_s)

    async def fetch(self) -> bool:
        """Fetch one page, if a journalled gap is due; False when nothing was to be done."""
        now_s = self.now_s()
        for symbol, patience in list(self._symbols.items()):
            if patience.not_before_s > now_s:
                continue
            for gap in self.intake.trades[symbol].due(now_s, PATIENCE_S):
                attempt = self._attempt(symbol, gap)
                if attempt is not None and attempt.patience.not_before_s <= now_s:
                    self._symbols[symbol] = self._symbols.pop(symbol)
                    await self._page(symbol, gap, attempt)
                    await asyncio.sleep(PAGE_PAUSE_S if gap.count > 1000 else 0)
                    return True
        return False

    def _attempt(self, symbol: str, gap: Gap) -> _Attempt | None:
        """The row a gap belongs to: it stays as wide as it was found, however the gap shrinks."""
        attempts = self._attempts[symbol]
        before = bisect_right(attempts, gap.first_id, key=_first_id)
        if before and gap.last_id <= attempts[before - 1].row.last_id:
            return attempts[before - 1]
        return None

    async def _page(self, symbol: str, gap: Gap, attempt: _Attempt) -> None:
        """Ask once.

        Final is only that REST does not reach back any more. A refusal may be the firewall's or a wrong address', and
        also "no such symbol" may be said of a symbol that is halted or by the wrong host: asking again costs a call in
        five minutes, for two days; believing it once too early costs the trades.
        """
        try:
            rows = await self.in_thread(partial(self._fetched, symbol, gap.first_id, gap.last_id))
        except OutsideRetention as error:
            kept_id = await self._first_kept(symbol, gap)
            self._lost(symbol, Gap(gap.first_id, kept_id - 1, gap.since_s), attempt, str(error))
        except MalformedAnswer as error:  # what is wrong with this gap says nothing about the next one
            self._failed(symbol, gap, attempt, attempt.patience, str(error))
        except (ExchangeError, StorageError) as error:  # the governor's file may be locked
            self._failed(symbol, gap, attempt, self._symbols[symbol], str(error))
        else:
            self._symbols[symbol] = _Patience()
            if self.intake.healed(symbol, rows, self.now_s()):
                attempt.patience = _Patience()
            else:
                self._failed(symbol, gap, attempt, attempt.patience, "REST does not have these ids")

    def _fetched(self, symbol: str, first_id: int, last_id: int) -> list[dict[str, Any]]:
        if self._covered:
            return cast("CoveringSource", self.rest).agg_trades_covering(symbol, first_id, last_id)
        return cast("TradeSource", self.rest).agg_trades_by_id(symbol, first_id, last_id)

    async def _first_kept(self, symbol: str, gap: Gap) -> int:
        """First id of a gap that REST still has, or the one after the gap: some twenty requests for any length."""
        refused, kept = gap.first_id, gap.last_id + 1
        while kept - refused > 1:
            middle = (refused + kept) // 2
            try:
                await self.in_thread(partial(self._fetched, symbol, middle, middle))
            except OutsideRetention:
                refused = middle
            except (ExchangeError, StorageError):
                # Not known: what lies above the refused half is asked for again later.
                return refused + 1
            else:
                kept = middle
        return kept

    def _failed(self, symbol: str, gap: Gap, attempt: _Attempt, patience: _Patience, why: str) -> None:
        # A gap is found after its trades happened: so long after that REST has forgotten them.
        if self._memory is not None and self._now() - attempt.row.found_at >= self._memory:
            self._lost(symbol, gap, attempt, why)
            return
        patience.later(self.now_s())
        attempt.row = replace(attempt.row, detail="; ".join([*attempt.lost, why]))
        self.notebook.note(attempt.row)

    def _lost(self, symbol: str, gap: Gap, attempt: _Attempt, why: str) -> None:
        """What is missing of it now is missing for ever. The row is settled when nothing else is missing of it."""
        self.intake.trades[symbol].give_up(gap.first_id, gap.last_id)
        attempt.lost.append(f"ids {gap.first_id} to {gap.last_id}: {why}")

    def settle(self) -> None:
        """Note the rows of gaps of which nothing is missing any more, and whose trades are on disk."""
        for symbol, attempts in self._attempts.items():
            missing = self.intake.trades[symbol].gaps
            for attempt in list(attempts):
                row = attempt.row
                after = bisect_right(missing, row.last_id, key=lambda gap: gap.first_id)
                if after and missing[after - 1].last_id >= row.first_id:
                    continue
                if attempt.whole_at_seq is None:
                    attempt.whole_at_seq = self.intake.next_seq
                if attempt.whole_at_seq > self.intake.flushed_seq:
                    continue
                attempts.remove(attempt)
                status, detail = ("lost", "; ".join(attempt.lost)) if attempt.lost else ("healed", "")
                self.notebook.note(replace(row, status=status, settled_at=self._now(), detail=detail))

    def _note_known(self, now_s: float) -> None:
        """A restart takes ids up to here as known, so all of them have to be on disk or in a row before it is noted."""
        if self._known_next is not None and self._known_next[0] <= self.intake.flushed_seq:
            for row in self._known_next[1]:
                self.notebook.note(row)
            self._known_next = None
        if self._known_next is None and self.intake.newest_minute and now_s - self._known_s >= KNOWN_S:
            self._known_s = now_s
            rows = [
                KnownRow(symbol, known_id, self.intake.newest_minute)
                for symbol in self.intake.trades
                if (known_id := self._known_id(symbol)) is not None
            ]
            self._known_next = self.intake.next_seq, rows

    def _known_id(self, symbol: str) -> int | None:
        """The newest id below which every missing one is within a row."""
        ids = self.intake.trades[symbol]
        young = (gap.first_id - 1 for gap in ids.gaps if self._attempt(symbol, gap) is None)
        return next(young, ids.last_id)

    def _now(self) -> datetime:
        return from_epoch_ns(self.intake.clock_ns())


def _first_id(attempt: _Attempt) -> int:
    return attempt.row.first_id
