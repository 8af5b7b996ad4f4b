"""A static file server on loopback, a process of its own so that its CPU is nobody's.

Belongs here: GET of files below a root, keep-alive, a latency before each answer. Does not belong here: anything else
of HTTP. The same bytes for every client, from memory.

Prints its port once it listens.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

_CACHE: dict[str, bytes | None] = {}


class _Connection(asyncio.Protocol):
    def __init__(self, root: Path, latency_s: float) -> None:
        self._root = root
        self._latency_s = latency_s
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            request, self._received = self._received.split(b"\r\n\r\n", 1)
            path = request.split(b" ", 2)[1].decode().split("?")[0]
            if self._latency_s:
                asyncio.get_running_loop().call_later(self._latency_s, self._answer, path)
            else:
                self._answer(path)

    def _answer(self, path: str) -> None:
        if path not in _CACHE:
            file = self._root / path.lstrip("/")
            _CACHE[path] = file.read_bytes() if file.is_file() else None
        body = _CACHE[path]
        status, body = ("200 OK", body) if body is not None else ("404 Not Found", b"")
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nContent-Type: application/octet-stream\r\n\r\n"
        if len(body) < 1 << 20:
            self._transport.write(head.encode() + body)
        else:
            self._transport.write(head.encode())
            self._transport.write(body)


async def _serve(root: Path, latency_s: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(root, latency_s), "127.0.0.1", 0, backlog=256)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


def main() -> None:
    """Serve a directory until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("--latency-ms", type=float, default=0.0)
    given = parser.parse_args()
    asyncio.run(_serve(given.root, given.latency_ms / 1000))


if __name__ == "__main__":
    main()
