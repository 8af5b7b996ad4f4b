"""A Celery worker that executes runs: `celery -A lake_assets.run_worker worker`, which `lake worker` becomes.

Belongs here: the Celery app, made of the `dagster.yaml` of the environment's `DAGSTER_HOME`, so that workers and the
daemon cannot disagree about the queue; loading for a run what it is about. Does not belong here: launching runs
(`lake_resources.celery_launcher`), what a run is about (`run_scope`).
"""

from __future__ import annotations

import sys
from typing import Any

from celery import Celery
from celery.signals import task_prerun
from dagster_celery.tasks import create_execute_job_task, create_resume_job_task

from lake_assets.run_scope import keys_of, narrow, symbols_of_run
from lake_resources.celery_launcher import WatchedCeleryRunLauncher
from lake_resources.dagster_instance import open_instance
from lake_resources.errors import SettingsError
from lake_resources.settings import LakeSettings

_DEFINITIONS = "lake_assets.definitions"


def _app() -> Celery:
    with open_instance() as instance:
        launcher = instance.run_launcher
    if not isinstance(launcher, WatchedCeleryRunLauncher):
        raise SettingsError(
            f"dagster.yaml of this lake has the run launcher {type(launcher).__name__}, which knows no workers",
            remedy="Begin with dagster_home/cluster.yaml: docs/scale.md says how",
        )
    # A worker that took further runs beside the one at work would keep them from workers with nothing to do, and take
    # them with it when it dies. Celery has this for Redis alone.
    launcher.celery.conf.worker_disable_prefetch = True
    return launcher.celery


app = _app()
execute_job = create_execute_job_task(app)
resume_job = create_resume_job_task(app)


def load_what_it_runs(kwargs: dict[str, Any] | None = None, **_told: object) -> None:
    """Before a task: let the process build definitions of the run's symbols alone.

    A code location of 50 symbols takes 1.3 s of CPU to build, one symbol of it 0.15 s. Whatever cannot be
    told from the run is loaded whole.
    """
    narrow(())
    run_id = ((kwargs or {}).get("execute_job_args_packed") or {}).get("run_id")
    if run_id is None:
        return
    with open_instance() as instance:
        run = instance.get_run_by_id(run_id)
    if run is not None:
        narrow(symbols_of_run(keys_of(run), LakeSettings()))
    if _DEFINITIONS in sys.modules:
        # An earlier run's: what is imported is not built again by itself.
        from lake_assets import definitions

        definitions.defs = definitions.build_for_process()


task_prerun.connect(load_what_it_runs, weak=False)
