"""The simulator as a server: a real socket on 127.0.0.1, in a thread or in the foreground.

Belongs here: wiring of routes, the request log, answers that go wrong as a whole, start and stop.
Does not belong here: what the exchange answers.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from dataclasses import replace
from datetime import time
from threading import Event, Thread
from types import TracebackType
from typing import Any

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lake_resources.local_web import Guard, Rules
from lake_resources.simulator import hostile
from lake_resources.simulator.control import Control, Seen
from lake_resources.simulator.exchange import Exchange, Setup
from lake_resources.simulator.faults import HOSTILE_KINDS, RESPONSE_KINDS, Fault, FaultBook
from lake_resources.simulator.rest import rest_routes as rest
from lake_resources.simulator.rest.limits import LimitAnswer
from lake_resources.simulator.sim_clock import SimClock
from lake_resources.simulator.vision.vision_routes import VisionSite
from lake_resources.simulator.ws.endpoint import Endpoint
from lake_resources.simulator.ws.hub import Hub
from lake_resources.simulator.ws.protocol import Wire
from lake_resources.simulator.yahoo.chart import YahooChart

LOG_SIZE = 50_000


class _Faulty:
    """Notes each request and lets the scripted answer happen instead of the real one."""

    def __init__(self, app: ASGIApp, exchange: Exchange, seen: deque[Seen]) -> None:
        self._app = app
        self._exchange = exchange
        self._seen = seen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or scope["path"].startswith("/sim/"):
            await self._app(scope, receive, send)
            return
        query = scope["query_string"].decode()
        if scope["type"] == "websocket":
            self._seen.append(("WS", scope["path"], query))
            await self._app(scope, receive, send)
            return
        self._seen.append((scope["method"], scope["path"], query))
        fault = self._exchange.faults.first(RESPONSE_KINDS, scope["path"], query)
        if fault is None:
            await self._app(scope, receive, send)
        elif fault.kind == "slow":
            await asyncio.sleep(fault.delay_s)
            await self._app(scope, receive, send)
        elif fault.kind == "cut":
            await self._cut(fault, scope, receive, send)
        else:
            await self._scripted(fault)(scope, receive, send)

    async def _cut(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        messages: list[Message] = []

        async def keep(message: Message) -> None:
            messages.append(message)

        await self._app(scope, receive, keep)
        body = b"".join(message.get("body", b"") for message in messages[1:])
        await send(messages[0])
        # The full Content-Length went out; returning without the rest makes the server drop the connection.
        await send({"type": "http.response.body", "body": body[: int(len(body) * fault.fraction)], "more_body": True})

    def _scripted(self, fault: Fault) -> Response:
        if fault.kind == "418":
            until = self._exchange.limits.ban(fault.retry_after_s)
            return rest.refusal(LimitAnswer(418, 0, max(round(fault.retry_after_s), 1), until), {})
        if fault.kind == "429":
            answer = rest.refusal(LimitAnswer(429, 0, round(fault.retry_after_s)), {})
            if fault.retry_after_s == 0:
                del answer.headers["Retry-After"]
            return answer
        if fault.kind == "451":
            text = "Service unavailable from a restricted location according to 'b. Eligibility' in the terms of use."
            return Response(orjson.dumps({"code": 0, "msg": text}), 451, media_type="application/json")
        if fault.kind == "403":
            return Response("<html><body><h1>403 Forbidden</h1></body></html>", 403, media_type="text/html")
        if fault.kind == "garbage":
            return Response(f"<html><body>{fault.body}</body></html>", 200, media_type="text/html")
        if fault.kind in HOSTILE_KINDS:
            return hostile.response(fault)
        code = fault.code if fault.kind == "refused" else -1000
        return Response(orjson.dumps({"code": code, "msg": fault.body}), fault.status, media_type="application/json")


def _not_found(request: Request, error: Exception) -> Response:  # noqa: ARG001
    return Response(
        orjson.dumps({"code": -5000, "msg": f"Path {request.url.path}, Method {request.method} is invalid"}),
        404,
        media_type="application/json",
    )


def build_app(exchange: Exchange, seen: deque[Seen], hub: Hub, *, publish_time: time = time(8, 35)) -> ASGIApp:
    """The ASGI application: the exchange, Yahoo's charts and the control endpoints, behind the scripted faults."""
    routes = [
        *rest.routes(exchange),
        *VisionSite(exchange, publish_time=publish_time).routes(),
        *Control(exchange, seen, hub).routes(),
        *Endpoint(hub).routes(),
        *YahooChart(exchange).routes(),
    ]
    app = Starlette(routes=routes, exception_handlers={404: _not_found})
    # Its streams and answers are anybody's to read, as the real exchange's are; its controls are this machine's.
    return Guard(_Faulty(app, exchange, seen), Rules(), guarded=lambda path: path.startswith("/sim/"))


class SimulatorServer:
    """The simulated exchange on 127.0.0.1, served by a thread while the context is open.

    Args:
        setup: what is simulated.
        port: 0 picks a free one.
        fields: fields of the setup by name, in place of those in `setup`.
    """

    def __init__(self, setup: Setup | None = None, *, port: int = 0, **fields: Any) -> None:
        setup = replace(setup or Setup(), **fields)
        self.exchange = Exchange(setup)
        self.hub = Hub(self.exchange, setup.ws_limits, setup.liquidations_per_min)
        self._seen: deque[Seen] = deque(maxlen=LOG_SIZE)
        self._app = build_app(self.exchange, self._seen, self.hub, publish_time=setup.publish_time)
        self._port = port
        self._socket: socket.socket | None = None
        self._thread: Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def base_url(self) -> str:
        """`http://127.0.0.1:PORT`, of REST and of Vision."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def ws_url(self) -> str:
        """`ws://127.0.0.1:PORT`, before `/public`, `/market`, `/private`, `/spot`, `/ws` and `/stream`."""
        return f"ws://127.0.0.1:{self._port}"

    @property
    def faults(self) -> FaultBook:
        """The scripted faults: `add`, `remove`, `clear`, `hits`."""
        return self.exchange.faults

    @property
    def clock(self) -> SimClock:
        """The exchange's clock: `freeze`, `offset`, `advance`, `now`."""
        return self.exchange.clock

    @property
    def requests(self) -> list[Seen]:
        """The last requests as (method, path, raw query), oldest first; `WS` opens a socket; `/sim/…` is left out."""
        return list(self._seen)

    def clear_requests(self) -> None:
        """Forget the request log."""
        self._seen.clear()

    def cut_sockets(self, path: str = "", code: int = 0) -> None:
        """Drop the open WebSockets whose URL path holds a text; code 0 without a closing handshake."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self.hub.cut, path, code)

    def bind(self) -> socket.socket:
        """Open the listening socket; from then on `base_url` holds the real port."""
        if self._socket is None:
            self._socket = _listen(self._port)
            self._port = self._socket.getsockname()[1]
        return self._socket

    def start(self) -> None:
        """Serve from a thread; returns once requests are answered."""
        listener = self.bind()
        self._server = uvicorn.Server(_config(self._app))
        ready = Event()
        self._thread = Thread(target=self._serve, args=(listener, ready), name="simulator", daemon=True)
        self._thread.start()
        if not ready.wait(30):
            raise RuntimeError("the simulator did not start within 30 s")

    def _serve(self, listener: socket.socket, ready: Event) -> None:
        async def run() -> None:
            self._loop = asyncio.get_running_loop()
            serving = asyncio.create_task(self._server.serve(sockets=[listener]))
            while not self._server.started and not serving.done():
                await asyncio.sleep(0.005)
            ready.set()
            await serving

        asyncio.run(run())

    def stop(self) -> None:
        """Stop serving and close the socket."""
        if self._thread is not None:
            self._server.should_exit = True
            self._thread.join(30)
            self._thread, self._loop = None, None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def serve_forever(self) -> None:
        """Serve in the foreground until interrupted."""
        with self.bind() as listener:
            uvicorn.Server(_config(self._app)).run(sockets=[listener])

    def __enter__(self) -> SimulatorServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _listen(port: int) -> socket.socket:
    # asyncio turns off Nagle's delay (40 ms per answer) only where the protocol is named, so it is named.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(512)
    return listener


def _config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app, log_level="critical", access_log=False, lifespan="off", loop="asyncio", timeout_graceful_shutdown=2,
        ws=Wire, ws_ping_interval=None, ws_per_message_deflate=False,
    )  # fmt: skip
