"""`lake worker`: a Celery worker that executes runs, on whatever host.

Belongs here: its options. Does not belong here: the worker (`run_worker`), launching runs
(`lake_resources.celery_launcher`).
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from typing import Annotated

import typer

from lake_assets.local_stack.places import PROJECT, child_environment
from lake_assets.local_stack.servers import require_servers
from lake_resources.errors import SettingsError
from lake_resources.settings import LakeSettings

app = typer.Typer()
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


def _name(text: str) -> str:
    if _NAME.fullmatch(text) is None:
        raise typer.BadParameter(f"{text!r} is no name: letters, digits, `.`, `_` and `-`")
    return text


def _names(text: str) -> str:
    return ",".join(_name(part.strip()) for part in text.split(","))


@app.command()
def worker(
    places: Annotated[int, typer.Option(min=1, max=256, help="runs that it executes at a time")] = 1,
    queues: Annotated[
        str, typer.Option(parser=_names, metavar="NAMES", help="queues that it takes runs from, comma separated")
    ] = "dagster",
    name: Annotated[
        str, typer.Option(parser=_name, metavar="NAME", help="what it is called, another name than others of its host")
    ] = "lake",
) -> None:
    """Execute runs of a lake whose runs Celery workers execute, until Ctrl+C.

    Needs LAKE_BROKER_URL, LAKE_DAGSTER_URL, and `pip install 'minute-lake[scale]'`. A supervisor must start it again
    when it ends, and after each change of the code. The process becomes `celery` itself, so signals reach it.

    Examples: `lake worker --places 4` · `lake worker --queues lake-1,lake-2 --name first`
    """
    settings = LakeSettings()
    if not (settings.broker_url and settings.dagster_url):
        raise SettingsError(
            "Workers need LAKE_BROKER_URL and LAKE_DAGSTER_URL", remedy="Set both: docs/scale.md says what they are"
        )
    if importlib.util.find_spec("dagster_celery") is None:
        raise SettingsError("dagster-celery is not installed", remedy="pip install 'minute-lake[scale]'")
    require_servers(settings)
    command = ["celery", "-A", "lake_assets.run_worker", "worker", "-Q", queues, "-n", f"{name}@%h", "-c", str(places)]
    environment = child_environment(settings)
    os.chdir(PROJECT)
    os.execve(sys.executable, [sys.executable, "-m", *command, "-l", "INFO"], environment)  # noqa: S606
