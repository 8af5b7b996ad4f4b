"""The pump: generates each subscribed stream a little ahead and sends what is due by the exchange's clock.

Belongs here: which stream goes to which connection and when, pings, ages. Does not belong here: payloads (frames.py),
messages of a client (session.py), sockets (protocol.py, endpoint.py). Runs in the server's event loop alone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Any

from lake_resources.simulator.exchange import Exchange
from lake_resources.simulator.ws.frame_texts import Frame, Source
from lake_resources.simulator.ws.names import Stream, stream_of
from lake_resources.simulator.ws.recording import Replay, recorded_name
from lake_resources.simulator.ws.served_connection import Connection
from lake_resources.simulator.ws.session import WsLimits
from lake_resources.simulator.ws.sources import source_of
from lake_resources.simulator.ws.tape import SymbolTape

TICK_S = 0.01
_BATCH_MS = 5_000
_LONGEST_LAG_MS = 1_100
"""No frame is sent later than this after its market time (`forceOrder` waits for the end of its second)."""
_JUMP_MS = 600_000
"""A clock that moves further than this at once is not caught up with."""
_AHEAD_BUDGET_S = 0.004


class Line:
    """One stream that somebody listens to."""

    def __init__(self, name: str, source: Source, now_ms: int) -> None:
        self.name = name
        self.listeners: dict[Connection, None] = {}
        self._source = source
        self._queue: deque[Frame] = deque()
        self.restart(now_ms)

    def restart(self, now_ms: int) -> None:
        """Begin anew at an instant: only later frames will be sent."""
        self._queue.clear()
        self._horizon = now_ms - _LONGEST_LAG_MS
        self._after = now_ms

    def lead_ms(self, now_ms: int) -> int:
        """How far ahead of an instant frames are generated."""
        return self._horizon - now_ms

    def extend(self, now_ms: int) -> None:
        """Generate the next batch."""
        end = (max(self._horizon, now_ms) // _BATCH_MS + 1) * _BATCH_MS
        found = self._source(self._horizon, end)
        self._queue.extend(frame for frame in found if frame[0] > self._after)
        self._horizon = end

    def due(self, now_ms: int) -> list[Frame]:
        """Frames to send up to an instant."""
        while self._horizon <= now_ms:
            self.extend(now_ms)
        found = []
        while self._queue and self._queue[0][0] <= now_ms:
            found.append(self._queue.popleft())
        return found


class Hub:
    """All connections and the streams they listen to.

    Args:
        exchange: market, clock and faults.
        limits: limits of each connection.
        liquidations_per_min: mean liquidations per symbol and minute, before sampling.

    Attributes:
        sent: frames sent so far, over all connections.
        reached_ms: exchange time up to which every frame has been sent.
    """

    def __init__(self, exchange: Exchange, limits: WsLimits, liquidations_per_min: float = 2.0) -> None:
        self.exchange = exchange
        self.limits = limits
        self.sent = 0
        self.reached_ms = 0
        self._tapes = {symbol: SymbolTape(book, liquidations_per_min) for symbol, book in exchange.books.items()}
        self._spot_tapes = {symbol: SymbolTape(book) for symbol, book in exchange.spot_books.items()}
        self._attempts: deque[float] = deque()
        self._lines: dict[tuple[str, bool], Line] = {}
        self._recorded: dict[str, dict[tuple[Connection, str], None]] = {}
        self._connections: dict[Connection, None] = {}
        self._task: asyncio.Task[None] | None = None

    @property
    def connections(self) -> list[Connection]:
        """Open connections, oldest first."""
        return list(self._connections)

    def tape(self, symbol: str, *, spot: bool = False) -> SymbolTape:
        """What the streams of a symbol are cut from; shows also what they leave out."""
        return (self._spot_tapes if spot else self._tapes)[symbol]

    def admits(self, now_s: float) -> bool:
        """Count an attempt to connect to spot; False where it is one too many."""
        while self._attempts and now_s - self._attempts[0] >= self.limits.spot_attempts_s:
            self._attempts.popleft()
        self._attempts.append(now_s)
        return len(self._attempts) <= self.limits.spot_attempts

    def join(self, connection: Connection) -> None:
        """A connection has opened."""
        self._connections[connection] = None
        if self._task is None or self._task.done():
            self.reached_ms = self.exchange.now_ms()
            self._task = asyncio.get_running_loop().create_task(self._run())
            self._task.add_done_callback(self._ended)

    def leave(self, connection: Connection) -> None:
        """A connection is gone."""
        self._connections.pop(connection, None)
        connection.session.names.clear()
        self.follow(connection)

    def follow(self, connection: Connection) -> None:
        """Bring a connection's streams in line with its subscriptions."""
        wanted = connection.session.names
        self._detach(connection, [name for name in connection.lines if name not in wanted])
        replay = self.exchange.replay
        if replay is not None:
            self._follow_replay(replay, connection)
        for name in wanted:
            if name in connection.lines:
                continue
            route = connection.session.route
            stream = stream_of(name, route, self._spot_tapes if route == "spot" else self._tapes)
            # A recorded symbol shows what was recorded and nothing else: two markets would contradict each other.
            if stream is not None and (replay is None or not replay.owns(stream.symbol, spot=stream.spot)):
                line = self._line(stream)
                line.listeners[connection] = None
                connection.lines[name] = line

    def _follow_replay(self, replay: Replay, connection: Connection) -> None:
        for listeners in self._recorded.values():
            for key in [key for key in listeners if key[0] is connection and key[1] not in connection.session.names]:
                del listeners[key]
        for name in connection.session.names:
            if replay.carries(name, connection.session.route):
                self._recorded.setdefault(recorded_name(name), {})[connection, name] = None
                replay.subscribed(asyncio.get_running_loop().time())

    def _line(self, stream: Stream) -> Line:
        key = (stream.name, stream.spot)
        if key not in self._lines:
            tapes = self._spot_tapes if stream.spot else self._tapes
            self._lines[key] = Line(stream.name, source_of(stream, tapes), self.exchange.now_ms())
        return self._lines[key]

    def _detach(self, connection: Connection, names: Iterable[str]) -> None:
        for name in names:
            connection.lines.pop(name).listeners.pop(connection, None)
        self._lines = {key: line for key, line in self._lines.items() if line.listeners}

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._connections:
            started = loop.time()
            self.tick(started)
            await asyncio.sleep(max(TICK_S - (loop.time() - started), 0.001))

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A pump that broke must not look like a quiet market."""
        if not task.cancelled() and (error := task.exception()):
            task.get_loop().call_exception_handler({"message": "the simulator's pump broke", "exception": error})
            self.cut("", 1011)

    def tick(self, now_s: float) -> None:
        """Send what is due; then work ahead for a few ms.

        Args:
            now_s: time of the event loop.
        """
        now = self.exchange.now_ms()
        moved = now - self.reached_ms
        if not 0 <= moved <= _JUMP_MS:
            for line in self._lines.values():
                line.restart(now)
        for line in self._lines.values():
            if found := line.due(now):
                for connection in line.listeners:
                    connection.offer(line.name, found)
        if self.exchange.replay is not None:
            for looked_up, body in self.exchange.replay.due(now_s):
                for connection, name in self._recorded.get(looked_up, ()):
                    # One time for all keeps them in the order of the recording.
                    connection.offer(name, [(now, body)])
        for connection in list(self._connections):
            self.sent += connection.flush(now_s, now)
        self.reached_ms = now
        self._work_ahead(now, 1_000 + 2 * max(moved, 0), now_s)

    def _work_ahead(self, now_ms: int, lead_ms: int, started_s: float) -> None:
        loop_time = asyncio.get_running_loop().time
        for line in self._lines.values():
            if line.lead_ms(now_ms) < lead_ms:
                line.extend(now_ms)
                if loop_time() - started_s > _AHEAD_BUDGET_S:
                    return

    def cut(self, path: str, code: int) -> None:
        """Drop the connections whose URL path holds a text; code 0 without a closing handshake."""
        for connection in self.connections:
            if path in connection.path:
                connection.cut(code)

    def state(self) -> list[dict[str, Any]]:
        """Connections and their streams, for the control endpoint."""
        return [connection.state() for connection in self.connections]
