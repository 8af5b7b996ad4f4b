"""The demo: real partition backfills of archives and hours on the simulator, through Dagster's own API.

Belongs here: what is launched, and the verdict at the end.
Does not belong here: processes (`stack`), tables (`report`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from rich.console import Console

from lake_assets.cli.demo_feed import feed_seed, newest_feed_hour, print_feed
from lake_assets.cli.demo_slices import run_slices
from lake_assets.cli.demo_spot import launch_spot, print_spot, spot_archives
from lake_assets.cli.lake_tables import archives_table, check_totals, hours_table
from lake_assets.dagster_names import archive_key, hour_key, minute_names, vision_names
from lake_assets.lake import Lake
from lake_assets.local_stack.graphql import BackfillProgress, DagsterApi
from lake_assets.local_stack.supervision import Stack
from lake_assets.tables.offered import offered_streams
from lake_assets.tables.um_minute import UM_MINUTE
from lake_resources.clock import DAY, HOUR
from lake_resources.errors import LakeError
from lake_resources.settings import LakeSettings

_TIMEOUT_S = 1200.0
"""Four minutes are enough where the machine is its own; one with much other work is let finish."""
_FEWEST_HOURS_TODAY = 3

Range = tuple[Sequence[str], str, str]


def demo_windows(now: datetime) -> tuple[datetime, datetime]:
    """Start of the newest day whose archives are published, and start of "today so far".

    Just after midnight today has hardly an hour, so the last hours of yesterday are taken along.
    """
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    published = midnight - DAY if now >= midnight + timedelta(hours=9) else midnight - 2 * DAY
    this_hour = now.replace(minute=0, second=0, microsecond=0)
    return published, min(midnight, this_hour - _FEWEST_HOURS_TODAY * HOUR)


def newest_hour(now: datetime, settings: LakeSettings) -> datetime:
    """The newest hour that has a minute to build: the open one, unless its first minute is too young yet.

    An hour without a minute stays unmaterialized, and Dagster calls a backfill with such a partition failed.
    """
    reached = now - timedelta(minutes=settings.safety_lag_minutes + 1)
    return reached.replace(minute=0, second=0, microsecond=0)


def run_demo(settings: LakeSettings, lake: Lake, stack: Stack, console: Console) -> None:
    """Backfill one published day and today so far for every symbol, print what was written.

    Raises:
        LakeError: a backfill did not finish, or an hour is missing or failed a check.
    """
    now = lake.clock()
    archive_day, today = demo_windows(now)
    api = DagsterApi(stack.address, token=settings.web_token)
    archives: list[Range] = [
        (vision_names(symbol, stream.name), key, key)
        for symbol in settings.symbols
        for stream in offered_streams(settings)
        if stream.name in UM_MINUTE.uses and UM_MINUTE.uses[stream.name].archive_due(archive_day.date(), now)
        for key in [archive_key(stream, UM_MINUTE.uses[stream.name].period(archive_day.date()))]
    ]
    past_hours = [_hours(symbol, archive_day, archive_day + 23 * HOUR) for symbol in settings.symbols]
    recent_hours = [_hours(symbol, today, newest_hour(now, settings)) for symbol in settings.symbols]
    console.print(f"archives and hours of {archive_day:%Y-%m-%d}, and {today:%Y-%m-%d %H:%M} until now from REST")
    launched = {
        "archive day": api.launch_backfill(
            [*archives, *past_hours, *spot_archives(settings, archive_day)],
            title=f"demo: {archive_day:%Y-%m-%d} from Vision",
        ),
        "today so far": api.launch_backfill(recent_hours, title="demo: today so far from REST"),
    }
    seed = feed_seed(settings, now)
    if seed:
        launched["1H table"] = api.launch_backfill([seed], title="demo: seed of the BTCUSDT 1H table")
    follow(api, stack, launched, console)
    newest = api.launch_backfill([newest_feed_hour(now)], title="demo: newest hour of the BTCUSDT 1H table")
    # Seconds come last: their archives are in the lake by now, and the collector has heard the last minutes.
    spot = launch_spot(settings, api, archive_day, today, lake.clock())
    follow(api, stack, {"1H table, newest hour": newest, **spot}, console)
    for symbol in settings.symbols:
        console.print(archives_table(lake.store, symbol, archive_day, archive_day + DAY))
        console.print(hours_table(lake.store, symbol, archive_day, archive_day + DAY))
        console.print(hours_table(lake.store, symbol, today, now + HOUR))
    print_feed(settings, api, console)
    print_spot(settings, lake, archive_day, today, console)
    run_slices(settings, lake.clock(), console)
    _judge(settings, lake, [(archive_day, archive_day + DAY), (today, now)], console)


def follow(api: DagsterApi, stack: Stack, launched: dict[str, str], console: Console) -> None:
    """Print the progress of backfills until all are done.

    Raises:
        LakeError: one failed, or the time is over.
    """
    deadline = time.monotonic() + _TIMEOUT_S
    last = ""
    while True:
        stack.check()
        progress = {name: api.backfill(backfill_id) for name, backfill_id in launched.items()}
        line = "; ".join(f"{name}: {_progress_text(found)}" for name, found in progress.items())
        if line != last:
            console.print(f"{datetime.now(UTC):%H:%M:%S} {line}")
            last = line
        if all(found.finished for found in progress.values()):
            break
        if time.monotonic() > deadline:
            raise LakeError(f"The backfills did not finish within {_TIMEOUT_S:.0f} s", remedy=f"Logs: {stack.logs}")
        time.sleep(2.0)
    for name, found in progress.items():
        if found.status not in {"COMPLETED_SUCCESS", "COMPLETED"}:
            why = f": {found.error}" if found.error else ""
            raise LakeError(f"Backfill {name!r} ended {found.status}{why}", remedy=f"Read the logs in {stack.logs}")


def _hours(symbol: str, first: datetime, last: datetime) -> Range:
    return minute_names(symbol), hour_key(first), hour_key(last)


def _progress_text(found: BackfillProgress) -> str:
    # Look-back files that an hour fetched for itself count too, beyond what was targeted.
    done = sum(min(asset.materialized, asset.targeted) for asset in found.assets)
    failed = sum(asset.failed for asset in found.assets)
    total = sum(asset.targeted for asset in found.assets)
    text = f"{done}/{total} partitions, {found.status.lower().replace('_', ' ')}"
    return f"{text}, {failed} failed" if failed else text


def _judge(settings: LakeSettings, lake: Lake, windows: list[tuple[datetime, datetime]], console: Console) -> None:
    missing: list[str] = []
    rows = []
    for symbol in settings.symbols:
        for start, end in windows:
            rows += lake.ledger.partitions(symbol, start, end)
            closed = end if end < lake.clock() - HOUR else end - HOUR
            absent = lake.ledger.missing_partitions(symbol, start, closed)
            missing += [f"{symbol} {hour:%Y-%m-%d %H:%M}" for hour in absent]
    totals = check_totals(lake.table, rows)
    console.print("checks: " + ", ".join(f"{name} {count['passed']}/{count.total()}" for name, count in totals.items()))
    for symbol in settings.symbols:
        console.print(f"watermark of {symbol}: {lake.ledger.watermark(symbol):%Y-%m-%d %H:%M} UTC")
    console.print(f"files: {lake.catalog.root}")
    failed = [name for name, count in totals.items() if count["failed"]]
    if missing or failed:
        raise LakeError(f"Missing hours: {missing}; failed checks: {failed}", remedy="Open the runs in the UI")
