"""A run in which a server of the lake went away for a while, or another writer was at its partitions: begun again.

Belongs here: which errors, how often, how long after; which failures are the last word of a run. Does not belong here:
retries of runs that lost their process (Dagster's, by `run_retries`), of calls to the exchange (`lake_resources.http`).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from inspect import signature
from typing import Any, TypeVar

import dagster as dg

from lake_resources.errors import LakeError, LedgerUnreachable, PartitionBusy, StoreUnreachable

_Result = TypeVar("_Result")
_Callable = TypeVar("_Callable", bound=Callable[..., Any])
_Context = dg.AssetExecutionContext | dg.AssetCheckExecutionContext
TRIES = 5
WAIT_S = 10
"""A server that is started again is back within seconds; five times ten are patience for a failover."""
RETRY_FAILED_STEPS = "dagster/retry_on_asset_or_op_failure"
"""Dagster's tag of a run: whether `run_retries` take it up again where a step of it failed."""


def begun_again(work: Callable[..., Iterator[Any]], *, wait_s: int = WAIT_S) -> Callable[..., Iterator[Any]]:
    """The body of an asset that Dagster begins again while a server of the lake does not answer or a writer is busy.

    What was committed before is found unchanged, so beginning again costs reading alone. What the lake itself gives
    as the reason of a failure does not get better by that: such a run is marked, and `run_retries` leave it alone. Any
    other failure of a step, as when Dagster's own storage was cut off, is for them to judge.
    """

    @wraps(work)
    def guarded(context: _Context, *args: Any, **given: Any) -> Iterator[Any]:
        with _waited_for(context, wait_s):
            yield from work(context, *args, **given)

    return _signed(guarded, work)


def done_again(work: Callable[..., _Result], *, wait_s: int = WAIT_S) -> Callable[..., _Result]:
    """`begun_again` for the body of an asset that returns what it made in place of yielding it."""

    @wraps(work)
    def guarded(context: _Context, *args: Any, **given: Any) -> _Result:
        with _waited_for(context, wait_s):
            return work(context, *args, **given)

    return _signed(guarded, work)


def _signed(guarded: _Callable, work: Callable[..., Any]) -> _Callable:
    """With the signature at hand: Dagster asks a body for it some fifteen times, and a code location has hundreds."""
    guarded.__signature__ = signature(work)  # type: ignore[attr-defined]
    return guarded


@contextmanager
def _waited_for(context: _Context, wait_s: int) -> Iterator[None]:
    try:
        yield
    except (LedgerUnreachable, StoreUnreachable, PartitionBusy) as gone:
        if context.retry_number >= TRIES:
            raise
        raise dg.RetryRequested(max_retries=TRIES, seconds_to_wait=wait_s) from gone
    except (LakeError, dg.Failure):
        if RETRY_FAILED_STEPS not in context.run.tags:
            context.instance.add_run_tags(context.run.run_id, {RETRY_FAILED_STEPS: "false"})
        raise
