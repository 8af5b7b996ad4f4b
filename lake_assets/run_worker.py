"""A Celery worker that executes runs: `celery -A lake_assets.run_worker worker`, which `lake worker` becomes.

Belongs here: the Celery app, made of the `dagster.yaml` of the environment's `DAGSTER_HOME`, so that workers and the
daemon cannot disagree about the queue. Does not belong here: launching runs (`lake_resources.celery_launcher`).
"""

from __future__ import annotations

from celery import Celery
from dagster_celery.tasks import create_execute_job_task, create_resume_job_task

from lake_resources.celery_launcher import WatchedCeleryRunLauncher
from lake_resources.dagster_instance import open_instance
from lake_resources.errors import SettingsError


def _app() -> Celery:
    with open_instance() as instance:
        launcher = instance.run_launcher
    if not isinstance(launcher, WatchedCeleryRunLauncher):
        raise SettingsError(
            f"dagster.yaml of this lake has the run launcher {type(launcher).__name__}, which knows no workers",
            remedy="Begin with dagster_home/cluster.yaml: docs/scale.md says how",
        )
    return launcher.celery


app = _app()
execute_job = create_execute_job_task(app)
resume_job = create_resume_job_task(app)
