"""The job over days of raw kline slices.

Belongs here: the job of all symbols of an interval. Does not belong here: which days it is asked for (`sensors`).
"""

from __future__ import annotations

from lake_assets.assets.kline_slices import slices_key
from lake_assets.dagster_names import slice_job
from lake_assets.jobs.asset_job import AssetJob, asset_job
from lake_resources.settings import LakeSettings


def build_slice_jobs(settings: LakeSettings) -> list[AssetJob]:
    """A job per interval, where slices are kept at all."""
    if not settings.slice_symbols:
        return []
    return [
        asset_job(
            slice_job(interval),
            (slices_key(symbol, interval) for symbol in settings.slice_symbols),
            f"Days of raw {interval} klines, as the exchange answered.",
        )
        for interval in settings.slice_intervals
    ]
