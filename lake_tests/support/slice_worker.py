"""A process of its own that keeps slices complete, for tests that kill it or run two of them.

Belongs here: what such a process does. Does not belong here: any assertion.
The processes are forked from a server that has the imports behind it, never from the test process and its threads.
"""

from __future__ import annotations

import multiprocessing
import os
from datetime import datetime
from multiprocessing.process import BaseProcess

from lake_assets.slices.server import open_slices, run_once
from lake_resources.errors import PartitionBusy
from lake_resources.settings import LakeSettings
from lake_resources.storage.ledger.slice_rows import SliceSet
from lake_tests.support.killed_at_step import Step, die_at

_CONTEXT = multiprocessing.get_context("forkserver")


def start_slicer(settings: LakeSettings, of: SliceSet, now: datetime, dies_at: Step | None = None) -> BaseProcess:
    """Start a process that runs a round and ends; exit code 0 where the round was its own, 1 where another was busy.

    With `dies_at` it kills itself before that step of the round.
    """
    _CONTEXT.set_forkserver_preload([__name__])
    process = _CONTEXT.Process(target=_run, args=(settings.model_dump(), of, now, dies_at))
    process.start()
    return process


def _run(settings: dict[str, object], of: SliceSet, now: datetime, dies_at: Step | None) -> None:
    with open_slices(LakeSettings(**settings), clock=lambda: now, sleep=lambda _: None) as slices:  # type: ignore[arg-type]
        if dies_at is not None:
            die_at(slices.root, dies_at)
        try:
            run_once(slices, of)
        except PartitionBusy:
            os._exit(1)
    os._exit(0)
