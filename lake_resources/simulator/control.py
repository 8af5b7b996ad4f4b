"""The control endpoints `/sim/faults`, `/sim/clock`, `/sim/sockets` and `/sim/requests`.

Belongs here: scripting a running simulator over HTTP. Does not belong here: anything the real exchange has.
"""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from lake_resources.simulator.exchange import Exchange
from lake_resources.simulator.faults import Fault
from lake_resources.simulator.ws.hub import Hub

Seen = tuple[str, str, str]
"""A request as (method, path, raw query)."""


def _json(content: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")


class Control:
    """Answers of the control endpoints.

    Args:
        exchange: the exchange that is controlled.
        seen: the request log.
        hub: the open WebSockets.
    """

    def __init__(self, exchange: Exchange, seen: deque[Seen], hub: Hub) -> None:
        self._exchange = exchange
        self._seen = seen
        self._hub = hub

    async def list_faults(self, request: Request) -> Response:  # noqa: ARG002
        """GET `/sim/faults`: the faults with their counts."""
        return _json(self._exchange.faults.state())

    async def add_fault(self, request: Request) -> Response:
        """POST `/sim/faults`: arm one, fields as `Fault`; answers its id."""
        try:
            number = self._exchange.faults.add(Fault.from_json(orjson.loads(await request.body())))
        except (ValueError, TypeError) as error:
            return _json({"error": str(error)}, 400)
        return _json({"id": number}, 201)

    async def remove_faults(self, request: Request) -> Response:
        """DELETE `/sim/faults`: disarm all, or the one of `?id=`."""
        chosen = request.query_params.get("id", "")
        if chosen.isdecimal():
            if not self._exchange.faults.remove(int(chosen)):
                return _json({"error": f"no fault {chosen}"}, 404)
        else:
            self._exchange.faults.clear()
        return _json(self._exchange.faults.state())

    async def show_clock(self, request: Request) -> Response:  # noqa: ARG002
        """GET `/sim/clock`."""
        return _json(self._exchange.clock.state())

    async def set_clock(self, request: Request) -> Response:
        """POST `/sim/clock`: `now` (ISO 8601) freezes, `offset_s` runs shifted, `advance_s` moves on."""
        clock = self._exchange.clock
        try:
            wish = orjson.loads(await request.body())
            if "now" in wish:
                clock.freeze(datetime.fromisoformat(wish["now"]))
            if "offset_s" in wish:
                clock.offset(timedelta(seconds=wish["offset_s"]))
            if "advance_s" in wish:
                clock.advance(timedelta(seconds=wish["advance_s"]))
        except (ValueError, TypeError) as error:
            return _json({"error": str(error)}, 400)
        return _json(clock.state())

    async def reset_clock(self, request: Request) -> Response:  # noqa: ARG002
        """DELETE `/sim/clock`: back to the base clock."""
        self._exchange.clock.offset(timedelta(0))
        return _json(self._exchange.clock.state())

    async def list_requests(self, request: Request) -> Response:  # noqa: ARG002
        """GET `/sim/requests`: the log, oldest first."""
        return _json(list(self._seen))

    async def forget_requests(self, request: Request) -> Response:  # noqa: ARG002
        """DELETE `/sim/requests`."""
        self._seen.clear()
        return _json([])

    async def list_sockets(self, request: Request) -> Response:  # noqa: ARG002
        """GET `/sim/sockets`: open WebSockets, what they subscribed and what is delivered."""
        return _json(self._hub.state())

    async def cut_sockets(self, request: Request) -> Response:
        """DELETE `/sim/sockets`: drop all now, or those whose path holds `?path=`; `?code=` closes them with a code."""
        code = request.query_params.get("code", "")
        self._hub.cut(request.query_params.get("path", ""), int(code) if code.isdecimal() else 0)
        return _json(self._hub.state())

    def routes(self) -> list[Route]:
        """Starlette routes."""
        return [
            Route("/sim/faults", self.list_faults, methods=["GET"]),
            Route("/sim/faults", self.add_fault, methods=["POST"]),
            Route("/sim/faults", self.remove_faults, methods=["DELETE"]),
            Route("/sim/clock", self.show_clock, methods=["GET"]),
            Route("/sim/clock", self.set_clock, methods=["POST"]),
            Route("/sim/clock", self.reset_clock, methods=["DELETE"]),
            Route("/sim/sockets", self.list_sockets, methods=["GET"]),
            Route("/sim/sockets", self.cut_sockets, methods=["DELETE"]),
            Route("/sim/requests", self.list_requests, methods=["GET"]),
            Route("/sim/requests", self.forget_requests, methods=["DELETE"]),
        ]
