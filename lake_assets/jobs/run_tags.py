"""Tags by which the runs of automation are known, and which of them are still at work.

Belongs here: tags of ranges and of what launched a run, asking an instance for such runs. Does not belong here: when
runs are launched (`sensors`, `schedules`).
"""

from __future__ import annotations

from datetime import datetime, timedelta

import dagster as dg

from lake_assets.dagster_names import AUTOMATION_TAG, hour_key

RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
"""Dagster's tags of a run over a range of partitions; their values are the first and the last key, both inclusive."""
HOT_RUN_LONGEST = timedelta(minutes=5)
"""A hot run takes seconds; one that is older died with its process and keeps nothing back."""
LAUNCHED_RUN_LONGEST = timedelta(hours=2)
"""The same for runs that heal holes or take archives in; it is the `max_runtime_seconds` of `dagster.yaml`."""

_UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def hour_range_tags(kind: str, first: datetime, last: datetime) -> dict[str, str]:
    """Tags of a run over the hours `first` to `last` (inclusive, UTC), launched by `kind` of automation."""
    return {AUTOMATION_TAG: kind, RANGE_START: hour_key(first), RANGE_END: hour_key(last)}


def runs_at_work(
    instance: dg.DagsterInstance, kind: str, now: datetime, *, longest: timedelta = HOT_RUN_LONGEST
) -> list[str]:
    """The first eight characters of the ids of unfinished runs that one kind of automation launched; at most one.

    Args:
        instance: the Dagster instance.
        kind: `hot`, `heal` or `promote`.
        now: the moment of asking, UTC.
        longest: a run that was created longer ago than any run lasts died with its process and is left out.
    """
    records = instance.get_run_records(
        dg.RunsFilter(tags={AUTOMATION_TAG: kind}, statuses=_UNFINISHED, created_after=now - longest), limit=1
    )
    return [record.dagster_run.run_id[:8] for record in records]
