"""The schedule of the 1H feed: minute 2 of every hour, and the hours that were missed before it.

Belongs here: which hours a tick asks for. Does not belong here: the run (`assets.feed_1h`).
"""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from lake_assets.assets.feed_1h import FEED_KEY
from lake_assets.dagster_names import hour_key
from lake_assets.feed_1h.bars import HOUR, target_hour
from lake_resources.settings import LakeSettings
from lake_resources.storage.bars_duckdb import BarsTable

FEED_JOB = "feed_1h_hours"
CRON = "2 * * * *"
RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


def build_feed_job() -> UnresolvedAssetJobDefinition:
    """The job of the feed's hours."""
    return dg.define_asset_job(
        FEED_JOB,
        selection=dg.AssetSelection.assets(FEED_KEY),
        executor_def=dg.in_process_executor,
        description="Hours of the BTCUSDT 1H table, appended in order.",
    )


def build_feed_schedule(settings: LakeSettings) -> dg.ScheduleDefinition:
    """The schedule of the feed, in UTC."""
    table = BarsTable(settings.resolved_feed_duckdb)

    @dg.schedule(
        name="feed_1h_hourly",
        job_name=FEED_JOB,
        cron_schedule=CRON,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING if settings.automation else dg.DefaultScheduleStatus.STOPPED,
        description="Appends the hour that has just closed, and missed ones before it, to the BTCUSDT 1H table.",
    )
    def feed_1h_hourly(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        target = target_hour(context.scheduled_execution_time)
        newest = table.published().rows["timestamp"].max()
        if not isinstance(newest, datetime):
            return dg.SkipReason(
                "the table is empty: seed it once by a backfill of the last 30 days + buffer "
                "(docs/feed_1h.md), a first row of today would be its beginning for ever"
            )
        return request_hours(newest, target, settings.feed_catch_up_hours)

    return feed_1h_hourly


def request_hours(newest: datetime, target: datetime, at_most: int) -> dg.RunRequest | dg.SkipReason:
    """The run for the hours after `newest` up to `target`, the oldest `at_most` of them; both UTC-naive."""
    if newest >= target:
        return dg.SkipReason(f"the table has {target:%Y-%m-%d %H:%M} already")
    last = min(target, newest + at_most * HOUR)
    first_key, last_key = (hour_key(hour.replace(tzinfo=UTC)) for hour in (newest + HOUR, last))
    run_key = f"feed_1h {first_key} to {last_key} for {target:%Y-%m-%d %H}"
    if first_key == last_key:
        return dg.RunRequest(run_key=run_key, partition_key=last_key)
    return dg.RunRequest(run_key=run_key, tags={RANGE_START: first_key, RANGE_END: last_key})
