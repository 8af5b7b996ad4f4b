"""The job of the research layer's file.

Belongs here: its name and what it selects. Does not belong here: when it runs (`schedules`), the run
(`assets.research`).
"""

from __future__ import annotations

from lake_assets.assets.research import RESEARCH_KEY
from lake_assets.dagster_names import RESEARCH_JOB
from lake_assets.jobs.asset_job import AssetJob, asset_job


def build_research_job() -> AssetJob:
    """The job over the one asset."""
    return asset_job(RESEARCH_JOB, [RESEARCH_KEY], "Writes the DuckDB file of the research views anew.")
