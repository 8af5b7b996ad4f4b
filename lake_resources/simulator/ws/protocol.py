"""The server's end of one WebSocket, below ASGI: batches of frames, pings, stalls, cut connections.

Belongs here: what ASGI cannot say. Frames of a tick go out in one write, so that thousands per second stay cheap.
Does not belong here: anything that knows a stream or a message.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame
from websockets.http11 import Request

EXTENSION = "simulator.wire"
BACKLOG_LIMIT = 256 * 2**20
"""Bytes that may wait for a slow reader before it is cut off."""


def text_frame(payload: bytes) -> bytes:
    """One unmasked text frame (RFC 6455, section 5.2)."""
    size = len(payload)
    if size < 126:
        return bytes((0x81, size)) + payload
    if size < 65_536:
        return struct.pack("!BBH", 0x81, 126, size) + payload
    return struct.pack("!BBQ", 0x81, 127, size) + payload


class Wire(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket protocol with the handles that the simulator needs, given to the app in the scope."""

    def __init__(self, *args: Any, **given: Any) -> None:
        super().__init__(*args, **given)
        self.on_control: Callable[[], None] | None = None
        self.pinged_at: float | None = None
        self._stalled = False
        self._held: list[bytes] = []

    def handle_connect(self, event: Request) -> None:
        """Open; the app finds this object in its scope."""
        super().handle_connect(event)
        if hasattr(self, "scope"):
            self.scope["extensions"][EXTENSION] = {"wire": self}

    def data_received(self, data: bytes) -> None:
        """Bytes of the client; during a stall they wait unread, so pings get no answer either."""
        if self._stalled:
            self._held.append(data)
        else:
            super().data_received(data)

    def handle_ping(self) -> None:
        """A ping of the client counts as a message."""
        super().handle_ping()
        if self.on_control:
            self.on_control()

    def handle_pong(self, event: Frame) -> None:
        """A pong, asked for or not, counts as a message and as a sign of life."""
        super().handle_pong(event)
        self.pinged_at = None
        if self.on_control:
            self.on_control()

    def shutdown(self) -> None:
        """End with the server; a connection that is closing already, behind unsent frames, is cut."""
        if self.handshake_complete and not self.open:
            self.transport.abort()
        else:
            super().shutdown()

    @property
    def open(self) -> bool:
        """Whether frames can still be sent."""
        return self.handshake_complete and not (self.close_sent or self.disconnected or self.transport.is_closing())

    def write_frames(self, frames: list[bytes]) -> None:
        """Send encoded frames in one write; a reader that is too far behind is cut off."""
        if not frames or not self.open or self._stalled:
            return
        self.transport.write(b"".join(frames))
        if self.transport.get_write_buffer_size() > BACKLOG_LIMIT:
            self.transport.abort()

    def ping(self, payload: bytes) -> None:
        """Send a ping and note when, unless the last one is still unanswered."""
        if self.open and not self._stalled:
            self.conn.send_ping(payload)
            self.transport.write(b"".join(self.conn.data_to_send()))
            if self.pinged_at is None:
                self.pinged_at = self.loop.time()

    def stall(self) -> None:
        """Go silent in both directions and keep the connection open."""
        self._stalled = True

    def resume(self) -> None:
        """End a stall; what the client sent meanwhile is read now."""
        held, self._held, self._stalled = self._held, [], False
        for data in held:
            super().data_received(data)

    def cut(self) -> None:
        """Drop the connection without a closing handshake."""
        self.transport.abort()
