"""Asking for slices one after the other, one answer ahead of the disk.

Belongs here: requests, their order, when no more are made. Does not belong here: which slices (`expected`), what an
answer is worth (`judgement`), keeping it (`persisting`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from lake_assets.slices.data_root import Slices
from lake_assets.slices.endpoint import SliceEndpoint
from lake_assets.slices.keys import SliceKey
from lake_resources.binance.rest.rest_client import RawAnswer
from lake_resources.errors import Banned, ExchangeError, MalformedAnswer, RateLimited

STOPPING = (Banned, RateLimited)
"""After these nobody calls for a while, so no further slice is asked for."""
_AHEAD = 2


@dataclass(frozen=True)
class AskedSlice:
    """What became of one request.

    Attributes:
        key: the slice.
        at: when it was asked for, UTC.
        answered: when the answer was there, UTC.
        url, status, content, found: of a good answer: URL, HTTP status, bytes, positions of its records as sent.
        error: what came instead of one.
    """

    key: SliceKey
    at: datetime
    answered: datetime
    url: str = ""
    status: int = 0
    content: bytes = b""
    found: tuple[int, ...] = ()
    error: ExchangeError | None = None


def ask_each(slices: Slices, endpoint: SliceEndpoint, keys: Iterable[SliceKey]) -> Generator[AskedSlice]:
    """Ask for each slice once, in order; while the caller keeps an answer, the next one is on its way.

    After a ban or a limit nothing more is asked for: its error is the last that is given.
    """
    stopped = False

    def ask(key: SliceKey) -> AskedSlice | None:
        nonlocal stopped
        if stopped:
            return None
        asked = _ask(slices, endpoint, key)
        stopped = isinstance(asked.error, STOPPING)
        return asked

    # One thread: the exchange is asked by one call at a time, and an error is known before the next one.
    with ThreadPoolExecutor(1, thread_name_prefix="slices-ask") as pool:
        try:
            for asked in _in_order(pool, ask, keys):
                if asked is None:
                    return
                yield asked
        finally:
            stopped = True  # a caller that ends early does not wait for what it will not take


def _in_order(
    pool: ThreadPoolExecutor, ask: Callable[[SliceKey], AskedSlice | None], keys: Iterable[SliceKey]
) -> Iterator[AskedSlice | None]:
    left = iter(keys)
    ahead: deque[Future[AskedSlice | None]] = deque()
    while True:
        while len(ahead) < _AHEAD and (key := next(left, None)) is not None:
            ahead.append(pool.submit(ask, key))
        if not ahead:
            return
        yield ahead.popleft().result()


def _ask(slices: Slices, endpoint: SliceEndpoint, key: SliceKey) -> AskedSlice:
    at = slices.clock()
    query = endpoint.query(key, endpoint.end(key))
    try:
        answer = slices.rest[endpoint.market.name].raw(endpoint.request, query)
        found = positions(endpoint, answer)
    except ExchangeError as error:
        return AskedSlice(key, at, slices.clock(), error=error)
    return AskedSlice(key, at, slices.clock(), answer.url, answer.status, answer.content, tuple(found))


def positions(endpoint: SliceEndpoint, answer: RawAnswer) -> list[int]:
    """Positions of the records of an answer, as sent.

    Raises:
        MalformedAnswer: the body is another one.
    """
    try:
        return endpoint.records(answer.body)
    except ValueError as error:
        raise MalformedAnswer(answer.url, f"{error}") from error
