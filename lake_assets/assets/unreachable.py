"""A run in which the ledger's server or the object store went away for a while: its step is begun again.

Belongs here: which errors, how often, how long after. Does not belong here: retries of runs that lost their process
(Dagster's, by `run_retries`), of calls to the exchange (`lake_resources.http`).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeVar

import dagster as dg

from lake_resources.errors import LedgerUnreachable, StoreUnreachable

_Result = TypeVar("_Result")
TRIES = 5
WAIT_S = 10
"""A server that is started again is back within seconds; five times ten are patience for a failover."""


def begun_again(work: Callable[..., Iterator[Any]], *, wait_s: int = WAIT_S) -> Callable[..., Iterator[Any]]:
    """The body of an asset that Dagster begins again while a server of the lake does not answer.

    What was committed before is found unchanged, so beginning again costs reading alone. A run would else fail for
    good: retries of runs leave out those whose step failed, for what else fails one does not get better by itself.
    """

    @wraps(work)
    def guarded(context: dg.AssetExecutionContext, *args: Any, **given: Any) -> Iterator[Any]:
        with _waited_for(context, wait_s):
            yield from work(context, *args, **given)

    return guarded


def done_again(work: Callable[..., _Result], *, wait_s: int = WAIT_S) -> Callable[..., _Result]:
    """`begun_again` for the body of an asset that returns what it made in place of yielding it."""

    @wraps(work)
    def guarded(context: dg.AssetExecutionContext, *args: Any, **given: Any) -> _Result:
        with _waited_for(context, wait_s):
            return work(context, *args, **given)

    return guarded


@contextmanager
def _waited_for(context: dg.AssetExecutionContext, wait_s: int) -> Iterator[None]:
    try:
        yield
    except (LedgerUnreachable, StoreUnreachable) as gone:
        if context.retry_number >= TRIES:
            raise
        raise dg.RetryRequested(max_retries=TRIES, seconds_to_wait=wait_s) from gone
