"""`lake audit`: is every hour there, whole, and what was committed?

Belongs here: the command, its table, its JSON and its exit code. Does not belong here: the audit itself (`audit`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Literal

import httpx
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from lake_assets.at_rest import LakeAtRest, open_at_rest
from lake_assets.audit.cache import AuditCache
from lake_assets.audit.scan import Progress as Told
from lake_assets.audit.scan import audit_partitions
from lake_assets.audit.verdict import CODES, AuditReport
from lake_assets.cli.asked_range import audit_window
from lake_assets.cli.options import AsJson, End, Start, Symbols
from lake_assets.cli.printing import coloured, messages, show_json, terminal
from lake_assets.cli.table_option import MINUTES, ChosenTable, symbols_with
from lake_assets.dagster_names import cold_day_hours, cold_days_names, partition_start, table_names
from lake_assets.local_stack.graphql import DagsterApi
from lake_assets.schema.table import Table as Declared
from lake_assets.validation.completeness import completeness_pct
from lake_resources.errors import LakeError
from lake_resources.layout import TableLayout
from lake_resources.settings import LakeSettings

app = typer.Typer()

DagsterView = Literal["auto", "yes", "no"]


@app.command()
def audit(
    symbols: Symbols = None,
    start: Start = None,
    end: End = None,
    years: Annotated[int | None, typer.Option(min=1, max=10, help="this many years of 365 days back")] = None,
    full: Annotated[bool, typer.Option("--full", help="read every file, also those that did not change")] = False,
    dagster: Annotated[
        DagsterView, typer.Option(help="compare with what Dagster shows; auto: if its webserver answers")
    ] = "auto",
    limit: Annotated[int, typer.Option(min=0, help="wrong hours to list")] = 20,
    table: ChosenTable = MINUTES,
    as_json: AsJson = False,
) -> None:
    """Compare files, ledger and Dagster for every hour of a range. Changes nothing.

    Without a range it goes from the first committed hour to now. Exit code 1 when an hour is wrong, 3 when nothing of
    the range must exist yet: then nothing was looked at.

    Examples: `lake audit` · `lake audit BTCUSDT --years 5` · `lake audit --start 2024-01-01 --end 2024-02-01 --json`
    """
    settings = LakeSettings()
    lake = open_at_rest(settings, table)
    console = terminal()
    reports = []
    for symbol in symbols_with(table, symbols, settings):
        first, last = audit_window(lake, symbol, start, end, years)
        reports.append(run_audit(lake, settings, symbol, first, last, full=full, dagster=dagster, quiet=as_json))
    if as_json:
        show_json([report.as_json() for report in reports])
    else:
        for report in reports:
            print_report(console, report, lake.table, limit)
    if any(report.wrong for report in reports):
        raise typer.Exit(1)


def run_audit(
    lake: LakeAtRest,
    settings: LakeSettings,
    symbol: str,
    start: datetime,
    end: datetime,
    *,
    full: bool = False,
    dagster: DagsterView = "auto",
    quiet: bool = False,
) -> AuditReport:
    """Audit with a progress bar on the terminal."""
    layout = lake.store.layout
    materialized = None if dagster == "no" else dagster_partitions(settings, layout, symbol, required=dagster == "yes")
    with _progress(symbol, quiet=quiet) as progress:
        return audit_partitions(
            lake.store,
            symbol,
            start,
            end,
            now=lake.clock(),
            lag_minutes=lake.safety_lag_minutes,
            materialized=materialized,
            cache=AuditCache(lake.catalog.root / "audit.sqlite"),
            full=full,
            progress=progress,
        )


def dagster_partitions(
    settings: LakeSettings, layout: TableLayout, symbol: str, *, required: bool
) -> set[datetime] | None:
    """Partitions of a table that Dagster's web UI shows as materialized; None where its webserver does not answer.

    Raises:
        LakeError: it does not answer although it is required, or what answers is no Dagster.
    """
    address = settings.web_address
    api = DagsterApi(address, token=settings.web_token)
    try:
        if not api.alive():
            if required:
                raise LakeError(f"Dagster's webserver does not answer at {address}", remedy="Start it: `lake up`")
            return None
        if not api.shows(table_names(layout, symbol), settings.lake_root):
            what = f"Dagster at {address} does not show {symbol} of the lake {settings.lake_root}"
            if required:
                raise LakeError(what, remedy="Set LAKE_WEBSERVER_PORT to that of this lake")
            messages().print(coloured("not compared with Dagster", "yellow", f": {what}"))
            return None
        ranges = api.statuses(table_names(layout, symbol)).partitions
        days = api.statuses(cold_days_names(layout, symbol)).partitions if layout.span == "hour" else ()
    except httpx.HTTPError as error:
        raise LakeError(f"{address} is no Dagster webserver: {error}", remedy="Set LAKE_WEBSERVER_PORT") from error
    finally:
        api.close()
    spans = [
        *((partition_start(layout, each.start), partition_start(layout, each.end)) for each in ranges if each.there),
        *((cold_day_hours(each.start)[0], cold_day_hours(each.end)[-1]) for each in days if each.there),
    ]
    return {start for first, last in spans for start in _starts(layout, first, last)}


def print_report(console: Console, report: AuditReport, table: Declared, limit: int) -> None:
    """A summary line, the codes found, and the first wrong partitions of the table."""
    span, row = table.layout.span, table.row_word
    percent = completeness_pct(report.present_rows, report.expected_rows)
    wrong = report.wrong
    verdict = ("consistent", "green") if not wrong else (f"{len(wrong):,} {span}s wrong", "red")
    window = f" {report.start:%Y-%m-%d %H:%M} to {report.end:%Y-%m-%d %H:%M} UTC: "
    head = coloured(report.symbol, "bold", window)
    if not report.hours:
        console.print(head.append("nothing to look at", "yellow").append(", the symbol is not traded in this range"))
        return
    head.append(f"{len(report.hours):,} {span}s, ").append(*verdict)
    head.append(f"; {report.present_rows:,} of {report.expected_rows:,} {row}s ({percent:.2f} %); ")
    console.print(head.append(f"{'compared' if report.dagster_compared else 'not compared'} with Dagster"))
    if not wrong:
        return
    console.print(_codes_table(report, span))
    shown = Table(title=f"first {min(limit, len(wrong))} of {len(wrong):,} wrong {span}s", title_justify="left")
    for heading in (span, f"{row}s", "codes"):
        shown.add_column(heading, no_wrap=heading != "codes")
    for found in wrong[:limit]:
        shown.add_row(
            f"{found.hour:%Y-%m-%d %H:%M}", f"{found.present_rows}/{found.expected_rows}", "\n".join(found.codes)
        )
    if limit:
        console.print(shown)
    of = "" if table is MINUTES else f"--table {table.name} "
    console.print(f"`lake backfill-range {of}--start … --end … --dry-run` shows what a repair would take")


def _codes_table(report: AuditReport, span: str) -> Table:
    table = Table(title="what is wrong", title_justify="left")
    for heading in ("code", f"{span}s", f"first {span}", "meaning"):
        table.add_column(heading, justify="right" if heading == f"{span}s" else "left", no_wrap=heading != "meaning")
    for code, count in report.counts.items():
        first = next(verdict.hour for verdict in report.hours if code in verdict.names)
        table.add_row(code, f"{count:,}", f"{first:%Y-%m-%d %H:%M}", CODES[code])
    return table


def _starts(layout: TableLayout, first: datetime, last: datetime) -> Iterator[datetime]:
    yield from layout.between(first, last + layout.step)


@contextmanager
def _progress(symbol: str, *, quiet: bool) -> Iterator[Told]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=quiet) as bar:
        task = bar.add_task(f"audit {symbol}", total=None)

        def tell(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield tell
