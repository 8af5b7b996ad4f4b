"""An S3 server on loopback, in memory, in a process of its own.

Belongs here: starting and ending it, making a bucket. Does not belong here: any client of ours.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from uuid import uuid4

import httpx
import pytest

from lake_tests.support.stores import BUCKET_URL
from lake_tests.support.waiting import wait_until

BUCKET = "lake"


def in_bucket(service: dict[str, str], root: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let the files of the lake at a root lie in a prefix of its own; returns its URL."""
    for name, value in service.items():
        monkeypatch.setenv(name, value)
    url = f"s3://{BUCKET}/{uuid4().hex}"
    (root / BUCKET_URL).write_text(url)
    return url


@contextmanager
def s3_server() -> Iterator[dict[str, str]]:
    """A running server with an empty bucket `lake`.

    Yields:
        The environment variables that lead to it.
    """
    command = [sys.executable, "-u", "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    with TemporaryFile("w+") as said, subprocess.Popen(command, stdout=said, stderr=said) as process:
        try:
            found: list[str] = []

            def told() -> bool:
                said.seek(0)
                found[:] = re.findall(r"Running on (http://\S+)", said.read())
                return bool(found) or process.poll() is not None

            wait_until(told, "the S3 server")
            assert found, "the S3 server did not start"
            httpx.put(f"{found[0]}/{BUCKET}", trust_env=False, timeout=60).raise_for_status()
            yield {
                "AWS_ENDPOINT_URL": found[0],
                "AWS_ALLOW_HTTP": "true",
                "AWS_ACCESS_KEY_ID": "someone",
                "AWS_SECRET_ACCESS_KEY": "anything",
                "AWS_REGION": "us-east-1",
            }
        finally:
            process.kill()
