"""The WebSocket routes: `/public`, `/market`, `/private`, unrouted and `/spot`, each with `/ws` and `/stream`.

Belongs here: opening a connection, reading its messages, sending answers. Does not belong here: what they mean
(session.py), the streams (hub.py).
"""

from __future__ import annotations

from typing import cast

from starlette.responses import Response
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from lake_resources.simulator.faults import SOCKET_REFUSED
from lake_resources.simulator.ws.hub import Hub
from lake_resources.simulator.ws.names import ROUTES
from lake_resources.simulator.ws.protocol import EXTENSION, Wire, text_frame
from lake_resources.simulator.ws.served_connection import Connection
from lake_resources.simulator.ws.session import Answer, Session


def _asked(websocket: WebSocket) -> tuple[str, bool, list[str]]:
    """Route, whether frames are wrapped, and the streams named in the URL. A number after `/ws` means nothing."""
    parts = [part for part in websocket.url.path.split("/") if part]
    route = parts.pop(0) if parts[0] in ROUTES else ""
    combined = parts.pop(0) == "stream"
    listed = websocket.query_params.get("streams", "").split("/") if combined else []
    return route, combined, [name for name in parts + listed if name and not name.isdecimal()]


class Endpoint:
    """Serves the WebSocket routes.

    Args:
        hub: the pump.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def serve(self, websocket: WebSocket) -> None:
        """One connection from its opening to its end."""
        refused = self._hub.exchange.faults.first(SOCKET_REFUSED, websocket.url.path, websocket.url.query)
        if refused is not None:
            await websocket.send_denial_response(Response(refused.body, refused.status))
            return
        wire = cast(Wire, websocket.scope["extensions"][EXTENSION]["wire"])
        route, combined, names = _asked(websocket)
        now_s = wire.loop.time()
        if route == "spot" and not self._hub.admits(now_s):
            await websocket.send_denial_response(Response("Too many connection attempts", 429))
            return
        await websocket.accept()
        session = Session(route, combined=combined, limits=self._hub.limits, now_s=now_s)
        connection = Connection(websocket, wire, session, self._hub.exchange.faults, now_s)
        self._hub.join(connection)
        try:
            if refusal := session.subscribe(names):
                connection.close(*(refusal.close or (1008, "")))
            else:
                self._hub.follow(connection)
            while True:
                message = await websocket.receive_text()
                self._answer(connection, wire, session.receive(message, wire.loop.time()))
        except (WebSocketDisconnect, KeyError):
            # KeyError: a binary message, which Binance does not know either.
            connection.close(1008, "")
        finally:
            self._hub.leave(connection)

    def _answer(self, connection: Connection, wire: Wire, answer: Answer) -> None:
        if answer.body is not None:
            wire.write_frames([text_frame(answer.body)])
        if answer.close is not None:
            connection.close(*answer.close)
        else:
            self._hub.follow(connection)

    def routes(self) -> list[WebSocketRoute]:
        """Starlette routes."""
        return [
            WebSocketRoute(f"{'/' if route else ''}{route}/{form}{rest}", self.serve)
            for route in ROUTES
            for form in ("ws", "stream")
            for rest in ("", "/{names:path}")
        ]
