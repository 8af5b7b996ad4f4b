"""Tags by which the runs of automation are known, and which of them are still at work.

Belongs here: tags of ranges and of what launched a run, asking an instance for such runs. Does not belong here: when
runs are launched (`sensors`, `schedules`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import dagster as dg

from lake_assets.dagster_names import AUTOMATION_TAG, partition_key
from lake_resources.layout import TableLayout

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


def partition_range_tags(kind: str, layout: TableLayout, first: datetime, last: datetime) -> dict[str, str]:
    """Tags of a run over the partitions of a table that begin from `first` to `last` (inclusive, UTC).

    Args:
        kind: of automation that launches it: `hot`, `heal` or `promote`.
        layout: of the table.
        first: start of the first partition.
        last: start of the last one.
    """
    keys = {RANGE_START: partition_key(layout, first), RANGE_END: partition_key(layout, last)}
    return {AUTOMATION_TAG: kind, **keys}


def runs_at_work(
    instance: dg.DagsterInstance,
    kind: str,
    jobs: Iterable[str],
    now: datetime,
    *,
    longest: timedelta = HOT_RUN_LONGEST,
) -> list[str]:
    """The first eight characters of the ids of unfinished runs of one kind of automation; at most one for each job.

    Args:
        instance: the Dagster instance.
        kind: `hot`, `heal` or `promote`.
        jobs: names of the jobs whose runs are meant.
        now: the moment of asking, UTC.
        longest: a run that was created longer ago than any run lasts died with its process and is left out.
    """
    return [
        record.dagster_run.run_id[:8]
        for job in jobs
        for record in instance.get_run_records(
            dg.RunsFilter(job_name=job, tags={AUTOMATION_TAG: kind}, statuses=_UNFINISHED, created_after=now - longest),
            limit=1,
        )
    ]


@dataclass(frozen=True)
class AtWork:
    """What an unfinished run may commit.

    Attributes:
        keys: its assets; empty means that it does not say which.
        first, last: keys of its partitions, both inclusive; empty means that it does not say which.
    """

    keys: frozenset[dg.AssetKey]
    first: str
    last: str

    def covers(self, key: dg.AssetKey, partition: str) -> bool:
        """Whether the run may commit this partition of this asset."""
        mine = not self.keys or key in self.keys
        return mine and (not self.first or self.first <= partition <= self.last)


def partitions_at_work(
    instance: dg.DagsterInstance, now: datetime, *, longest: timedelta = LAUNCHED_RUN_LONGEST
) -> list[AtWork]:
    """What all runs that are at work now may commit, whoever launched them.

    Args:
        instance: the Dagster instance.
        now: the moment of asking, UTC.
        longest: a run that was created longer ago than any run lasts died with its process and is left out.
    """
    found = instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED, created_after=now - longest))
    return [
        AtWork(
            frozenset(run.asset_selection or ()),
            run.tags.get(RANGE_START) or run.tags.get("dagster/partition", ""),
            run.tags.get(RANGE_END) or run.tags.get("dagster/partition", ""),
        )
        for run in found
    ]
