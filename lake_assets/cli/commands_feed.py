"""`lake feed-1h`: the hourly feed from a terminal, a cron line, or as a process that watches.

Belongs here: options, printing, the watch loop, exit codes. Does not belong here: the protocol (`feed_1h.run`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from lake_assets.cli.exits import Exit, exit_of
from lake_assets.cli.options import INSTANT, AsJson, first_minute
from lake_assets.cli.printing import messages, show_error, show_json, terminal
from lake_assets.feed_1h.bars import SYMBOL, naive, target_hour
from lake_assets.feed_1h.feed import Feed, FeedOptions, feed_options
from lake_assets.feed_1h.look_back import look_back
from lake_assets.feed_1h.run import FeedRun, due_hours, run_feed
from lake_assets.inputs.excuses import declared_outages
from lake_assets.local_stack.lone_exchange import exchange_there
from lake_resources.clock import system_clock
from lake_resources.errors import LakeError, SettingsError
from lake_resources.rest_access import rest_access
from lake_resources.settings import LakeSettings
from lake_resources.storage.bars_duckdb import BarsTable
from lake_resources.storage.root import claim_root, require_lake

app = typer.Typer()


@dataclass(frozen=True)
class Choice:
    """What a call of the command does.

    Attributes:
        catch_up: also the hours that were missed; seeds an empty table.
        rebuild: set the table aside and seed a new one.
        seed_from: first hour of a new table, UTC-naive.
        watch_s: seconds between two looks; None runs once.
        dry_run: files only.
        debug: print verdicts and checks of every hour.
        as_json: print what became of the hours as JSON instead of lines.
    """

    catch_up: bool = False
    rebuild: bool = False
    seed_from: datetime | None = None
    watch_s: float | None = None
    dry_run: bool = False
    debug: bool = False
    as_json: bool = False


@app.command("feed-1h")
def feed_1h(
    n_recent: Annotated[int | None, typer.Option(help="bars of the window; default LAKE_FEED_N_RECENT (6)")] = None,
    duckdb: Annotated[Path | None, typer.Option(help="DuckDB file; default LAKE_FEED_DUCKDB")] = None,
    buffer_hours: Annotated[int | None, typer.Option(help="hours of the inference file beyond 30 days (6)")] = None,
    inference_source: Annotated[Literal["db", "api"] | None, typer.Option(help="default db")] = None,
    persist_dir: Annotated[
        Path | None, typer.Option(help="root of the CSV files; default LAKE_FEED_PERSIST_DIR")
    ] = None,
    dataset: Annotated[str | None, typer.Option(help='directory name, e.g. "BINANCE_BTCUSDT.P, 60"')] = None,
    watch: Annotated[bool, typer.Option("--watch/--once", help="stay and look every --sleep-sec; catches up")] = False,
    sleep_sec: Annotated[float, typer.Option(min=1, help="seconds between two looks of --watch")] = 300,
    catch_up: Annotated[bool, typer.Option("--catch-up", help="also missed hours; seeds an empty table")] = False,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="set the table aside, seed a new one")] = False,
    seed_from: Annotated[
        datetime | None,
        typer.Option("--from", parser=first_minute, metavar="TIME", help=f"first hour of a new table; {INSTANT}"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="write the files, not the table")] = False,
    look: Annotated[
        bool, typer.Option("--look-back", help="compare all rows with the exchange of now; appends nothing")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="print verdict and checks of every hour")] = False,
    as_json: AsJson = False,
) -> None:
    """Append the newest closed hour to the 1H table, write its files.

    The hour of BTCUSDT is validated against the table first; the inference file is written from it. Exit codes: 0 done
    · 1 refused, or a check of the table failed · 2 wrong usage · 3 the exchange does not have the hour (closed) yet,
    repeat · 4 exchange, table or disk failed. With --look-back 1 says that the exchange restated rows. Examples:
    `lake feed-1h` · `lake feed-1h --catch-up` · `lake feed-1h
    --watch --sleep-sec 60`
    """
    console = terminal()
    settings = LakeSettings()
    choice = Choice(
        catch_up or watch or seed_from is not None,
        rebuild,
        _hour(seed_from),
        sleep_sec if watch else None,
        dry_run,
        debug,
        as_json,
    )
    try:
        default = feed_options(settings)
        options = replace(
            default,
            n_recent=default.n_recent if n_recent is None else n_recent,
            buffer_hours=default.buffer_hours if buffer_hours is None else buffer_hours,
            inference_source=inference_source or default.inference_source,
            persist_dir=persist_dir or default.persist_dir,
            dataset=default.dataset if dataset is None else dataset,
        )
        feed = open_feed(settings, options, duckdb, dry_run=dry_run)
        with exchange_there(settings, say=messages().print):
            code = _look_back(feed, console, as_json=as_json) if look else run_command(feed, choice, console)
    except LakeError as error:
        show_error(error)
        raise typer.Exit(exit_of(error)) from error
    if code != Exit.DONE:
        raise typer.Exit(code)


def open_feed(settings: LakeSettings, options: FeedOptions, duckdb: Path | None, *, dry_run: bool = False) -> Feed:
    """The feed of the settings, with the options given.

    Raises:
        SettingsError: the root holds data of another exchange, or a dry run would have to create it.
    """
    root = require_lake if dry_run else claim_root
    root(settings.lake_root, settings.exchange, settings.ledger_file)
    table = BarsTable(duckdb or settings.resolved_feed_duckdb)
    outages = declared_outages(settings, SYMBOL)
    return Feed(table, rest_access(settings).open(), system_clock, options, outages)


def run_command(feed: Feed, choice: Choice, console: Console, *, sleep: Callable[[float], None] = time.sleep) -> Exit:
    """Run once, or until interrupted; prints one line of numbers per run.

    Raises:
        LakeError: table or files cannot be read or written at all, or the options exclude each other.
    """
    if choice.rebuild and choice.dry_run:
        raise SettingsError("--rebuild changes the table, --dry-run does not", remedy="Give one of them")
    if choice.as_json and choice.watch_s is not None:
        raise SettingsError("--json is one answer, --watch goes on for ever", remedy="Give one of them")
    if choice.rebuild:
        _set_aside(feed, console)
        choice = replace(choice, rebuild=False, catch_up=True)
    if choice.watch_s is None:
        return _once(feed, choice, console)
    messages().print(f"watching every {choice.watch_s:g} s; Ctrl+C ends it")
    try:
        while True:
            try:
                _once(feed, choice, console, quiet=True)
            except LakeError as error:
                show_error(error)
            sleep(choice.watch_s)
    except KeyboardInterrupt:
        messages().print("stopped")
        return Exit.DONE


def exit_code(done: FeedRun) -> Exit:
    """The exit code that a run deserves; a young table's short inference file is a warning only."""
    if done.error is not None:
        return Exit.FAILED
    statuses = {hour.verdict.status for hour in done.hours}
    failed = [check for hour in done.hours for check in hour.outcomes if not check.passed]
    if "refused" in statuses:
        return Exit.REFUSED
    if "waiting" in statuses:
        return Exit.NOT_THERE_YET
    return Exit.REFUSED if any(check.name != "inference_file" for check in failed) else Exit.DONE


def _once(feed: Feed, choice: Choice, console: Console, *, quiet: bool = False) -> Exit:
    now = feed.clock()
    if quiet and _up_to_date(feed, now):
        return Exit.DONE
    hours = due_hours(feed, now, catch_up=choice.catch_up, seed_from=choice.seed_from)
    done = run_feed(feed, hours, dry_run=choice.dry_run)
    if choice.as_json:
        show_json(_json(done))
        return exit_code(done)
    console.print(f"{now:%Y-%m-%d %H:%M:%S} {done.stats}")
    for warning in done.warnings:
        messages().print(f"warning: {warning}")
    told: set[str] = set()
    for hour in done.hours:
        reason = hour.verdict.reason
        if choice.debug:
            found = "; ".join(check.text() for check in hour.outcomes)
            console.print(f"{hour.verdict.hour:%Y-%m-%d %H:%M} {hour.verdict.status}: {found}")
        elif reason and hour.verdict.code not in told:
            console.print(f"{hour.verdict.hour:%Y-%m-%d %H:%M} {hour.verdict.status}: {reason}")
            told.add(hour.verdict.code)
    if choice.debug or choice.dry_run:
        console.print(f"files: {done.artifacts.api_pull}, {done.artifacts.inference}", soft_wrap=True)
    return exit_code(done)


def _json(done: FeedRun) -> list[dict[str, Any]]:
    files = {"api_pull": done.artifacts.api_pull, "for_inference": done.artifacts.inference}
    return [
        {
            "hour": hour.verdict.hour.replace(tzinfo=UTC),
            "status": hour.verdict.status,
            "code": hour.verdict.code or None,
            "reason": hour.verdict.reason or None,
            "checks": [{"name": check.name, "passed": check.passed, "text": check.text()} for check in hour.outcomes],
            "dry_run": done.dry_run,
            "files": files,
        }
        for hour in done.hours
    ]


def _look_back(feed: Feed, console: Console, *, as_json: bool) -> Exit:
    """Compare the whole table with the exchange of now; what was restated is recorded, and the exit code says so."""
    found = look_back(feed)
    if as_json:
        told = {"verdict": found.verdict, "compared": found.compared, "known_differences": found.known}
        told |= {"absent": [hour.replace(tzinfo=UTC) for hour in found.absent]}
        show_json([told | {"restated": [each.text() for each in found.differences]}])
    else:
        console.print(
            f"look back: {found.verdict}; {found.compared:,} hours compared, {found.known:,} known differences"
        )
        for each in found.differences:
            console.print(f"restated: {each.text()}")
        for hour in found.absent:
            console.print(f"the exchange has no bar of {hour:%Y-%m-%d %H:%M} now")
    return Exit.REFUSED if found.verdict == "restated" else Exit.DONE


def _up_to_date(feed: Feed, now: datetime) -> bool:
    """Whether a watcher has nothing to do: the newest closed hour is in the table and in the newest complete file."""
    latest = feed.files.latest()
    target = target_hour(now)
    if latest is None or str(latest["target_hour"]) < f"{target:%Y-%m-%d %H:%M:%S}":
        return False
    return bool(feed.table.published().rows["timestamp"].max() == target)


def _set_aside(feed: Feed, console: Console) -> None:
    """Make room for a new table, once the exchange that will fill it answers."""
    feed.rest.server_time()
    aside = feed.table.set_aside(f"{feed.clock().astimezone(UTC):%Y%m%d_%H%M%SZ}")
    if aside is not None:
        console.print(f"the old table is kept as {aside}", soft_wrap=True)


def _hour(given: datetime | None) -> datetime | None:
    return None if given is None else naive(given).replace(minute=0, second=0, microsecond=0)
