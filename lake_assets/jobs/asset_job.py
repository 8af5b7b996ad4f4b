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


def asset_job(
    name: str, keys: Iterable[dg.AssetKey], text: str, *, checks: Iterable[dg.AssetCheckKey] | None = None
) -> AssetJob:
    """A job that materializes some assets.

    It executes in one process: a step process of its own would add 3 s of CPU to every run.

    Args:
        name: of the job; sensors and schedules launch it by this name.
        keys: the assets, which must all have the same partitions or none.
        text: what the UI says of it.
        checks: their checks that belong to it; None is all that there are.
    """
    selection: dg.AssetSelection = dg.AssetSelection.assets(*keys)
    if checks is not None:
        selection = selection.without_checks() | dg.AssetSelection.checks(*checks)
    return dg.define_asset_job(name, selection=selection, executor_def=dg.in_process_executor, description=text)


def check_job(name: str, keys: Iterable[dg.AssetCheckKey], text: str) -> AssetJob:
    """A job that executes some checks and materializes nothing."""
    return dg.define_asset_job(
        name, selection=dg.AssetSelection.checks(*keys), executor_def=dg.in_process_executor, description=text
    )
