"""How every job over assets is made.

Belongs here: what all of them have in common. Does not belong here: any of them.
"""

from __future__ import annotations

from collections.abc import Iterable

import dagster as dg

from lake_resources.dagster_private import UnresolvedAssetJobDefinition

AssetJob = UnresolvedAssetJobDefinition
"""What Dagster makes of a selection of assets, before it knows the assets."""
Job = dg.JobDefinition | AssetJob


def asset_job(name: str, keys: Iterable[dg.AssetKey], text: str, *, but: Iterable[dg.AssetCheckKey] = ()) -> AssetJob:
    """A job that materializes some assets, with their checks.

    It executes in one process: a step process of its own would add 3 s of CPU to every run.

    Args:
        name: of the job; sensors and schedules launch it by this name.
        keys: the assets, which must all have the same partitions or none.
        text: what the UI says of it.
        but: checks that are left out.
    """
    selection: dg.AssetSelection = dg.AssetSelection.assets(*keys)
    left_out = list(but)
    if left_out:
        selection = selection - dg.AssetSelection.checks(*left_out)
    return dg.define_asset_job(name, selection=selection, executor_def=dg.in_process_executor, description=text)


def check_job(name: str, keys: Iterable[dg.AssetCheckKey], text: str) -> AssetJob:
    """A job that executes some checks and materializes nothing."""
    return dg.define_asset_job(
        name, selection=dg.AssetSelection.checks(*keys), executor_def=dg.in_process_executor, description=text
    )
