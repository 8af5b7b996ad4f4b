"""One open connection: its session, its socket, the frames that wait for the next write.

Belongs here: order and encoding of what goes out, pings and age, the faults of this connection. Does not belong here:
who gets which stream (hub.py), what a fault does to frames (disturbance.py).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from starlette.websockets import WebSocket

from lake_resources.simulator.faults import FaultBook
from lake_resources.simulator.ws.disturbance import Disturbance
from lake_resources.simulator.ws.frame_texts import Frame
from lake_resources.simulator.ws.protocol import Wire, text_frame
from lake_resources.simulator.ws.session import POLICY_VIOLATION, Session

if TYPE_CHECKING:
    from lake_resources.simulator.ws.hub import Line

GOING_AWAY = 1001


class Connection:
    """A session on a socket.

    Args:
        websocket: the accepted socket.
        wire: its protocol.
        session: what was subscribed.
        faults: scripted faults.
        opened_s: loop time of the opening.
    """

    def __init__(self, websocket: WebSocket, wire: Wire, session: Session, faults: FaultBook, opened_s: float) -> None:
        self.session = session
        self.lines: dict[str, Line] = {}
        self.sent = 0
        self.path = websocket.url.path
        self._websocket = websocket
        self._wire = wire
        self._opened_s = opened_s
        self._waiting: list[tuple[int, str, bytes]] = []
        self._disturbance = Disturbance(faults, self.path, websocket.url.query)
        spot = session.route == "spot"
        limits = session.limits
        self._ping_s = limits.spot_ping_s if spot else limits.ping_s
        self._pong_timeout_s = limits.spot_pong_timeout_s if spot else limits.pong_timeout_s
        self._next_ping_s = opened_s + self._ping_s
        self._closing: asyncio.Task[None] | None = None
        wire.on_control = self._control_frame

    def _control_frame(self) -> None:
        if not self.session.count_message(self._wire.loop.time()):
            self.close(POLICY_VIOLATION, "Too many requests")

    def offer(self, name: str, frames: list[Frame]) -> None:
        """Add frames of one stream to the next write."""
        self._waiting += [(event, name, body) for event, body in frames]

    def flush(self, now_s: float, now_ms: int) -> int:
        """Send what waits, in the order of event time; returns how many frames went out."""
        self._keep(now_s, now_ms)
        waiting, self._waiting = self._waiting, []
        waiting.sort(key=lambda each: each[0])
        disturbance = self._disturbance
        if disturbance.watching:
            waiting = disturbance.apply(now_s - self._opened_s, waiting)
            self._wire.stall() if disturbance.stalled else self._wire.resume()
            if disturbance.cut_code is not None:
                self.cut(disturbance.cut_code)
        if not waiting or disturbance.stalled:
            return 0
        if self.session.combined:
            frames = [text_frame(b'{"stream":"%s","data":%s}' % (name.encode(), body)) for _, name, body in waiting]
        else:
            frames = [text_frame(body) for _, _, body in waiting]
        self._wire.write_frames(frames)
        self.sent += len(frames)
        return len(frames)

    def _keep(self, now_s: float, now_ms: int) -> None:
        if now_s - self._opened_s > self.session.limits.lifetime_s:
            self.close(GOING_AWAY, "")
        if now_s >= self._next_ping_s:
            self._next_ping_s = now_s + self._ping_s
            self._wire.ping(str(now_ms).encode())
        pinged = self._wire.pinged_at
        if pinged is not None and now_s - pinged > self._pong_timeout_s:
            self.close(POLICY_VIOLATION, "Pong timeout")

    def cut(self, code: int) -> None:
        """Drop the connection: 0 without a closing handshake, else with this close code."""
        if code:
            self.close(code, "")
        else:
            self._wire.cut()

    def close(self, code: int, reason: str) -> None:
        """Close with a code, once."""
        if self._closing is None and self._wire.open:
            self._closing = self._wire.loop.create_task(self._websocket.close(code, reason))

    def state(self) -> dict[str, Any]:
        """For the control endpoint."""
        return {
            "path": self.path,
            "subscriptions": list(self.session.names),
            "delivering": list(self.lines),
            "sent": self.sent,
            "owes_pong": self._wire.pinged_at is not None,
        }
