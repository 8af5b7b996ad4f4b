"""When the reports on the minute tables run: their jobs and daily schedules.

Belongs here: times. Does not belong here: the reports (`assets.quality`), the repair (`repair_job`).
"""

from __future__ import annotations

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from lake_assets.assets.quality import report_key
from lake_resources.settings import LakeSettings

_REPORTS = {
    # After the archives of the day before have appeared (about 08:40) and their hours were built anew.
    "audit": ("40 9 * * *", "Compares every hour on the disk with the ledger and with Dagster."),
    "rules": ("55 9 * * *", "Runs the rulepack R1 to R7 over the last 31 days."),
    "parity_at_rest": ("10 10 * * *", "Compares sampled sealed hours with the exchange's klines of now."),
}


def build_quality_jobs(settings: LakeSettings) -> list[UnresolvedAssetJobDefinition]:
    """A job per report, over all symbols."""
    return [
        dg.define_asset_job(
            report,
            selection=dg.AssetSelection.assets(*(report_key(symbol, report) for symbol in settings.symbols)),
            executor_def=dg.in_process_executor,
            description=text,
        )
        for report, (_, text) in _REPORTS.items()
    ]


def build_quality_schedules(settings: LakeSettings) -> list[dg.ScheduleDefinition]:
    """A daily schedule per report, in UTC."""
    status = dg.DefaultScheduleStatus.RUNNING if settings.automation else dg.DefaultScheduleStatus.STOPPED
    return [
        dg.ScheduleDefinition(
            name=f"{report}_daily",
            job_name=report,
            cron_schedule=cron,
            execution_timezone="UTC",
            default_status=status,
            description=text,
        )
        for report, (cron, text) in _REPORTS.items()
    ]
