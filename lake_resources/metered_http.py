"""Connections that stop reading when an answer has had its bytes or its time.

Belongs here: counting what the socket brings, from the status line on, and its deadline. Does not belong here: which
limits there are (`input_limits`), what passing one means (`http`). The time-out of a socket bounds one wait alone: a
host that sends one byte a second, or headers or chunk lines without end, would hold a thread for ever.
"""

from __future__ import annotations

import io
import socket
import threading
import time
from http.client import HTTPResponse
from typing import Any

from lake_resources.input_limits import InputLimits

_asked = threading.local()


class Meter:
    """Bytes and seconds of one answer.

    Args:
        most_bytes: bytes on the wire at most, headers included.
        total_s: seconds at most.
        limits: the slowest average speed, and from when on it counts.

    Attributes:
        passed: which limit was passed, in words; empty while none was.
    """

    def __init__(self, most_bytes: int, total_s: float, limits: InputLimits) -> None:
        self.passed = ""
        self._most_bytes = most_bytes
        self._total_s = total_s
        self._limits = limits
        self._began_s = time.monotonic()
        self._bytes = 0

    def run(self) -> None:
        """The next answer that this thread opens is counted by this meter."""
        _asked.meter = self

    def left_s(self) -> float:
        """Seconds until the answer must be complete, or must have brought more.

        Raises:
            TimeoutError: none.
        """
        allowed_s = min(self._total_s, self._limits.slow_s + self._bytes / self._limits.slowest_bytes_per_s)
        left_s = self._began_s + allowed_s - time.monotonic()
        if left_s <= 0:
            self.passed = f"{self._bytes:,} bytes in {allowed_s:.0f} s and no end"
            raise TimeoutError(self.passed)
        return left_s

    def took(self, size_bytes: int) -> None:
        """Count bytes that came.

        Raises:
            OSError: they are too many.
        """
        self._bytes += size_bytes
        if self._bytes > self._most_bytes:
            self.passed = f"more than {self._most_bytes:,} bytes and no end"
            raise OSError(self.passed)


class _MeteredSocket(io.RawIOBase):
    """The reading side of a socket, counted."""

    def __init__(self, sock: socket.socket, meter: Meter) -> None:
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)  # keeps the socket open until the answer is read
        self._meter = meter
        self._wait_s = sock.gettimeout()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left_s = self._meter.left_s()
        self._sock.settimeout(left_s if self._wait_s is None else min(left_s, self._wait_s))
        try:
            found = self._sock.recv_into(buffer)
        except TimeoutError:
            self._meter.left_s()
            raise
        self._meter.took(found)
        return found

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()


class _Opener:
    """What the standard library asks a socket for."""

    def __init__(self, sock: socket.socket, meter: Meter) -> None:
        self._sock = sock
        self._meter = meter

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_MeteredSocket(self._sock, self._meter))


def _response(sock: socket.socket, *given: Any, **named: Any) -> HTTPResponse:
    return HTTPResponse(_Opener(sock, _asked.meter), *given, **named)  # type: ignore[arg-type]


def metered(connection: type[Any]) -> type[Any]:
    """A class of connections whose answers are counted by the meter that runs in their thread."""
    return type(f"Metered{connection.__name__}", (connection,), {"response_class": staticmethod(_response)})
