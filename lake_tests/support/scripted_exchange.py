"""A tiny scripted HTTP server on a real loopback socket: each test says which answers come, in order.

Belongs here: bytes on a socket. Does not belong here: a market (that is the simulator), any rule of a client.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

import orjson


@dataclass(frozen=True)
class Reply:
    """One answer; `cut` closes the socket that many bytes before the end of the body."""

    body: object = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: int = 0

    @property
    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else orjson.dumps(self.body)


Route = Callable[[str, dict[str, str]], Reply]


@dataclass
class ScriptedExchange:
    """The running server: its address and what it was asked."""

    base_url: str
    requests: list[tuple[str, dict[str, str]]]


@contextmanager
def scripted(route: Route) -> Iterator[ScriptedExchange]:
    """Serve `route(path, query)` until the block ends."""
    requests: list[tuple[str, dict[str, str]]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = dict(parse_qsl(parts.query))
            requests.append((parts.path, query))
            reply = route(parts.path, query)
            self.send_response(reply.status)
            for name, value in {"Content-Length": str(len(reply.content)), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.content[: len(reply.content) - reply.cut])
            if reply.cut:
                self.close_connection = True

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield ScriptedExchange(f"http://127.0.0.1:{server.server_address[1]}", requests)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def in_order(*replies: Reply) -> Route:
    """Answers in this order, the last one for ever."""
    left = list(replies)

    def route(_path: str, _query: dict[str, str]) -> Reply:
        return left.pop(0) if len(left) > 1 else left[0]

    return route
