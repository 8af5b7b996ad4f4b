"""Following backfills of Dagster until they end: how far they are, and what they wait for.

Belongs here: the count, the words beside it, a bar on a terminal and lines elsewhere. Does not belong here: what is
launched (`commands_backfill`, `commands_klines`), the questions to Dagster (`local_stack.graphql`).

Dagster counts nothing of a backfill before the last of its runs is queued: of five years that takes it many minutes,
in which its first runs have long committed. So what the ledger holds counts too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)  # fmt: skip

from lake_assets.cli.printing import coloured
from lake_assets.local_stack.graphql import BackfillProgress

_POLL_S = 2.0
_LINE_S = 15.0
"""Where there is no terminal to draw on, a line is printed no more often than this."""


class Commits(Protocol):
    """The ledger of a table, as far as it is asked here."""

    def commits_since(self, symbol: str, since: datetime) -> list[tuple[datetime, datetime]]:
        """Start and instant of commit, as `FactRows.commits_since`."""


class Backfills(Protocol):
    """Dagster, as far as it is asked here."""

    def backfill(self, backfill_id: str) -> BackfillProgress:
        """Progress of a backfill, as `DagsterApi.backfill`."""


@dataclass
class Followed:
    """A symbol's part of a backfill.

    Attributes:
        symbol: whose partitions.
        backfill_id: of Dagster; several symbols may be of one backfill.
        key: parts of the asset's key.
        ledger: of the table.
        wanted: starts of the partitions that were wrong when it was launched, or when an older one was found running.
        left_out: wrong partitions that are none of the backfill.
        since: commits from this instant on are its work, UTC.
    """

    symbol: str
    backfill_id: str
    key: tuple[str, ...]
    ledger: Commits
    wanted: Collection[datetime]
    since: datetime
    left_out: int = 0
    _committed: set[datetime] = field(default_factory=set)

    def count(self, found: BackfillProgress) -> tuple[int, int]:
        """Partitions that are done (committed, or failed) and all of the backfill."""
        for start, committed_at in self.ledger.commits_since(self.symbol, self.since):
            self.since = max(self.since, committed_at)
            if start in self.wanted:
                self._committed.add(start)
        counts = next((asset for asset in found.assets if asset.key == self.key), None)
        if counts is None:
            return len(self._committed), len(self.wanted)
        before = max(0, counts.targeted - len(self.wanted) - self.left_out)
        known = max(counts.materialized, before + len(self._committed)) + counts.failed
        return min(known, counts.targeted), counts.targeted

    def words(self, found: BackfillProgress) -> str:
        """What happens now, or what is waited for."""
        counts = next((asset for asset in found.assets if asset.key == self.key), None)
        parts = [f"{counts.failed:,} failed"] if counts is not None and counts.failed else []
        runs = found.runs
        if found.finished:
            parts.append(found.status.lower().replace("_", " "))
        elif not runs.total:
            parts.append("Dagster divides it into runs")
        elif not runs.working and not runs.waiting:
            parts.append("Dagster counts its runs")
        else:
            parts.append(f"runs: {runs.working:,} working, {runs.waiting:,} waiting")
        return ", ".join(parts)


def follow_backfills(
    api: Backfills,
    followed: Sequence[Followed],
    console: Console,
    *,
    pause: Callable[[float], object] = time.sleep,
    seconds: Callable[[], float] = time.monotonic,
) -> None:
    """Show a bar per symbol until its backfill ends; Ctrl+C stops following, not the backfill.

    Args:
        api: Dagster.
        followed: at least one.
        console: where it is shown; lines instead of bars where it is no terminal.
        pause: waits for so many seconds.
        seconds: of a clock that never goes back.
    """
    shown = _Bars(console) if console.is_terminal else _Lines(console, seconds)
    ended: dict[str, BackfillProgress] = {}
    with shown.drawn():
        while True:
            asked = {each.backfill_id: api.backfill(each.backfill_id) for each in followed if each.symbol not in ended}
            for each in followed:
                if each.symbol not in ended:
                    found = asked[each.backfill_id]
                    shown.show(each.symbol, *each.count(found), each.words(found), last=found.finished)
                    if found.finished:
                        ended[each.symbol] = found
            if len(ended) == len(followed):
                break
            pause(_POLL_S)
    for symbol, found in ended.items():
        if found.error:
            console.print(coloured(f"{symbol}: backfill ended {found.status}: {found.error}", "red"))


class _Bars:
    """A bar per symbol on a terminal."""

    def __init__(self, console: Console) -> None:
        columns = (
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[state]}"),
            TimeElapsedColumn(), TimeRemainingColumn(),
        )  # fmt: skip
        self._bar = Progress(*columns, console=console)
        self._tasks: dict[str, TaskID] = {}

    def drawn(self) -> AbstractContextManager[object]:
        """The time in which it is drawn."""
        return self._bar

    def show(self, symbol: str, done: int, total: int, state: str, *, last: bool) -> None:  # noqa: ARG002
        """Move one bar."""
        if symbol not in self._tasks:
            self._tasks[symbol] = self._bar.add_task(symbol, total=None, state="")
        self._bar.update(self._tasks[symbol], completed=done, total=total, state=state)


class _Lines:
    """Lines of a log: the first at once, then no more often than that somebody can read them, and the last."""

    def __init__(self, console: Console, seconds: Callable[[], float]) -> None:
        self._console, self._seconds = console, seconds
        self._told: dict[str, tuple[float, str]] = {}

    def drawn(self) -> AbstractContextManager[object]:
        """Lines need none."""
        return nullcontext()

    def show(self, symbol: str, done: int, total: int, state: str, *, last: bool) -> None:
        """Print a line where it says something new."""
        line, now = f"{symbol}: {done:,} of {total:,}, {state}", self._seconds()
        told_at, before = self._told.get(symbol, (float("-inf"), ""))
        if line != before and (last or now - told_at >= _LINE_S):
            self._console.print(line)
            self._told[symbol] = (now, line)
