"""`lake compact`: closed days and months become one file each.

Belongs here: the command, its table and its JSON. Does not belong here: which days are closed (`build.compaction`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from lake_assets.at_rest import LakeAtRest, open_at_rest
from lake_assets.build.compaction import Step, plan_compaction, run_compaction
from lake_assets.cli.exits import Exit
from lake_assets.cli.options import AsJson, Symbols
from lake_assets.cli.printing import show_error, show_json, terminal
from lake_assets.cli.table_option import MINUTES, ChosenTable, symbols_with
from lake_assets.cli.view_warnings import show_views
from lake_assets.research.views_file import remake_views_file
from lake_resources.errors import LedgerError, NotYet
from lake_resources.layout import TableLayout
from lake_resources.settings import LakeSettings
from lake_resources.storage.compaction import Cleared, clear
from lake_resources.storage.duckdb_views import remake_views

app = typer.Typer()
_OPEN_DAYS_SHOWN = 10


@app.command()
def compact(
    symbols: Symbols = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would be done")] = False,
    remove: Annotated[
        bool, typer.Option("--remove", help="also remove files that nothing is read from since the grace")
    ] = False,
    grace_hours: Annotated[
        float | None,
        typer.Option(min=0, help="grace before removal, default LAKE_COMPACT_GRACE_HOURS", show_default=False),
    ] = None,
    table: ChosenTable = MINUTES,
    as_json: AsJson = False,
) -> None:
    """Make one file of each closed day and month; readers do not notice. Removes nothing without --remove.

    A day is closed when all its hours are complete and built from the archives; one that lacks nothing else is one file
    until they come, and made again then. Each new file's rows are proven equal
    to the hours' before it is read from; the hour files stay until --remove, at least for the grace. A damaged period
    does not keep the others from being compacted; exit code 1 then. Files of `lake materialize-duckdb` are remade
    before anything is removed.

    Examples: `lake compact --dry-run` · `lake compact BTCUSDT` · `lake compact --remove`
    """
    settings = LakeSettings()
    grace = timedelta(hours=settings.compact_grace_hours if grace_hours is None else grace_hours)
    lake = open_at_rest(settings, table)
    console = Console(quiet=True) if as_json else terminal()
    found, damaged = [], False
    for symbol in _held(lake, symbols, settings):
        now = lake.clock()
        steps = list(plan_compaction(table, lake.ledger, symbol, now=now))
        result = _counts(symbol, steps, dry_run)
        console.print(_table(table.layout, symbol, steps))
        errors: list[str] = []
        if not dry_run:
            with _collected(symbol, errors):
                _work(lake, symbol, now, console, result)
            # Before anything is removed: a view may still name the files.
            show_views(remake_views(lake.store))
            if warning := remake_views_file(settings, now=now):
                console.print(warning)
        if remove:
            with _collected(symbol, errors):
                cleared = clear(lake.store, symbol, clock=lake.clock, grace=grace, dry_run=dry_run)
                result |= {"removed_files": cleared.files, "removed_bytes": cleared.size_bytes}
                console.print(_removed(cleared, dry_run, grace))
        damaged |= bool(errors)
        found.append(result | {"errors": errors})
    if as_json:
        show_json(found)
    if damaged:
        raise typer.Exit(Exit.REFUSED)


def _held(lake: LakeAtRest, symbols: list[str] | None, settings: LakeSettings) -> tuple[str, ...]:
    """The chosen symbols; one that is named must have an hour, and at least one of the settings'.

    Raises:
        NotYet: no partition of it is committed.
    """
    chosen = symbols_with(lake.table, symbols, settings)
    empty = [symbol for symbol in chosen if lake.ledger.first_partition(symbol) is None]
    if empty and (symbols or len(empty) == len(chosen)):
        raise NotYet(
            f"nothing was looked at: no {lake.store.layout.span} of {', '.join(empty)} is committed in "
            f"{lake.catalog.root}",
            remedy="Name symbols of this lake, or backfill first",
        )
    return chosen


@contextmanager
def _collected(symbol: str, errors: list[str]) -> Iterator[None]:
    """Damage of one symbol is told, and the others go on."""
    try:
        yield
    except LedgerError as error:
        show_error(error, symbol)
        errors.append(str(error))


def _work(lake: LakeAtRest, symbol: str, now: datetime, console: Console, result: dict[str, Any]) -> None:
    """Counts of what was done are in the result also when a damaged period ends it with an error."""
    done = Counter[str]()
    for one in run_compaction(lake.table, lake.store, symbol, now=now, clock=lake.clock):
        done[one.status] += 1
        done["bytes_read"] += one.input_bytes
        done["bytes_written"] += one.size_bytes
        result |= done
        console.print(
            f"{symbol} {one.period.name}: {one.status}, {one.partitions} {lake.store.layout.span}s,"
            f" {one.row_count:,} rows,"
            f" {one.input_bytes / 1e6:.1f} → {one.size_bytes / 1e6:.1f} MB"
        )


def _counts(symbol: str, steps: list[Step], dry_run: bool) -> dict[str, Any]:
    ready = [step for step in steps if step.due]
    return {
        "symbol": symbol,
        "dry_run": dry_run,
        "months": sum(step.period.tier == "month" for step in ready),
        "days": sum(step.period.tier == "day" for step in ready),
        "hours": sum(len(step.files) for step in ready),
        "open_days": [
            {"day": step.period.name, "waits_for": step.waits_for, "sealed": step.sealed}
            for step in steps
            if step.waits_for
        ],
    }


def _table(layout: TableLayout, symbol: str, steps: list[Step]) -> Table:
    table = Table(title=f"{layout.market}/{symbol}/{layout.directory}: not one file for good", title_justify="left")
    for heading in ("period", f"{layout.span}s", "MB", "what happens"):
        table.add_column(heading, justify="left" if heading in ("period", "what happens") else "right")
    waiting = [step for step in steps if step.waits_for]
    for step in [step for step in steps if not step.waits_for] + waiting[-_OPEN_DAYS_SHOWN:]:
        table.add_row(
            step.period.name, str(len(step.files)), f"{step.input_bytes / 1e6:.1f}", _action(layout.span, step)
        )
    if len(waiting) > _OPEN_DAYS_SHOWN:
        table.caption = f"and {len(waiting) - _OPEN_DAYS_SHOWN} older open days (--json lists all)"
    return table


def _action(span: str, step: Step) -> str:
    if not step.waits_for:
        return "becomes one file"
    if step.served:
        return f"is one file for now: {step.waits_for}"
    return f"{'becomes one file for now' if step.sealed else f'stays {span} files'}: {step.waits_for}"


def _removed(cleared: Cleared, dry_run: bool, grace: timedelta) -> str:
    verb = "would be removed" if dry_run else "removed"
    hours = grace / timedelta(hours=1)
    return f"{cleared.files} files {verb} ({cleared.size_bytes / 1e6:.1f} MB); grace {hours:g} h"
