"""`lake backfill-years` and `lake backfill-range`: audit, plan, launch through Dagster, follow, audit again.

Belongs here: the commands, the plan as a table. Does not belong here: the audit and the plan (`audit`), how far it is
(`backfill_progress`), building partitions (`build`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from lake_assets.audit.listing import traded_window
from lake_assets.audit.plan import RepairPlan, plan_repair
from lake_assets.audit.ranges import archived_days, from_first_day
from lake_assets.cli.asked_range import audit_window
from lake_assets.cli.backfill_progress import Followed, follow_backfills
from lake_assets.cli.commands_audit import run_audit
from lake_assets.cli.options import AsJson, End, Start, Symbols
from lake_assets.cli.printing import coloured, messages, show_json, terminal
from lake_assets.cli.table_option import MINUTES, ChosenTable, symbols_with
from lake_assets.dagster_names import (
    REPAIR_TAG,
    minute_names,
    partition_key,
    repair_name,
    repair_tags,
    table_names,
)
from lake_assets.lake import Lake, open_existing, open_lake
from lake_assets.local_stack.graphql import DagsterApi
from lake_assets.local_stack.lone_exchange import exchange_there
from lake_assets.local_stack.stack import local_stack
from lake_assets.tables.offered import require_offered
from lake_assets.windows import backfill_window
from lake_resources.errors import LakeError, SettingsError
from lake_resources.settings import LakeSettings

app = typer.Typer()

MaxHours = Annotated[
    int | None, typer.Option("--max-missing-hours", min=1, help="repair at most so many, oldest first")
]
Force = Annotated[bool, typer.Option("--force-repair", help="rebuild every hour of the range, also those in order")]
Full = Annotated[bool, typer.Option("--full", help="read every file, also those that did not change")]
VisionOnly = Annotated[
    bool,
    typer.Option(
        "--vision-only/--allow-rest-fallback",
        help="from archives alone, up to the last completed UTC day; or ask REST for what they lack",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="print the plan and launch nothing")]
Wait = Annotated[bool, typer.Option("--follow/--no-follow", help="stay with a progress bar until it is done")]


@dataclass(frozen=True)
class _Choice:
    """What a repair does with the partitions it finds."""

    max_hours: int | None
    force: bool
    full: bool
    vision_only: bool
    dry_run: bool
    follow: bool
    as_json: bool


@app.command("backfill-years")
def backfill_years(
    symbols: Symbols = None,
    years: Annotated[int, typer.Option(min=1, max=10, help="years of 365 days, back from now")] = 5,
    max_missing_hours: MaxHours = None,
    force_repair: Force = False,
    full: Full = False,
    vision_only: VisionOnly = False,
    dry_run: DryRun = False,
    follow: Wait = True,
    table: ChosenTable = MINUTES,
    as_json: AsJson = False,
) -> None:
    """Load what is missing or wrong of the last years, in Dagster.

    It audits first and repairs only what needs it: hours of the minute table, hours or days of another. Started again
    it does what is left; a backfill that still runs is followed, not launched twice. Exit code 1 when some stay wrong
    (not when --max-missing-hours left some out).

    Examples: `lake backfill-years --years 1 --dry-run` · `lake backfill-years BTCUSDT --max-missing-hours 500`
    """
    settings = LakeSettings()
    lake = _lake(settings, dry_run=dry_run).of(table)
    start, end = audit_window(lake, "", None, None, years)
    choice = _Choice(max_missing_hours, force_repair, full, vision_only, dry_run, follow, as_json)
    _repair(settings, lake, symbols, start, end, choice)


@app.command("backfill-range")
def backfill_range(
    symbols: Symbols = None,
    start: Start = None,
    end: End = None,
    preset: Annotated[
        str | None, typer.Option(help="instead of a range: `all`, `last-day`, or a year such as 2024")
    ] = None,
    max_missing_hours: MaxHours = None,
    force_repair: Force = False,
    full: Full = False,
    vision_only: VisionOnly = False,
    dry_run: DryRun = False,
    follow: Wait = True,
    table: ChosenTable = MINUTES,
    as_json: AsJson = False,
) -> None:
    """Load what is missing or wrong of a range, in Dagster.

    It audits first and repairs only what needs it: hours of the minute table, hours or days of another. A range that is
    empty, lies before LAKE_START, or in which no symbol is traded is refused (2), and so is one that has not begun (3):
    "nothing to repair" always means that it was looked at.

    Examples: `lake backfill-range --start 2024-01-01 --end 2024-02-01 --dry-run` · `lake backfill-range --preset 2024`
    · `lake backfill-range SOLUSDT --table bars_1s --start 2025-11-01 --end 2025-11-03`
    """
    settings = LakeSettings()
    lake = _lake(settings, dry_run=dry_run).of(table)
    first, last = _range(lake, start, end, preset)
    choice = _Choice(max_missing_hours, force_repair, full, vision_only, dry_run, follow, as_json)
    _repair(settings, lake, symbols, first, last, choice)


def _lake(settings: LakeSettings, *, dry_run: bool) -> Lake:
    """The lake of the settings; a dry run begins none."""
    return open_existing(settings) if dry_run else open_lake(settings)


def _range(lake: Lake, start: datetime | None, end: datetime | None, preset: str | None) -> tuple[datetime, datetime]:
    now = lake.clock()
    if preset is not None:
        if start is not None or end is not None:
            raise SettingsError("--preset and a range are given both", remedy="Give one of them")
        window = backfill_window(preset, now, lake.safety_lag_minutes)
        return window.first_minute, window.end
    if start is None:
        raise SettingsError("no range is given", remedy="Give --start (and --end), or --preset")
    return audit_window(lake, "", start, end, None)


def _repair(
    settings: LakeSettings,
    lake: Lake,
    given: list[str] | None,
    start: datetime,
    end: datetime,
    choice: _Choice,
) -> None:
    layout, symbols = lake.store.layout, symbols_with(lake.table, given, settings)
    require_offered(lake.table, symbols, settings)
    if choice.vision_only:
        lake = replace(lake, ask_rest=False)
        end = archived_days(start, end, lake.clock(), lake.safety_lag_minutes)
    asked, start = start, from_first_day(start, end, settings.start_utc)
    log = messages()
    if start > asked:
        log.print(coloured(f"LAKE_START is {start:%Y-%m-%d}", "yellow", ": what lies before it is not looked at"))
    plans = []
    with exchange_there(settings, say=log.print):
        windows = {symbol: traded_window(lake, symbol, start, end) for symbol in symbols}
    for symbol, (first, last) in windows.items():
        if first >= last:
            log.print(coloured(f"{symbol} is not traded in this range", "yellow", ": nothing of it is looked at"))
            continue
        if (first, last) != (start, end):
            log.print(f"{symbol} is traded from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} of this range")
        report = run_audit(lake, settings, symbol, first, last, full=choice.full, quiet=choice.as_json)
        plans.append(
            plan_repair(
                lake,
                report,
                now=lake.clock(),
                max_hours=choice.max_hours,
                force=choice.force,
                weight_share=settings.weight_share,
                hours_per_run=settings.hours_per_run if layout.span == "hour" else settings.days_per_run,
            )
        )
    if not plans:
        raise SettingsError(
            f"nothing was looked at: {', '.join(symbols)} is not traded in this range", remedy="Give another range"
        )
    if choice.as_json:
        show_json([plan.as_json() for plan in plans])
    else:
        terminal().print(plan_table(plans))
    todo = [plan for plan in plans if plan.hours]
    if choice.dry_run or not todo:
        log.print("nothing is launched (--dry-run)" if todo else coloured("nothing to repair", "green"))
        return
    begun = lake.clock()
    with dagster_for(settings, log) as api:
        launched = _launch(api, todo, choice=choice, console=log)
        if not choice.follow:
            log.print(f"{api.url}/runs/b/… goes on by itself; start the command again to follow it")
            return
        follow_backfills(
            api,
            [
                Followed(
                    plan.symbol,
                    launched[plan.symbol],
                    tuple(table_names(layout, plan.symbol)),
                    lake.ledger,
                    frozenset(plan.hours),
                    begun,
                    plan.left_out,
                )
                for plan in todo
            ],
            log,
        )
    left = [run_audit(lake, settings, plan.symbol, *windows[plan.symbol], quiet=True) for plan in todo]
    wrong = {report.symbol: len(report.wrong) for report in left}
    log.print("left wrong: " + ", ".join(f"{symbol} {count:,} {layout.span}s" for symbol, count in wrong.items()))
    if any(wrong.values()) and choice.max_hours is None:
        log.print("see `lake audit` and `lake holes`")
        raise typer.Exit(1)


def plan_table(plans: Sequence[RepairPlan]) -> Table:
    """One line per symbol: what a repair takes."""
    table = Table(title="plan (bytes, weight and minutes are estimates)", title_justify="left")
    days = all(plan.layout.span == "day" for plan in plans)
    for heading in (
        "symbol",
        "days" if days else "hours",
        "in days" if days else "days",
        "ranges",
        "left out",
        "archives",
        "download",
        "REST hours",
        "weight",
        "minutes",
        "why",
    ):
        table.add_column(heading, justify="left" if heading in {"symbol", "why"} else "right")
    for plan in plans:
        reasons = "\n".join(f"{code}: {count:,}" for code, count in plan.reasons.items()) or "-"
        counts = (len(plan.hours), plan.days, len(plan.ranges), plan.left_out, sum(plan.archives.values()))
        table.add_row(
            plan.symbol,
            *(f"{count:,}" for count in counts),
            f"{plan.download_bytes / 1e6:,.1f} MB",
            f"{plan.rest_hours:,}",
            f"{plan.weight:,}",
            f"{plan.minutes:,.1f}",
            reasons,
        )
    return table


@contextmanager
def dagster_for(settings: LakeSettings, console: Console) -> Iterator[DagsterApi]:
    """Dagster that is up already, else one of our own for as long as the repair takes."""
    address = settings.web_address
    api = DagsterApi(address, token=settings.web_token)
    try:
        if api.alive():
            if not api.shows(minute_names(settings.symbols[0]), settings.lake_root):
                raise LakeError(
                    f"Dagster at {address} does not show the lake {settings.lake_root}",
                    remedy="Set LAKE_WEBSERVER_PORT to that of this lake's `lake up`, or to a free port",
                )
            if not api.daemons_healthy():
                raise LakeError(f"The daemon of {address} is not healthy", remedy="Restart `lake up`")
            yield api
            return
        console.print("Dagster is not up: it is started for this repair")
        with local_stack(settings.model_copy(update={"collector": False}), say=console.print):
            yield api
    finally:
        api.close()


def _launch(api: DagsterApi, plans: Sequence[RepairPlan], *, choice: _Choice, console: Console) -> dict[str, str]:
    """Backfill id by symbol; a repair that still runs is taken instead of a second one."""
    running = {
        tags[REPAIR_TAG]: backfill_id for backfill_id, tags in api.open_backfills().items() if REPAIR_TAG in tags
    }
    launched = {}
    for plan in plans:
        layout, name = plan.layout, repair_name(plan.layout, plan.symbol)
        if name in running:
            launched[plan.symbol] = running[name]
            console.print(f"{plan.symbol}: backfill {launched[plan.symbol]} is not finished yet; it is followed")
            continue
        key = table_names(layout, plan.symbol)
        launched[plan.symbol] = api.launch_backfill(
            [(key, partition_key(layout, first), partition_key(layout, last)) for first, last in plan.ranges],
            title=f"repair {name}: {len(plan.hours):,} {layout.span}s",
            tags=repair_tags(layout, plan.symbol, force=choice.force, vision_only=choice.vision_only),
        )
        console.print(f"{plan.symbol}: backfill {api.url}/runs/b/{launched[plan.symbol]}")
    return launched
