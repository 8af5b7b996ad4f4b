"""Threads that nobody waits for: a call that hangs must not keep the process from ending.

Belongs here: an executor of daemon threads. Does not belong here: what runs in them.
Threads of `ThreadPoolExecutor` are joined when the interpreter exits, however long their calls take: a name server
that is silent, a REST answer that trickles, a disk that hangs.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import Any, ParamSpec, TypeVar

_P = ParamSpec("_P")
_Result = TypeVar("_Result")
_Job = tuple["Future[Any]", Callable[[], Any]]


class DaemonThreads(ThreadPoolExecutor):
    """Runs calls in order of submission, each in one of its threads.

    It is a `ThreadPoolExecutor` by type alone, which an event loop demands of its default executor.

    Args:
        threads: how many.
        name: of the threads.
    """

    def __init__(self, threads: int, name: str) -> None:
        super().__init__(threads, name)
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._count = threads
        for number in range(threads):
            Thread(target=_serve, args=(self._jobs,), name=f"{name}-{number}", daemon=True).start()

    def submit(self, call: Callable[_P, _Result], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_Result]:
        """Run a call soon; its result or error is the future's."""
        future: Future[_Result] = Future()
        self._jobs.put((future, partial(call, *args, **kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002 - never waits
        """Let the threads end when all that was submitted is done; calls that hang end with the process."""
        for _ in range(self._count):
            self._jobs.put(None)


def _serve(jobs: SimpleQueue[_Job | None]) -> None:
    while (job := jobs.get()) is not None:
        future, call = job
        if not future.set_running_or_notify_cancel():
            continue
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is awaited
            future.set_exception(error)
        else:
            future.set_result(result)
        del job, future, call
