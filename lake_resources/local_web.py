"""Who may ask the web pages of this machine: a guard in front of an ASGI application.

Belongs here: the rules on host names, origins and the token, and answering who breaks them. Does not belong here: any
page; where a server listens (`lake_assets.local_stack`). docs/threat-model.md tells why each rule is there.
"""

from __future__ import annotations

import base64
import hmac
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from lake_resources.errors import SettingsError

_PLAIN_READS = frozenset({"GET", "HEAD", "OPTIONS"})
_FORM_TYPES = frozenset({"text/plain", "application/x-www-form-urlencoded", "multipart/form-data"})
"""What a page may send to any server without asking it first."""


@dataclass(frozen=True)
class Rules:
    """Whom a guard lets through.

    Attributes:
        hosts: host names, besides those of loopback, that the server is asked by; lower case, without port.
        token: the password that every request must carry; empty means none.
        no_forms: refuse bodies that a page could send without asking the server first.
    """

    hosts: frozenset[str] = frozenset()
    token: str = field(default="", repr=False)
    no_forms: bool = False


@dataclass(frozen=True)
class AskedPage:
    """What the rules look at of one request; `kind` is `http` or `websocket`, header names are lower case."""

    kind: str
    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]

    def values(self, name: str) -> list[str]:
        """All values of a header."""
        return [value for key, value in self.headers if key == name]

    def value(self, name: str) -> str:
        """The first value of a header, or an empty text."""
        return next(iter(self.values(name)), "")


@dataclass(frozen=True)
class Refusal:
    """An answer instead of the page's."""

    status: int
    text: str


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine alone: `localhost`, 127.0.0.0/8, `::1`."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def require_token(host: str, token: str) -> None:
    """Refuse to listen where other machines can ask, unless they must know a password.

    Args:
        host: address to listen on.
        token: the password; empty means none.

    Raises:
        SettingsError: other machines could ask without one.
    """
    if not is_loopback(host) and not token:
        raise SettingsError(
            f"LAKE_WEBSERVER_HOST is {host}: every machine that reaches it could change the lake",
            remedy="Set LAKE_WEB_TOKEN to a long random text, or leave LAKE_WEBSERVER_HOST at 127.0.0.1",
        )


def judge(asked: AskedPage, rules: Rules, *, guarded: bool = True) -> Refusal | None:
    """Why a request is refused, or None.

    Args:
        asked: the request.
        rules: whom to let through.
        guarded: whether its path is one that foreign pages may not use; the host name is looked at in any case.
    """
    named = asked.values("host")
    host = _name(named[0]) if len(named) == 1 else ""
    if not host or not (is_loopback(host) or host in rules.hosts):
        # A page of evil.example whose name was made to mean 127.0.0.1 is of one origin with this server.
        return Refusal(403, f"This server is not asked by the name {host!r}; LAKE_WEB_HOSTS names others.")
    if not guarded:
        return None
    if rules.token and not _knows(asked.value("authorization"), rules.token):
        return Refusal(401, "Give the token of LAKE_WEB_TOKEN as password (any user name) or as bearer.")
    if asked.kind == "http" and asked.method in _PLAIN_READS:
        return _judge_read(asked)
    if _is_foreign(asked, named[0]):
        return Refusal(403, "A page of another origin may not change anything here.")
    if rules.no_forms and asked.value("content-type").split(";")[0].strip().lower() in _FORM_TYPES:
        return Refusal(403, "Send the body as application/json.")
    return None


def _judge_read(asked: AskedPage) -> Refusal | None:
    """A page can make a browser read any address, so a read must never change anything."""
    texts = [value for name, value in parse_qsl(asked.query, keep_blank_values=True) if name == "query"]
    # GraphQL has no other way to write the word, and no query of the web UI is a GET.
    if any("mutation" in text for text in texts):
        return Refusal(403, "A mutation must be sent by POST.")
    return None


def _is_foreign(asked: AskedPage, host: str) -> bool:
    """Whether a browser says that a page of another scheme, host or port asks."""
    if asked.value("sec-fetch-site") in {"cross-site", "same-site"}:
        return True
    return any(_netloc(origin) != host.lower() for origin in asked.values("origin"))


def _netloc(origin: str) -> str:
    """Host and port of an origin, lower case; empty where it has none or is no address."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _name(host: str) -> str:
    """Host name of a Host header, lower case, without port and final dot; empty where it is none."""
    try:
        found = urlsplit(f"//{host}")
        _port = found.port  # one that is no number, or too large, raises
    except ValueError:
        return ""
    if "]" in host and host.partition("]")[2][:1] not in ("", ":"):
        return ""
    return (found.hostname or "").rstrip(".") if found.netloc == host and "@" not in host else ""


def _knows(authorization: str, token: str) -> bool:
    scheme, _, given = authorization.partition(" ")
    if scheme.lower() == "basic":
        try:
            given = base64.b64decode(given, validate=True).decode().partition(":")[2]
        except ValueError:  # no Base64, or none of UTF-8, or not even ASCII
            return False
    elif scheme.lower() != "bearer":
        return False
    return hmac.compare_digest(given.encode(), token.encode())


def _everywhere(_path: str) -> bool:
    return True


class Guard:
    """An ASGI application that answers who breaks the rules, and hands on what keeps them.

    Args:
        app: the application behind it.
        rules: whom to let through.
        guarded: tells of a path whether foreign pages may not use it.
    """

    def __init__(self, app: ASGIApp, rules: Rules, guarded: Callable[[str], bool] = _everywhere) -> None:
        self._app = app
        self._rules = rules
        self._guarded = guarded

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, WebSocket or lifespan."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        asked = AskedPage(
            scope["type"],
            scope.get("method", ""),
            scope["path"],
            scope["query_string"].decode("latin-1"),
            tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]),
        )
        refusal = judge(asked, self._rules, guarded=self._guarded(asked.path))
        if refusal is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})  # before it is accepted: answered as 403
        else:
            headers = {"WWW-Authenticate": 'Basic realm="minute-lake"'} if refusal.status == 401 else None
            await PlainTextResponse(refusal.text + "\n", refusal.status, headers)(scope, receive, send)
