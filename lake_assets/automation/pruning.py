"""What of the hot band's history may be deleted.

Belongs here: the rule. Does not belong here: deleting (`jobs`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

FAILED_KEPT_FOR = timedelta(days=7)
"""People look at failures later than at successes."""


@dataclass(frozen=True)
class FinishedRun:
    """A finished run of the hot band.

    Attributes:
        ended_at: UTC.
        failed: it did not end in success.
        partitions: asset and partition key of everything it may have materialized or checked.
    """

    run_id: str
    ended_at: datetime
    failed: bool
    partitions: frozenset[tuple[str, str]]


def old_enough(run: FinishedRun, now: datetime, keep: timedelta) -> bool:
    """Whether a run has been kept for its time."""
    return now - run.ended_at >= (max(keep, FAILED_KEPT_FOR) if run.failed else keep)


def deletable(runs: Iterable[FinishedRun], latest: Mapping[tuple[str, str], str]) -> list[str]:
    """Ids of runs that hold the latest materialization of no partition: a newer run proves each of them.

    A partition without any materialization keeps its runs: they are all that is known about it.

    Args:
        runs: runs that are old enough.
        latest: by asset and partition key, the run of the latest materialization.
    """
    return [
        run.run_id
        for run in runs
        if run.partitions and all(latest.get(item, run.run_id) != run.run_id for item in run.partitions)
    ]
