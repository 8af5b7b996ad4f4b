"""A host that speaks raw bytes: each connection gets what the test says, piece by piece, whatever HTTP thinks of it.

Belongs here: sockets. Does not belong here: sound answers (`scripted_exchange`), a market (the simulator).
"""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

Pieces = Callable[[], Iterable[bytes]]


@contextmanager
def hostile(pieces: Pieces) -> Iterator[str]:
    """Serve `pieces()` to whoever connects and sends a request, then close; yields the base URL."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65_536)
            with suppress(OSError):
                for piece in pieces():
                    self.request.sendall(piece)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
