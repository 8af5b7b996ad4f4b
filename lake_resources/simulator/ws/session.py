"""One client's conversation: subscriptions, answers, limits. No sockets, no clock of its own.

Belongs here: what a message of the client does and what it is answered. Does not belong here: payloads of streams
(frames_*.py), when they are sent (hub.py), the socket (protocol.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

POLICY_VIOLATION = 1008
TOO_MANY_REQUESTS = "Too many requests"
TOO_MANY_STREAMS = 4


@dataclass(frozen=True)
class WsLimits:
    """Limits of a connection; times in seconds of the machine's clock, whatever the exchange's time does.

    Attributes:
        burst: messages taken back to back; one more closes with 1008. Binance documents 10 per second, 15 were
            measured.
        rate_per_s: how fast the burst is earned again.
        streams: streams of one connection; one more answers error 4 and closes with 1008.
        lifetime_s: age at which the connection is closed.
        ping_s, pong_timeout_s: distance of server pings, and how long one may stay unanswered.
        spot_ping_s, spot_pong_timeout_s: the same on the spot route.
        spot_burst, spot_rate_per_s: `burst` and `rate_per_s` on the spot route, where 5 a second are allowed.
        spot_attempts, spot_attempts_s: connections to spot of one address, and within how long; one more is refused.
    """

    burst: int = 15
    rate_per_s: float = 10.0
    streams: int = 1024
    lifetime_s: float = 86_400.0
    ping_s: float = 180.0
    pong_timeout_s: float = 600.0
    spot_ping_s: float = 20.0
    spot_pong_timeout_s: float = 60.0
    spot_burst: int = 5
    spot_rate_per_s: float = 5.0
    spot_attempts: int = 300
    spot_attempts_s: float = 300.0


@dataclass(frozen=True)
class Answer:
    """What follows a message: a text to send, a close code, or both."""

    body: bytes | None = None
    close: tuple[int, str] | None = None


class Session:
    """State of one connection.

    Args:
        route: one of `names.ROUTES`.
        combined: True wraps frames as `{"stream": …, "data": …}`.
        limits: limits of the connection.
        now_s: machine time of the opening.
    """

    def __init__(self, route: str, *, combined: bool, limits: WsLimits, now_s: float) -> None:
        self.route = route
        self.combined = combined
        self.limits = limits
        self.names: dict[str, None] = {}
        spot = route == "spot"
        self._burst = limits.spot_burst if spot else limits.burst
        self._rate_per_s = limits.spot_rate_per_s if spot else limits.rate_per_s
        self._tokens = float(self._burst)
        self._earned_at = now_s

    def count_message(self, now_s: float) -> bool:
        """Count one message or control frame; False where it is one too many."""
        earned = (now_s - self._earned_at) * self._rate_per_s
        self._tokens = min(self._tokens + earned, float(self._burst))
        self._earned_at = now_s
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def subscribe(self, names: list[str]) -> Answer | None:
        """Add streams by name, known or not; an answer only where there are too many."""
        for name in names:
            self.names[name] = None
        if len(self.names) > self.limits.streams:
            return Answer(close=(POLICY_VIOLATION, "Too many streams"))
        return None

    def receive(self, text: str, now_s: float) -> Answer:
        """Handle one message."""
        if not self.count_message(now_s):
            return Answer(close=(POLICY_VIOLATION, TOO_MANY_REQUESTS))
        try:
            message = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            return _refused(3, f"Invalid JSON: {error}", None)
        if not isinstance(message, dict) or not isinstance(message.get("method"), str):
            return _refused(2, "Invalid request: missing field `method`", None)
        number = message.get("id")
        if number is not None and not isinstance(number, int | str):
            return _refused(2, "Invalid request: request ID must be an unsigned integer or a string", None)
        return self._run(message["method"], message.get("params", []), number)

    def _run(self, method: str, params: Any, number: int | str | None) -> Answer:
        if not isinstance(params, list):
            return _refused(2, "Invalid request: params must be an array", number)
        if method in ("SUBSCRIBE", "UNSUBSCRIBE"):
            if not all(isinstance(name, str) for name in params):
                return _refused(2, "Invalid request: a stream must be a string", number)
            if method == "UNSUBSCRIBE":
                for name in params:
                    self.names.pop(name, None)
            elif self.subscribe(params):
                refused = _refused(TOO_MANY_STREAMS, "Too many streams", number)
                return Answer(refused.body, (POLICY_VIOLATION, "Too many streams"))
            return _result(None, number)
        if method == "LIST_SUBSCRIPTIONS":
            return _result(list(self.names), number)
        if method == "SET_PROPERTY" and params[:1] == ["combined"] and len(params) == 2:
            self.combined = bool(params[1])
            return _result(None, number)
        if method == "GET_PROPERTY" and params == ["combined"]:
            return _result(self.combined, number)
        return _refused(2, f"Invalid request: unknown variant `{method}`", number)


def _result(value: Any, number: int | str | None) -> Answer:
    return Answer(orjson.dumps({"result": value, "id": number}))


def _refused(code: int, text: str, number: int | str | None) -> Answer:
    return Answer(orjson.dumps({"error": {"code": code, "msg": text}, "id": number}))
