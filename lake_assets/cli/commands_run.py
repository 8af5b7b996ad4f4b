"""`lake run-once` and `lake run-daemon`: the lake kept up without Dagster.

Belongs here: which hours are due, the poll loop, exit codes. Does not belong here: building hours (`build`).
Hours that are built here are the same bytes as those of a run in Dagster; Dagster shows them after `lake
backfill-range` or a materialization there.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from lake_assets.build.hours import build_hours
from lake_assets.cli.options import INSTANT, Symbols, chosen_symbols, first_minute
from lake_assets.cli.printing import messages, show_error, terminal
from lake_assets.lake import Lake, open_lake
from lake_assets.windows import floor_minute, hours_between
from lake_resources.clock import MINUTE
from lake_resources.errors import ExchangeError, PartitionBusy, SettingsError, StorageError
from lake_resources.settings import LakeSettings
from lake_resources.storage.catalog import floor_hour

app = typer.Typer()

BOOTSTRAP = timedelta(minutes=120)
"""How far back a lake without any hour begins."""
At = Annotated[
    datetime | None,
    typer.Option(parser=first_minute, metavar="TIME", help=f"pretend that it is this (past) time; {INSTANT}"),
]
MaxHours = Annotated[int, typer.Option(min=1, max=24, help="build at most so many hours per symbol, oldest first")]


@app.command("run-once")
def run_once(symbols: Symbols = None, at: At = None, max_hours: MaxHours = 24) -> None:
    """Build the hours from the watermark to now, once, without Dagster. Exit code 1 if one failed.

    Examples: `lake run-once` · `lake run-once BTCUSDT --max-hours 1` · `lake run-once --at 2026-01-31T12:00`
    """
    settings = LakeSettings()
    lake = open_lake(settings)
    now = lake.clock()
    if at is not None:
        if at > now:
            raise SettingsError(
                f"--at {at:%Y-%m-%d %H:%M} UTC lies in the future", remedy=f"It is {now:%Y-%m-%d %H:%M} UTC"
            )
        now = at
    failed = 0
    for symbol in chosen_symbols(symbols, settings):
        failed += _advance(lake, symbol, now, max_hours, terminal())
    if failed:
        raise typer.Exit(1)


@app.command("run-daemon")
def run_daemon(
    symbols: Symbols = None,
    poll_seconds: Annotated[int, typer.Option(min=5, help="distance of polls; they keep to this grid")] = 60,
    max_hours: MaxHours = 24,
    polls: Annotated[int | None, typer.Option(min=1, hidden=True)] = None,
) -> None:
    """Do what `run-once` does, again and again until Ctrl+C.

    An exchange that fails is asked again at the next poll.

    Do not run it beside `lake up`, whose sensor does the same work.

    Example: lake run-daemon --poll-seconds 60
    """
    settings = LakeSettings()
    lake, console = open_lake(settings), terminal()
    done = 0
    try:
        while polls is None or done < polls:
            if done:
                time.sleep(poll_seconds - lake.clock().timestamp() % poll_seconds)
            for symbol in chosen_symbols(symbols, settings):
                try:
                    _advance(lake, symbol, lake.clock(), max_hours, console)
                except (ExchangeError, PartitionBusy) as error:
                    show_error(error, symbol)
                except StorageError as error:
                    if not error.retryable:
                        raise
                    show_error(error, symbol)
            done += 1
    except KeyboardInterrupt:
        messages().print("stopped")


def due_hours(lake: Lake, symbol: str, now: datetime) -> list[datetime]:
    """Hours from the one that the watermark stands in to the last of which a minute must exist."""
    target = floor_minute(now - timedelta(minutes=lake.safety_lag_minutes))
    mark = lake.ledger.watermark(symbol)
    start = target - BOOTSTRAP if mark is None else mark + MINUTE
    return hours_between(floor_hour(start), target) if start < target else []


def _advance(lake: Lake, symbol: str, now: datetime, max_hours: int, console: Console) -> int:
    before = lake.ledger.watermark(symbol)
    hours = due_hours(lake, symbol, now)[:max_hours]
    log = messages()
    days = build_hours(lake, symbol, hours, now=now, report=partial(log.print, markup=False)) if hours else ()
    results = [result for day in days for result in day.hours]
    after = lake.ledger.watermark(symbol)
    built = ", ".join(f"{result.hour:%m-%d %H:%M} {result.status}" for result in results) or "nothing due"
    console.print(f"{symbol}: {built}; watermark {_text(before)} → {_text(after)}, target {_text(_target(lake, now))}")
    for result in results:
        if result.failed:
            failed = f"[red]{symbol} {result.hour:%Y-%m-%d %H:%M} {result.status}[/]"
            log.print(f"{failed}: {escape(str(result.reason))}")
    return sum(result.failed for result in results)


def _target(lake: Lake, now: datetime) -> datetime:
    return floor_minute(now - timedelta(minutes=lake.safety_lag_minutes)) - MINUTE


def _text(instant: datetime | None) -> str:
    return "none" if instant is None else f"{instant:%Y-%m-%d %H:%M}"
