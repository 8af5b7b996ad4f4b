"""The sensor that tells people of failed runs.

Belongs here: the message of a failed run. Does not belong here: sending it (`lake_resources.messages.outbox`).
"""

from __future__ import annotations

import dagster as dg

from lake_assets.dagster_names import ALERT_SENSOR, AUTOMATION_TAG
from lake_assets.jobs.run_tags import RANGE_END, RANGE_START
from lake_assets.sensors.one_by_one import default_status
from lake_resources.clock import Clock
from lake_resources.messages.alerts import Alert
from lake_resources.messages.outbox import Outbox
from lake_resources.settings import LakeSettings


def build_alert_sensor(settings: LakeSettings, outbox: Outbox, clock: Clock) -> dg.SensorDefinition:
    """Posts every failed run to the webhook."""

    @dg.run_failure_sensor(
        name=ALERT_SENSOR,
        default_status=default_status(settings) if settings.webhook_url else dg.DefaultSensorStatus.STOPPED,
        description="Posts every failed run to `LAKE_WEBHOOK_URL`.",
    )
    def alert_failures(context: dg.RunFailureSensorContext) -> dg.SkipReason | None:
        run = context.dagster_run
        tags = run.tags
        hours = tags.get("dagster/partition") or f"{tags.get(RANGE_START)} to {tags.get(RANGE_END)}"
        steps = [event.message for event in context.get_step_failure_events()]
        detail = "\n".join([context.failure_event.message or "", *filter(None, steps)])
        subject = f"run {run.run_id[:8]} of {run.job_name} failed ({tags.get(AUTOMATION_TAG, 'by hand')}, {hours})"
        trouble = outbox.post(Alert("run_failed", subject, detail[:4000], clock()))
        return dg.SkipReason(trouble) if trouble else None

    return alert_failures
