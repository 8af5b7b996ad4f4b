"""The job of the 1H feed's hours, and which of them a tick of its schedule asks for.

Belongs here: from the table's newest hour to a run request. Does not belong here: when it ticks (`schedules`), the run
(`assets.feed_1h`).
"""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg

from lake_assets.assets.feed_1h import FEED_KEY, LOOK_BACK_CHECK, RULEPACK_CHECK
from lake_assets.dagster_names import FEED_JOB, LOOK_BACK_JOB, hour_key
from lake_assets.feed_1h.bars import target_hour
from lake_assets.feed_1h.outcomes import FEED_CHECKS
from lake_assets.jobs.asset_job import AssetJob, asset_job, check_job
from lake_assets.jobs.run_tags import RANGE_END, RANGE_START
from lake_resources.clock import HOUR
from lake_resources.settings import LakeSettings
from lake_resources.storage.bars_duckdb import BarsTable

LOOK_BACK_KEY = dg.AssetCheckKey(FEED_KEY, LOOK_BACK_CHECK)


def build_feed_job() -> AssetJob:
    """The job of the feed's hours."""
    text = "Hours of the BTCUSDT 1H table, appended in order."
    checks = [dg.AssetCheckKey(FEED_KEY, name) for name in (*FEED_CHECKS, RULEPACK_CHECK)]
    return asset_job(FEED_JOB, [FEED_KEY], text, checks=checks)


def build_look_back_job() -> AssetJob:
    """The job that compares a part of the whole table with the exchange."""
    text = "Compares a seventh of the BTCUSDT 1H table with the exchange's bars of now; no row is changed."
    return check_job(LOOK_BACK_JOB, [LOOK_BACK_KEY], text)


def request_feed_hours(settings: LakeSettings, tick: datetime) -> dg.RunRequest | dg.SkipReason:
    """The run for the hours that the table lacks at a tick, or why there is none.

    Args:
        settings: where the table is, how many missed hours one run takes, where partitions begin.
        tick: the instant that the schedule was due at, UTC.
    """
    newest = BarsTable(settings.resolved_feed_duckdb).published().rows["timestamp"].max()
    if not isinstance(newest, datetime):
        return dg.SkipReason(
            "the table is empty: seed it once by a backfill of the last 30 days + buffer "
            "(docs/feed_1h.md), a first row of today would be its beginning for ever"
        )
    if newest.replace(tzinfo=UTC) + HOUR < settings.start_utc:
        # Its next hour is no partition, and rows are appended in order alone.
        return dg.SkipReason(
            f"the table ends at {newest:%Y-%m-%d %H:%M}, before LAKE_START ({settings.start}): its next hour has no "
            "partition. Set LAKE_START to an earlier day"
        )
    return request_hours(newest, target_hour(tick), settings.feed_catch_up_hours)


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
