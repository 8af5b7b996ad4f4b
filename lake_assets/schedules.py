"""The schedules: what runs at fixed times in Dagster.

Belongs here: times and the jobs they launch. Does not belong here: the jobs (`jobs`).
"""

from __future__ import annotations

import dagster as dg

from lake_assets.jobs.partition_jobs import PRUNE_JOB
from lake_resources.settings import LakeSettings


def build_schedules(settings: LakeSettings) -> list[dg.ScheduleDefinition]:
    """All schedules of the code location, in UTC."""
    status = dg.DefaultScheduleStatus.RUNNING if settings.automation else dg.DefaultScheduleStatus.STOPPED
    return [
        dg.ScheduleDefinition(
            name="prune_hourly",
            job_name=PRUNE_JOB,
            cron_schedule="25 * * * *",
            execution_timezone="UTC",
            default_status=status,
            description="Deletes what the hot band leaves behind once nothing depends on it.",
        )
    ]
