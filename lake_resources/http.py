"""One pooled HTTP/1.1 client and the retry rule of all calls of the exchange.

Belongs here: connections, time-outs, TLS, answers as bytes, what a broken connection becomes, which failures repeat.
Does not belong here: what a status or a body means to an exchange; any name of Binance.
"""

from __future__ import annotations

import math
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from urllib.parse import quote, urlencode, urlsplit

import certifi
import tenacity
import urllib3

from lake_resources.backoff import Backoff
from lake_resources.errors import ExchangeError, OverLimit, RateLimited, TransportError
from lake_resources.input_limits import DEFAULT_LIMITS, HEADER_BYTES, InputLimits
from lake_resources.metered_http import Meter, metered

Query = Mapping[str, str | int]
Sleep = Callable[[float], None]

_BACKOFF = Backoff(0.25, 30.0, jitter=0.25)
STREAM_BYTES = 1 << 18
LARGE_BYTES = 1 << 20
"""A larger body is unusual: one thread of the process at a time reads it and makes sense of it."""
ONE_LARGE_BODY = threading.RLock()
"""Held for such a body, so that memory does not grow with the number of hosts that send one."""
_DRAINED_BYTES = 1 << 16
_SHOWN_CHARACTERS = 300
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
    """A keep-alive client of one base URL, safe to share between threads. Redirects are not followed.

    Args:
        base_url: scheme, host and port.
        timeout_s: seconds for the connection and for each wait on the socket.
        connections: connections kept open at most.
        gzip: ask for compressed bodies (never for files that are hashed).
        remedy: what the reader of a TransportError can do.
        limits: how many bytes and seconds an answer and a download may take.
    """

    def __init__(
        self,
        base_url: str,
        *,
        timeout_s: float,
        connections: int,
        gzip: bool = False,
        remedy: str | None = None,
        limits: InputLimits = DEFAULT_LIMITS,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.host = urlsplit(self.base_url).netloc
        self._prefix = urlsplit(self.base_url).path
        self._remedy = remedy
        self._limits = limits
        self._pool = urllib3.connection_from_url(
            self.base_url,
            maxsize=connections,
            headers=urllib3.make_headers(user_agent=_USER_AGENT, accept_encoding="gzip" if gzip else "identity"),
            timeout=urllib3.Timeout(connect=timeout_s, read=timeout_s),
            retries=False,
            **({"ssl_context": _tls()} if self.base_url.startswith("https:") else {}),
        )
        self._pool.ConnectionCls = metered(self._pool.ConnectionCls)

    def get(
        self, path: str, query: Query | None = None, *, most_bytes: int | None = None, held: ExitStack | None = None
    ) -> Answer:
        """One GET, no retry.

        Args:
            path: below the base URL.
            query: its parameters.
            most_bytes: bytes of the body at most; `limits.answer_bytes` by default.
            held: keeps `ONE_LARGE_BODY` where the body is large, until the caller is done with it; by default it is
                let go when the body was read.

        Raises:
            TransportError: no answer, or a cut one.
            OverLimit: it is larger, or takes longer, than the limits allow.
        """
        target, limits = _target(path, query), self._limits
        most = most_bytes or limits.answer_bytes
        meter = Meter(HEADER_BYTES + most, limits.answer_s, limits)
        with ExitStack() as own, self._opened(target, meter) as answer:
            with self._errors(target, meter):
                body = _body(answer, most + 1, held or own)
            if len(body) > most:
                raise self._over(target, f"a body of more than {most:,} bytes")
            return Answer(answer.status, _lower(answer.headers), body)

    @contextmanager
    def stream(self, path: str, *, most_bytes: int | None = None) -> Iterator[BodyStream]:
        """One GET whose body is read in pieces of 256 KiB, no retry.

        Args:
            path: below the base URL.
            most_bytes: bytes of the body at most; `limits.download_bytes` by default.

        Raises:
            TransportError: no answer; the pieces raise it when the body is cut.
            OverLimit: the pieces raise it when there are more bytes, or it takes longer, than the limits allow.
        """
        target, limits = _target(path, None), self._limits
        most = most_bytes or limits.download_bytes
        meter = Meter(HEADER_BYTES + most, limits.download_s, limits)

        def pieces() -> Iterator[bytes]:
            size_bytes = 0
            with self._errors(target, meter):
                packed = "content-encoding" in answer.headers
                while piece := answer.read(STREAM_BYTES, decode_content=packed):
                    size_bytes += len(piece)
                    if size_bytes > most:  # a host may compress what it sends
                        raise self._over(target, f"a body of more than {most:,} bytes")
                    yield piece

        with self._opened(target, meter) as answer:
            yield BodyStream(answer.status, _lower(answer.headers), pieces())
            if answer.status != 200:
                with suppress(urllib3.exceptions.HTTPError, OSError):
                    answer.read(_DRAINED_BYTES)  # a short error body; the connection can be used again

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()

    @contextmanager
    def _opened(self, target: str, meter: Meter) -> Iterator[urllib3.BaseHTTPResponse]:
        """An answer whose body is not read yet; one that is left unread closes its connection."""
        meter.run()
        with self._errors(target, meter):
            answer = self._pool.request("GET", self._prefix + target, preload_content=False)
        try:
            yield answer
        finally:
            if answer.length_remaining == 0:
                answer.release_conn()
            else:  # an unread rest would be taken for the next answer
                answer.close()

    @contextmanager
    def _errors(self, target: str, meter: Meter) -> Iterator[None]:
        """Whatever the library raises while bytes of the other side are read, as an error of the tree."""
        try:
            yield
        except (urllib3.exceptions.HTTPError, HTTPException, OSError, ValueError) as error:
            if meter.passed:
                raise self._over(target, meter.passed) from error
            found = f"no complete answer ({type(error).__name__}: {str(error)[:_SHOWN_CHARACTERS]})"
            raise TransportError(f"GET {self.base_url}{target}", found, remedy=self._remedy) from error

    def _over(self, target: str, found: str) -> OverLimit:
        return OverLimit(f"GET {self.base_url}{target}", found)


def retry_after_s(headers: Mapping[str, str], now: datetime, default_s: float, longest_s: float) -> float:
    """Seconds of an answer's `Retry-After`, which may be a number or an HTTP date.

    Args:
        headers: of the answer.
        now: the current instant, for a date.
        default_s: where there is none, or one that makes no sense.
        longest_s: at most; what a stranger says must not stop us for years.
    """
    text = headers.get("retry-after", "").strip()
    try:
        wait_s = float(text)
    except ValueError:
        until = http_date(text)
        wait_s = (until - now).total_seconds() if until else math.nan
    return min(max(wait_s, 0.0), longest_s) if not math.isnan(wait_s) else default_s


def http_date(text: str) -> datetime | None:
    """A date of a header in UTC; None for anything else."""
    try:
        return parsedate_to_datetime(text).astimezone(UTC)
    except (ValueError, TypeError, OverflowError, LookupError):
        return None


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
    return _BACKOFF.after_s(state.attempt_number)


def _body(answer: urllib3.BaseHTTPResponse, most_bytes: int, held: ExitStack) -> bytes:
    """The body as far as `most_bytes`, what is beyond `LARGE_BYTES` of it once no other large one is at hand."""
    body = _read(answer, min(most_bytes, LARGE_BYTES))
    if len(body) < LARGE_BYTES or most_bytes <= LARGE_BYTES:
        return body
    held.enter_context(ONE_LARGE_BODY)
    return body + _read(answer, most_bytes - LARGE_BYTES)


def _read(answer: urllib3.BaseHTTPResponse, most_bytes: int) -> bytes:
    """The next bytes of a body; what is not packed passes by the library's buffers."""
    if "content-encoding" in answer.headers:
        return answer.read(most_bytes)
    body = answer.read(most_bytes, decode_content=False)
    while answer.length_remaining and len(body) < most_bytes:  # a body that was cut raises at the next read
        body += answer.read(most_bytes - len(body), decode_content=False)
    return body


def _target(path: str, query: Query | None) -> str:
    return quote(path) + (f"?{urlencode(query)}" if query else "")


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _tls() -> ssl.SSLContext:
    """The system's certificates and certifi's: a bare container has none of its own."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context
