"""What is done with Dagster's storage before webserver and daemon start: tables, and runs that died with the last ones.

Belongs here: this one short process, `python -m lake_assets.local_stack.before_start`; it prints what it gave up.
Does not belong here: starting anything (`stack`), judging a running platform (`heartbeat`).
"""

from __future__ import annotations

import sys

import dagster as dg

from lake_assets.dagster_names import AUTOMATION_TAG
from lake_resources.dagster_instance import open_instance
from lake_resources.dagster_private import fail_dead_run, launched_by_daemon
from lake_resources.errors import LakeError

_AT_WORK = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
_WHY = "Its process ended with an earlier start of the platform."


def give_up_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Give up runs that a daemon launched; only for a platform that is about to start, so that none of them can live.

    Without it the sensors would wait for theirs, and a backfill's would hold places of the queue for hours. Runs of
    sensors are canceled, for the sensors ask anew; others fail, and Dagster's retries take them up. A run that somebody
    executes in a process of his own is left alone. Should a process live on after all, the lake's locks keep its
    commits sound. Runs of Celery workers live on without the platform, and their launcher tells which are lost.

    Returns:
        Their ids.
    """
    if instance.run_launcher.supports_resume_run:  # its workers are processes of their own
        return []
    dead = [
        run
        for run in instance.get_runs(dg.RunsFilter(statuses=_AT_WORK))
        if AUTOMATION_TAG in run.tags or launched_by_daemon(run)
    ]
    for run in dead:
        if AUTOMATION_TAG in run.tags or run.status == dg.DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, message=_WHY)
        else:
            fail_dead_run(instance, run, _WHY)
    return [run.run_id for run in dead]


def main() -> None:
    """Open the instance of the environment: webserver and daemon started together on a new one would race to do it."""
    try:
        with open_instance() as instance:
            for run_id in give_up_dead_runs(instance):
                sys.stdout.write(f"run {run_id} died with an earlier start of the platform and is given up\n")
    except LakeError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
