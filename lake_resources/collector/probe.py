"""One stream subscribed and acknowledged: does the exchange's WebSocket host serve us?

Belongs here: one short connection. Does not belong here: collecting (`collector`), judging the answer for people.
"""

from __future__ import annotations

import time

import orjson
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.sync.client import connect

from lake_resources.binance.market import Market
from lake_resources.binance.ws.subscriptions import names_of, routes
from lake_resources.errors import ExchangeError, GeoBlocked, MalformedAnswer, TransportError

_GEO_BLOCKED = 451


def acknowledged_in(market: Market, base_url: str, symbol: str, *, timeout_s: float = 5.0) -> float:
    """Seconds from connecting to the acknowledgement of one stream of `symbol`.

    Args:
        market: where the socket leads.
        base_url: e.g. `wss://fstream.binance.com`.
        symbol: upper case.
        timeout_s: longest wait for the connection, and then for the acknowledgement.

    Raises:
        TransportError: no connection, or no acknowledgement in time.
        GeoBlocked: the host does not serve this location.
        ExchangeError: the subscription is refused.
    """
    route = next(iter(routes(market.name)))
    url = market.socket_url(base_url, route)
    name = names_of(market, route, [symbol])[-1]  # the last ones flow also where nobody trades
    began = time.monotonic()
    try:
        with connect(url, proxy=None, compression=None, open_timeout=timeout_s, close_timeout=1) as socket:
            socket.send(orjson.dumps({"method": "SUBSCRIBE", "params": [name], "id": 1}).decode())
            deadline = time.monotonic() + timeout_s
            while True:
                reply = orjson.loads(socket.recv(timeout=max(0.0, deadline - time.monotonic())))
                if not isinstance(reply, dict) or reply.get("id") != 1:
                    continue
                if "error" in reply or reply.get("result", 0) is not None:
                    raise ExchangeError(url, f"refused {name}: {orjson.dumps(reply).decode()[:200]}")
                return time.monotonic() - began
    except InvalidStatus as error:
        status = error.response.status_code
        if status == _GEO_BLOCKED:
            raise GeoBlocked(url, "HTTP 451", status=status) from error
        raise TransportError(url, f"HTTP {status}", status=status) from error
    except TimeoutError as error:
        raise TransportError(url, f"no acknowledgement of {name} within {timeout_s:g} s", remedy=_REMEDY) from error
    except orjson.JSONDecodeError as error:
        raise MalformedAnswer(url, f"no JSON: {error}") from error
    except (ConnectionClosed, OSError, WebSocketException) as error:
        raise TransportError(url, f"{type(error).__name__}: {error}", remedy=_REMEDY) from error


_REMEDY = "Check the network and the base URL (`LAKE_WS_URL`)"
