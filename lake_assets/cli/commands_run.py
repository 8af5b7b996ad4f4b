"""`lake run-once` and `lake run-daemon`: a table of the lake kept up without Dagster.

Belongs here: which partitions are due, the poll loop, exit codes. Does not belong here: building them (`build`).
What is built here has the same bytes as that of a run in Dagster; Dagster shows it after `lake backfill-range` or a
materialization there.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer
from rich.console import Console

from lake_assets.build.hours import build_partitions
from lake_assets.cli.exits import Exit
from lake_assets.cli.options import INSTANT, AsJson, Symbols, first_minute
from lake_assets.cli.printing import coloured, messages, show_error, show_json, terminal
from lake_assets.cli.table_option import MINUTES, ChosenTable, symbols_with
from lake_assets.inputs.results import HourResult
from lake_assets.lake import Lake, open_lake
from lake_assets.local_stack.lone_exchange import exchange_there
from lake_assets.schema.table import Table
from lake_resources.errors import ExchangeError, PartitionBusy, SettingsError, StorageError
from lake_resources.settings import LakeSettings

app = typer.Typer()

BOOTSTRAP = timedelta(minutes=120)
"""How far back a table without any partition begins."""
At = Annotated[
    datetime | None,
    typer.Option(parser=first_minute, metavar="TIME", help=f"pretend that it is this (past) time; {INSTANT}"),
]
MaxHours = Annotated[
    int,
    typer.Option(min=1, max=24, help="build at most so many hours (days, of a table of days) per symbol, oldest first"),
]


@app.command("run-once")
def run_once(
    symbols: Symbols = None,
    at: At = None,
    max_hours: MaxHours = 24,
    table: ChosenTable = MINUTES,
    as_json: AsJson = False,
) -> None:
    """Build the hours from the watermark to now, once, without Dagster. Exit code 1 if one failed.

    Of a table of days it builds the days. A table that has no watermark yet begins two hours back.

    Examples: `lake run-once` · `lake run-once BTCUSDT --max-hours 1` · `lake run-once --at 2026-01-31T12:00`
    · `lake run-once SOLUSDT --table bars_1s`
    """
    settings = LakeSettings()
    chosen = _symbols(settings, table, symbols)
    lake = open_lake(settings).of(table)
    now = lake.clock()
    if at is not None:
        if at > now:
            raise SettingsError(
                f"--at {at:%Y-%m-%d %H:%M} UTC lies in the future", remedy=f"It is {now:%Y-%m-%d %H:%M} UTC"
            )
        now = at
    done = []
    with exchange_there(settings, say=messages().print):
        for symbol in chosen:
            done.append(_advance(lake, symbol, now, max_hours))
            if not as_json:
                terminal().print(done[-1].text(lake, now))
    if as_json:
        show_json([advance.as_json() for advance in done])
    if any(advance.failed for advance in done):
        raise typer.Exit(Exit.REFUSED)


@app.command("run-daemon")
def run_daemon(
    symbols: Symbols = None,
    poll_seconds: Annotated[int, typer.Option(min=5, help="distance of polls; they keep to this grid")] = 60,
    max_hours: MaxHours = 24,
    table: ChosenTable = MINUTES,
    polls: Annotated[int | None, typer.Option(min=1, hidden=True)] = None,
) -> None:
    """Do what `run-once` does, again and again until Ctrl+C.

    An exchange that fails is asked again at the next poll.

    Do not run it beside `lake up`, whose sensor does the same work.

    Example: lake run-daemon --poll-seconds 60
    """
    settings = LakeSettings()
    chosen = _symbols(settings, table, symbols)
    lake, console = open_lake(settings).of(table), terminal()
    try:
        with exchange_there(settings, say=messages().print):
            done = 0
            while polls is None or done < polls:
                if done:
                    time.sleep(poll_seconds - lake.clock().timestamp() % poll_seconds)
                for symbol in chosen:
                    _poll(lake, symbol, max_hours, console)
                done += 1
    except KeyboardInterrupt:
        messages().print("stopped")


def _poll(lake: Lake, symbol: str, max_hours: int, console: Console) -> None:
    """Advance a symbol; what fails and may be there at the next poll is told."""
    try:
        now = lake.clock()
        console.print(_advance(lake, symbol, now, max_hours).text(lake, now))
    except (ExchangeError, PartitionBusy) as error:
        show_error(error, symbol)
    except StorageError as error:
        if not error.retryable:
            raise
        show_error(error, symbol)


def due_partitions(lake: Lake, symbol: str, now: datetime) -> list[datetime]:
    """Starts of partitions, from the one that the watermark stands in to the last of which a row must exist; UTC."""
    layout, target = lake.store.layout, _target(lake, now)
    mark = lake.ledger.watermark(symbol)
    start = target - BOOTSTRAP if mark is None else mark + layout.grain
    return list(layout.between(start, target)) if start < target else []


def _symbols(settings: LakeSettings, table: Table, given: list[str] | None) -> tuple[str, ...]:
    """The symbols that are kept up.

    Raises:
        SettingsError: the table is not built from streams, or no symbol is given and the settings name none.
    """
    if not table.builder:
        raise SettingsError(
            f"the {table.layout.title} is not built from streams of Binance",
            remedy="`lake up` loads it by its schedule",
        )
    chosen = symbols_with(table, given, settings)
    if not chosen:
        raise SettingsError(
            f"no symbol of the {table.layout.title} is named", remedy="Name one, or set LAKE_SPOT_SYMBOLS"
        )
    return chosen


@dataclass(frozen=True)
class _Advance:
    """What one symbol became: its watermarks before and after, and the partitions that were built."""

    symbol: str
    before: datetime | None
    after: datetime | None
    hours: tuple[HourResult, ...]

    @property
    def failed(self) -> int:
        """Partitions that failed."""
        return sum(result.failed for result in self.hours)

    def text(self, lake: Lake, now: datetime) -> str:
        """One line for a terminal or a log."""
        table = lake.table
        built = ", ".join(f"{result.hour:%m-%d %H:%M} {result.status}" for result in self.hours) or "nothing due"
        before, after = ("none" if mark is None else table.row_text(mark) for mark in (self.before, self.after))
        target = table.row_text(_target(lake, now) - table.layout.grain)
        marks = f"watermark {before} → {after}, target {target}"
        return f"{self.symbol}: {built}; {marks}"

    def as_json(self) -> dict[str, Any]:
        """JSON values."""
        hours = [{"hour": each.hour, "status": each.status, "reason": each.reason or None} for each in self.hours]
        marks = {"watermark_before": self.before, "watermark": self.after}
        return {"symbol": self.symbol, **marks, "failed": self.failed, "hours": hours}


def _advance(lake: Lake, symbol: str, now: datetime, max_hours: int) -> _Advance:
    before = lake.ledger.watermark(symbol)
    starts = due_partitions(lake, symbol, now)[:max_hours]
    log = messages()
    days = build_partitions(lake, symbol, starts, now=now, report=log.print) if starts else ()
    results = tuple(result for day in days for result in day.hours)
    for result in results:
        if result.failed:
            log.print(coloured(f"{symbol} {result.hour:%Y-%m-%d %H:%M} {result.status}", "red", f": {result.reason}"))
    return _Advance(symbol, before, lake.ledger.watermark(symbol), results)


def _target(lake: Lake, now: datetime) -> datetime:
    """The end of the last row that must exist at `now`, UTC."""
    return lake.store.layout.row_start(now - timedelta(minutes=lake.safety_lag_minutes))
