"""All jobs of the code location.

Belongs here: the list. Does not belong here: any job's body or selection.
"""

from __future__ import annotations

from lake_assets.jobs.archive_files import build_archive_jobs
from lake_assets.jobs.asset_job import Job
from lake_assets.jobs.closed_periods import build_compaction_job
from lake_assets.jobs.feed_hours import build_feed_job, build_look_back_job
from lake_assets.jobs.history_pruning import build_prune_job
from lake_assets.jobs.macro_runs import build_macro_jobs
from lake_assets.jobs.quality_reports import build_report_jobs
from lake_assets.jobs.repair import build_repair_job
from lake_assets.jobs.research_file import build_research_job
from lake_assets.jobs.slice_days import build_slice_jobs
from lake_assets.jobs.table_partitions import build_parity_jobs, build_table_jobs
from lake_resources.settings import LakeSettings


def build_jobs(settings: LakeSettings) -> list[Job]:
    """Every job, those that the sensors launch first."""
    return [
        *build_sensor_jobs(settings),
        build_prune_job(settings),
        build_feed_job(),
        build_look_back_job(),
        *build_parity_jobs(settings),
        *build_report_jobs(settings),
        build_compaction_job(settings),
        build_repair_job(settings),
        *build_slice_jobs(settings),
        *build_macro_jobs(settings),
        build_research_job(),
    ]


def build_sensor_jobs(settings: LakeSettings) -> list[Job]:
    """The jobs that sensors launch: partitions of the tables, and archive files."""
    return [*build_table_jobs(settings), *build_archive_jobs(settings)]
