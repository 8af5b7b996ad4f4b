"""A process of its own that builds hours, for tests that kill it or run two of them.

Belongs here: what such a process does. Does not belong here: any assertion.
The processes are forked from a server that has the imports behind it, never from the test process and its threads.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from datetime import datetime
from multiprocessing.process import BaseProcess
from pathlib import Path

from lake_assets.build.hours import build_partitions
from lake_assets.lake import open_lake
from lake_resources.settings import LakeSettings
from lake_tests.support.killed_at_step import Step, die_at
from lake_tests.support.simulated_lake import SYMBOL

_CONTEXT = multiprocessing.get_context("forkserver")


def start_builder(
    settings: LakeSettings, hours: Sequence[datetime], now: datetime, dies_at: Step | None = None
) -> BaseProcess:
    """Start a process that builds the hours and ends with exit code 0 when none of them failed.

    It gives a file `done-…` in the lake its name when all are built. With `dies_at` it kills itself before that step.
    """
    _CONTEXT.set_forkserver_preload([__name__])
    process = _CONTEXT.Process(target=_build, args=(settings.model_dump(), list(hours), now, dies_at))
    process.start()
    return process


def _build(settings: dict[str, object], hours: list[datetime], now: datetime, dies_at: Step | None) -> None:
    if dies_at is not None:
        die_at(Path(str(settings["root"])), dies_at)
    lake = open_lake(LakeSettings(**settings), clock=lambda: now, sleep=lambda _: None)  # type: ignore[arg-type]
    days = list(build_partitions(lake, SYMBOL, hours, now=now, report=lambda _: None))
    Path(lake.catalog.root, f"done-{os.getpid()}").touch()
    os._exit(any(hour.failed for day in days for hour in day.hours))
