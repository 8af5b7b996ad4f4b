"""The schedules of the code location: the lines of the timetable as Dagster has them.

Belongs here: making them, and what a tick of each asks for. Does not belong here: times and why they are these
(`automation.timetable`), the jobs (`jobs`).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import dagster as dg

from lake_assets.automation.timetable import Timed, cron_of, timed
from lake_assets.jobs.feed_hours import request_feed_hours
from lake_assets.jobs.macro_runs import request_macro_days
from lake_resources.settings import LakeSettings

Request = Callable[[LakeSettings, datetime], dg.RunRequest | dg.SkipReason]
_REQUESTS: dict[str, Request] = {
    "feed_1h_hourly": request_feed_hours,
    "macro_every_15_minutes": request_macro_days,
}
"""What a tick asks for, from the settings and the instant it was due at; of other lines a run without partition."""


def build_schedules(settings: LakeSettings) -> list[dg.ScheduleDefinition]:
    """All schedules of the code location, in UTC."""
    return [_schedule(each, settings) for each in timed(settings)]


def _schedule(line: Timed, settings: LakeSettings) -> dg.ScheduleDefinition:
    request = _REQUESTS.get(line.name)

    def ask(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        return dg.RunRequest() if request is None else request(settings, context.scheduled_execution_time)

    return dg.ScheduleDefinition(
        name=line.name,
        job_name=line.job,
        cron_schedule=cron_of(line, settings),
        execution_timezone="UTC",
        execution_fn=ask,
        default_status=dg.DefaultScheduleStatus.RUNNING if settings.automation else dg.DefaultScheduleStatus.STOPPED,
        description=f"{line.text} {line.why} {line.schedule}",
    )
