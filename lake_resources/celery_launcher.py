"""The run launcher of a lake with Celery workers: dagster-celery's, which also notices that a worker died.

Belongs here: what `dagster_home/cluster.yaml` names, and the judgement whether a run still has a worker. Does not
belong here: the worker's process (`lake_assets.run_worker`), retries (Dagster's, by `run_retries`).

Celery remembers a task of a killed worker as started for ever, and forgets every task when Redis begins anew empty; by
its memory alone the first would never be missed, and the second would be started again beside itself.
"""

from __future__ import annotations

from typing import Any

import dagster as dg
import redis.exceptions
from celery.exceptions import CeleryError
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tags import DAGSTER_CELERY_QUEUE_TAG, DAGSTER_CELERY_TASK_ID_TAG
from kombu.exceptions import KombuError

from lake_resources.dagster_private import CheckRunHealthResult, LaunchRunContext, UserConfigSchema, WorkerStatus

ANSWER_S = 2.0
"""How long the workers are given to say what they are at."""
MISSES = 2
"""Questions in a row after which a run that no worker knows is lost; a worker may be halted for a moment."""
_UNREACHABLE = (redis.exceptions.RedisError, KombuError, CeleryError, OSError)


class WatchedCeleryRunLauncher(CeleryRunLauncher):
    """Launches runs as Celery tasks, and asks the workers themselves whether they still have them.

    In `dagster.yaml`:

        run_launcher:
          module: lake_resources.celery_launcher
          class: WatchedCeleryRunLauncher
          config: { broker: { env: LAKE_BROKER_URL }, backend: { env: LAKE_BROKER_URL } }

    Args:
        queue_per_location: put runs of the code location `lake-3` into the queue `lake-3`, for `lake worker --queues
            lake-3`; else all runs wait in one queue. A run's own tag `dagster-celery/queue` goes first.
        given: what dagster-celery's launcher takes.
    """

    def __init__(self, *, queue_per_location: bool = False, **given: Any) -> None:
        self._queue_per_location = queue_per_location
        super().__init__(**given)

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """The `config` of `dagster.yaml`."""
        given = super().config_type()
        assert isinstance(given, dict)
        return {**given, "queue_per_location": dg.Field(bool, is_required=False, default_value=False)}

    def launch_run(self, context: LaunchRunContext) -> None:
        """Put a run into its queue."""
        run = context.dagster_run
        origin = run.remote_job_origin
        if self._queue_per_location and origin is not None and DAGSTER_CELERY_QUEUE_TAG not in run.tags:
            own = {DAGSTER_CELERY_QUEUE_TAG: origin.location_name}
            self._instance.add_run_tags(run.run_id, own)
            context = LaunchRunContext(run.with_tags({**run.tags, **own}), context.workspace)
        super().launch_run(context)

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Whether the task of a run that has not ended failed, is held by a worker that answers, or is lost.

        While Redis cannot be asked nothing is known, and the run counts as running.
        """
        task_id = run.tags.get(DAGSTER_CELERY_TASK_ID_TAG)
        if task_id is None:
            return self._missed(run, "it has no Celery task")
        try:
            state = self.celery.AsyncResult(task_id).state
            if state == "FAILURE":
                self._misses.pop(run.run_id, None)
                return CheckRunHealthResult(WorkerStatus.FAILED, "Its Celery task ended: FAILURE.")
            if state == "SUCCESS":
                # It also ends so where Dagster's storage was away when it came to telling the end of the run.
                return self._missed(run, "its Celery task ended without a word of the run's end")
            answers = self.celery.control.inspect(timeout=ANSWER_S).query_task([task_id]) or {}
        except _UNREACHABLE as error:
            return CheckRunHealthResult(WorkerStatus.RUNNING, f"Redis cannot be asked: {error}")
        if any(task_id in held for held in answers.values()):
            self._misses.pop(run.run_id, None)
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return self._missed(run, f"none of {len(answers)} workers that answer has its Celery task {task_id}")

    def get_run_worker_debug_info(self, run: dg.DagsterRun, include_container_logs: bool | None = True) -> str | None:
        """What is known of the run's task; nothing where it has none yet, or Redis cannot be asked."""
        if DAGSTER_CELERY_TASK_ID_TAG not in run.tags:
            return None
        try:
            return super().get_run_worker_debug_info(run, include_container_logs)
        except _UNREACHABLE:
            return None

    def _missed(self, run: dg.DagsterRun, why: str) -> CheckRunHealthResult:
        self._misses[run.run_id] = self._misses.get(run.run_id, 0) + 1
        if self._misses[run.run_id] < MISSES:
            return CheckRunHealthResult(WorkerStatus.RUNNING, f"perhaps lost: {why}")
        del self._misses[run.run_id]
        return CheckRunHealthResult(WorkerStatus.UNKNOWN, f"The run's worker is lost: {why}.")

    @property
    def _misses(self) -> dict[str, int]:
        """Questions in a row that found no worker, by run."""
        found: dict[str, int] = self.__dict__.setdefault("_missed_by_run", {})
        return found
