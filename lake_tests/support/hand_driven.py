"""A collector without sockets that a test drives by hand: what it hears, when it writes, heals, is killed and starts.

Belongs here: intake, segments, notebook and healer of one symbol, put together as the collector does. Does not belong
here: what is traded and what REST answers, which the tests script.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lake_resources.binance.market import Market
from lake_resources.collector.healing import Healer
from lake_resources.collector.intake import Intake
from lake_resources.collector.journal import Journal
from lake_resources.collector.left_off import left_off
from lake_resources.collector.notebook import Notebook
from lake_resources.collector.segments import SegmentWriter, recover
from lake_tests.support.observers import SilentObserver


class HandDriven:
    """The parts of a collector; `segments` and `journal` are set before `begin`."""

    segments: Path
    journal: Journal
    writer: SegmentWriter
    intake: Intake
    notebook: Notebook
    healer: Healer

    def begin(
        self, symbol: str, market: Market, rest: Any, clock_ns: Callable[[], int], seq: int | None = None
    ) -> None:
        """Start as the collector does, from what is on the disk.

        Args:
            symbol: the only one.
            market: of the symbol.
            rest: answers for gaps, as the market's client does.
            clock_ns: epoch nanoseconds.
            seq: number of the next record; None begins with 1.
        """
        recover(self.segments)
        left = left_off(self.journal, self.segments, [symbol], {}, market)
        self.writer = SegmentWriter(self.segments)
        self.intake = Intake(
            [symbol], self.writer, SilentObserver(), clock_ns, seq or 1, left.last_ids, open_gaps=left.missing,
            market=market,
        )  # fmt: skip
        self.notebook = Notebook(self.journal, self.at_once)
        self.healer = Healer(rest, self.intake, self.notebook, self.at_once, self.now_s, left.gaps)

    @staticmethod
    async def at_once(call: Callable[[], Any]) -> Any:
        """Where the collector has a thread for it, the test waits."""
        return call()

    def now_s(self) -> float:
        """Monotonic seconds of the test's clock."""
        raise NotImplementedError

    def flush(self) -> None:
        """Write what was heard, and close the minutes that are over."""
        seq = self.intake.next_seq
        buffers, _ = self.writer.take()
        if buffers:
            self.writer.write(buffers, seq)
        self.intake.flushed_seq = seq
        self.writer.close_before(self.intake.newest_minute - 1)

    def heal(self) -> None:
        """One round of healing."""

        async def once() -> None:
            await self.healer.look()
            await self.notebook.write()
            await self.healer.fetch()

        asyncio.run(once())
