"""One socket: opening it, reading it into the intake, closing it.

Belongs here: the WebSocket library. Does not belong here: when a connection is bad or old (`stream_session`),
which connections there are (`collector`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from lake_resources.binance.ws.stream_session import StreamSession
from lake_resources.clock import from_epoch_ns
from lake_resources.collector.intake import Intake
from lake_resources.collector.journal import ConnectionRow
from lake_resources.input_limits import DEFAULT_LIMITS

OPEN_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 2.0
_QUEUED_FRAMES = 16
"""Frames that were read and not taken yet; what the kernel holds for the socket waits there."""
MOST_BUFFERED_BYTES = 24 << 20
"""Records that wait for the disk: with more, no socket is read until some are written (real: below 2 MiB)."""
_WAIT_S = 0.02


class Connection:
    """A socket of one route, read by a task of its own from the start.

    Args:
        number: of this connection, unique for ever.
        base_url: e.g. `wss://fstream.binance.com`.
        session: its state machine, new.
        intake: takes the frames.
        now_s: steady clock.
        frame_bytes: a larger frame ends the connection.
    """

    def __init__(
        self,
        number: int,
        base_url: str,
        session: StreamSession,
        intake: Intake,
        now_s: Callable[[], float],
        *,
        frame_bytes: int = DEFAULT_LIMITS.frame_bytes,
    ) -> None:
        self.number = number
        self.session = session
        self.row = ConnectionRow(number, session.route, self._instant(intake))
        self.verified_s: float | None = None
        self._url = session.market.socket_url(base_url, session.route)
        self._intake = intake
        self._now_s = now_s
        self._frame_bytes = frame_bytes
        self._frames = 0
        self._last_ns = 0
        self._task = asyncio.create_task(self._run(), name=f"{session.route} socket {number}")

    @property
    def done(self) -> asyncio.Task[str]:
        """Ends with the reason when the socket ends by itself."""
        return self._task

    def verdict(self, now_s: float) -> str | None:
        """Why the connection is over, or must be given up, or None."""
        if self._task.done():
            return self._task.result()
        if self.session.verified and self.verified_s is None:
            self.verified_s = now_s
        return self.session.verdict(now_s)

    def so_far(self) -> ConnectionRow:
        """What is to be remembered of it while it is open."""
        last = from_epoch_ns(self._last_ns) if self._last_ns else None
        return replace(self.row, last_frame_at=last, frames=self._frames)

    async def close(self, reason: str) -> ConnectionRow:
        """End it; returns what is to be remembered of it."""
        self._task.cancel()
        await asyncio.wait([self._task])
        heard = str(self._last_ns or self._intake.clock_ns())
        self._intake.connection("closed", self.number, route=self.session.route, reason=reason, last_frame_ns=heard)
        return replace(
            self.so_far(),
            closed_at=self._instant(self._intake),
            reason=reason,
            silent_streams=",".join(self.session.silent_streams()),
        )

    async def _run(self) -> str:
        try:
            # Compression costs more than it saves on loopback and next to the exchange. Pings count as messages, and
            # silence is noticed by the frames.
            async with connect(
                self._url,
                compression=None,
                proxy=None,
                max_size=self._frame_bytes,
                max_queue=_QUEUED_FRAMES,
                ping_interval=None,
                open_timeout=OPEN_TIMEOUT_S,
                close_timeout=CLOSE_TIMEOUT_S,
            ) as socket:
                return await self._read(socket)
        except ConnectionClosed as error:
            return f"closed by the exchange: {error}"
        except (OSError, TimeoutError, WebSocketException) as error:
            return f"{type(error).__name__}: {error}"

    async def _read(self, socket: ClientConnection) -> str:
        session, intake, now_s, number = self.session, self._intake, self._now_s, self.number
        intake.connection("opened", number, route=session.route)
        session.begin(now_s())
        for number_of, request in enumerate(session.requests(), start=1):
            await socket.send(request, text=True)
            if number_of % (session.market.messages_per_s - 1) == 0:  # a pong counts as well
                await asyncio.sleep(1.0)
        take, clock_ns = intake.frame, intake.clock_ns
        while True:
            while intake.writer.buffered_bytes > MOST_BUFFERED_BYTES:
                await asyncio.sleep(_WAIT_S)
            payload = await socket.recv(decode=False)
            take(number, session, payload, now_s())
            self._frames += 1
            self._last_ns = clock_ns()

    @staticmethod
    def _instant(intake: Intake) -> datetime:
        return from_epoch_ns(intake.clock_ns())
