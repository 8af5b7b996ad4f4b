"""One pooled HTTP/1.1 client and the retry rule of all network calls.

Belongs here: connections, time-outs, TLS, answers as bytes, what a broken connection becomes, back-off.
Does not belong here: what a status or a body means to an exchange; any name of Binance.
"""

from __future__ import annotations

import random
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import quote, urlencode, urlsplit

import certifi
import tenacity
import urllib3

from lake_resources.errors import ExchangeError, RateLimited, TransportError

Query = Mapping[str, str | int]
Sleep = Callable[[float], None]

BACKOFF_FIRST_S = 0.25
BACKOFF_MAX_S = 30.0
STREAM_BYTES = 1 << 18
_USER_AGENT = "minute-lake"


@dataclass(frozen=True)
class Answer:
    """A complete answer. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class BodyStream:
    """An answer whose body is read piece by piece; a cut body raises TransportError while it is read."""

    status: int
    headers: Mapping[str, str]
    pieces: Iterator[bytes]


class HttpClient:
    """A keep-alive client of one base URL, safe to share between threads.

    Args:
        base_url: scheme, host and port.
        timeout_s: seconds for the connection and for each wait on the socket.
        connections: connections kept open at most.
        gzip: ask for compressed bodies (never for files that are hashed).
        remedy: what the reader of a TransportError can do.
    """

    def __init__(
        self, base_url: str, *, timeout_s: float, connections: int, gzip: bool = False, remedy: str | None = None
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.host = urlsplit(self.base_url).netloc
        self._prefix = urlsplit(self.base_url).path
        self._remedy = remedy
        self._pool = urllib3.connection_from_url(
            self.base_url,
            maxsize=connections,
            headers=urllib3.make_headers(user_agent=_USER_AGENT, accept_encoding="gzip" if gzip else "identity"),
            timeout=urllib3.Timeout(connect=timeout_s, read=timeout_s),
            retries=False,
            **({"ssl_context": _tls()} if self.base_url.startswith("https:") else {}),
        )

    def get(self, path: str, query: Query | None = None) -> Answer:
        """One GET, no retry.

        Raises:
            TransportError: no answer, or a cut one.
        """
        target = _target(path, query)
        try:
            answer = self._pool.request("GET", self._prefix + target)
        except urllib3.exceptions.HTTPError as error:
            raise self._transport_error(target, error) from error
        return Answer(answer.status, _lower(answer.headers), answer.data)

    @contextmanager
    def stream(self, path: str) -> Iterator[BodyStream]:
        """One GET whose body is read in pieces of 256 KiB, no retry.

        Raises:
            TransportError: no answer; the pieces raise it when the body is cut.
        """
        target = _target(path, None)
        try:
            answer = self._pool.request("GET", self._prefix + target, preload_content=False)
        except urllib3.exceptions.HTTPError as error:
            raise self._transport_error(target, error) from error

        def pieces() -> Iterator[bytes]:
            try:
                yield from answer.stream(STREAM_BYTES)
            except urllib3.exceptions.HTTPError as error:
                raise self._transport_error(target, error) from error

        try:
            yield BodyStream(answer.status, _lower(answer.headers), pieces())
        finally:
            if answer.status != 200:
                answer.drain_conn()  # a short error body; the connection can be used again
            if answer.length_remaining == 0:
                answer.release_conn()
            else:  # an unread rest would be taken for the next answer
                answer.close()

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()

    def _transport_error(self, target: str, error: Exception) -> TransportError:
        found = f"no complete answer ({type(error).__name__}: {error})"
        return TransportError(f"GET {self.base_url}{target}", found, remedy=self._remedy)


def retrying(attempts: int, sleep: Sleep) -> tenacity.Retrying:
    """The retry rule: retryable ExchangeErrors only, exponential back-off with jitter, `retry_after_s` honoured.

    A missing archive can be tried again tomorrow, not in a second, so ArchiveErrors are not retried here.

    Args:
        attempts: calls at most, the first included; the last error is raised as it is.
        sleep: injected; takes seconds.
    """
    return tenacity.Retrying(
        stop=tenacity.stop_after_attempt(attempts),
        retry=tenacity.retry_if_exception(lambda error: isinstance(error, ExchangeError) and error.retryable),
        wait=_wait_s,
        sleep=sleep,
        reraise=True,
    )


def _wait_s(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, RateLimited):
        return error.retry_after_s
    backoff: float = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2 ** (state.attempt_number - 1))
    return backoff * random.uniform(1.0, 1.25)


def _target(path: str, query: Query | None) -> str:
    return quote(path) + (f"?{urlencode(query)}" if query else "")


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _tls() -> ssl.SSLContext:
    """The system's certificates and certifi's: a bare container has none of its own."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context
