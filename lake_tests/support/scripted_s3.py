"""An S3 service on loopback that answers as a test tells it: with an error, not at all, or without keeping conditions.

Belongs here: objects in memory, and what goes wrong. Does not belong here: an S3 server that keeps its promises
(`s3_server`).
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_NOTHING_LISTED = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"


class ScriptedS3:
    """Objects by path, and the next answers.

    Attributes:
        refusing: status and code that every request gets; None where they are served.
        losing_answers: how many puts are done without an answer: the connection is cut.
        ignores_conditions: `If-None-Match` and `If-Match` are not looked at.
    """

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.refusing: tuple[int, str] | None = None
        self.losing_answers = 0
        self.ignores_conditions = False
        self.url = ""

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables that lead to it."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "someone",
            "AWS_SECRET_ACCESS_KEY": "very-secret",
            "AWS_SESSION_TOKEN": "secret-token",
            "AWS_REGION": "us-east-1",
        }

    def met(self, path: str, if_none_match: str | None, if_match: str | None) -> bool:
        """Whether a put may be done."""
        if self.ignores_conditions:
            return True
        there = self.objects.get(path)
        if if_none_match is not None:
            return there is None
        return if_match is None or (there is not None and tag_of(there) == if_match)


def tag_of(data: bytes) -> str:
    """The tag of an object."""
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    service: ScriptedS3


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self.handle_any()

    do_HEAD = do_PUT = do_DELETE = do_GET  # noqa: N815 - names of the base class

    def handle_any(self) -> None:
        service, path = self.server.service, self.path.partition("?")[0]
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if service.refusing is not None:
            status, code = service.refusing
            told = f"<Error><Code>{code}</Code><Message>very-secret secret-token</Message></Error>"
            self.answer(status, told.encode())
        elif self.command == "PUT":
            self.put(service, path, body)
        elif self.command == "DELETE":
            service.objects.pop(path, None)
            self.answer(204)
        elif path == "/lake" and self.command == "GET":
            self.answer(200, _NOTHING_LISTED)
        elif (found := service.objects.get(path)) is None:
            self.answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        else:
            self.answer(200, found, tag_of(found))

    def put(self, service: ScriptedS3, path: str, body: bytes) -> None:
        if not service.met(path, self.headers.get("If-None-Match"), self.headers.get("If-Match")):
            self.answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
            return
        service.objects[path] = body
        if service.losing_answers:
            service.losing_answers -= 1
            self.close_connection = True
        else:
            self.answer(200, b"", tag_of(body))

    def answer(self, status: int, body: bytes = b"", tag: str = "") -> None:
        self.send_response(status)
        if tag:
            self.send_header("ETag", tag)
        self.send_header("Last-Modified", "Sun, 29 Nov 2026 12:00:00 GMT")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def scripted_s3() -> Iterator[ScriptedS3]:
    """A running service with any bucket."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.service = service = ScriptedS3()
        service.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield service
        finally:
            server.shutdown()
            thread.join()
