"""The demo's part of the 1H feed: what is launched for it, and what it wrote.

Belongs here: the ranges of its backfills, its tables. Does not belong here: launching and waiting (`demo`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table

from lake_assets.dagster_names import FEED_NAMES, hour_key, hour_of
from lake_assets.feed_1h.artifacts import ArtifactStore
from lake_assets.feed_1h.bars import dataset_slug, target_hour
from lake_assets.feed_1h.feed import feed_options
from lake_assets.local_stack.graphql import DagsterApi
from lake_resources.bar_values import VALUE_COLUMNS
from lake_resources.clock import HOUR
from lake_resources.errors import LakeError
from lake_resources.settings import LakeSettings
from lake_resources.storage.bars_duckdb import BarsTable

Range = tuple[Sequence[str], str, str]
_SHOWN_ROWS = 3


def feed_seed(settings: LakeSettings, now: datetime) -> Range | None:
    """The hours that the table lacks of 30 days + buffer before the newest closed hour, None where it lacks none."""
    last = target_hour(now) - HOUR
    first = last - feed_options(settings).history_hours * HOUR
    newest = BarsTable(settings.resolved_feed_duckdb).published().rows["timestamp"].max()
    if isinstance(newest, datetime):
        first = newest + HOUR
    return None if first > last else (FEED_NAMES, _key(first), _key(last))


def newest_feed_hour(now: datetime) -> Range:
    """The newest closed hour, as the schedule asks for it."""
    key = _key(target_hour(now))
    return FEED_NAMES, key, key


def print_feed(settings: LakeSettings, api: DagsterApi, console: Console) -> None:
    """Print the newest rows, the status of each check, and where the files are.

    Raises:
        LakeError: a check failed, or there is no complete inference file.
    """
    table = BarsTable(settings.resolved_feed_duckdb)
    rows = table.published().rows
    shown = Table(
        "timestamp (UTC)", *VALUE_COLUMNS, "created_at", title=f"feed/btcusdt_1h: newest of {rows.height} rows"
    )
    for row in rows.tail(_SHOWN_ROWS).iter_rows():
        shown.add_row(*(f"{value:%Y-%m-%d %H:%M:%S}" if isinstance(value, datetime) else repr(value) for value in row))
    console.print(shown)
    checks = api.statuses(FEED_NAMES).checks
    counts = {
        name: Counter(
            {status: sum(_hours(r.start, r.end) for r in ranges if r.status == status) for status in _STATUSES}
        )
        for name, ranges in checks.items()
    }
    for name, count in counts.items():
        if not count.total():  # the rulepack is judged per run, not per hour
            continue
        console.print(f"{name}: {count['SUCCEEDED']} hours passed, {count['FAILED']} failed")
    options = feed_options(settings)
    files = ArtifactStore(options.persist_dir / dataset_slug(options.dataset))
    latest = files.latest()
    if latest is None or any(count["FAILED"] for count in counts.values()):
        raise LakeError(
            f"1H feed: checks {counts}, latest {latest}", remedy="Open the run of feed/btcusdt_1h in the UI"
        )
    console.print(f"table: {table.path}; for readers: {table.published_path}", soft_wrap=True)
    for name in ("api_pull", "for_inference"):
        console.print(f"{name}: {files.directory / str(latest[name])}", soft_wrap=True)
    console.print(f"inference file: {latest['rows']} hours until {latest['target_hour']} from {latest['source']}")


_STATUSES = ("SUCCEEDED", "FAILED")


def _hours(first: str, last: str) -> int:
    return (hour_of(last) - hour_of(first)) // HOUR + 1


def _key(hour: datetime) -> str:
    return hour_key(hour.replace(tzinfo=UTC))
