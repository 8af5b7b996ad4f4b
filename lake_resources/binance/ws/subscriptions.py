"""What a socket of a market carries: its streams in the order of subscribing, their names, and what their frames are.

Belongs here: the declared sockets of a market's streams by route, by kind and by event. Does not belong here: the
declarations (`um_streams`, `spot_streams`), when a connection is bad (`stream_session`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

from lake_resources.binance.market import Market
from lake_resources.binance.stream import SocketFrames
from lake_resources.binance.streams import STREAMS


@cache
def routes(market_name: str) -> Mapping[str, tuple[SocketFrames, ...]]:
    """The streams of each route of a market, in the order in which they are subscribed.

    Streams that must deliver soon come last: the first frame of one then proves that those before it are subscribed,
    too, which may be silent for long.
    """
    sockets = [stream.socket for stream in STREAMS[market_name].values() if stream.socket is not None]
    return {
        route: tuple(sorted((each for each in sockets if each.route == route), key=lambda each: each.proves_route))
        for route in dict.fromkeys(each.route for each in sockets)
    }


def subscribed(market: Market, route: str, symbols: int) -> tuple[SocketFrames, ...]:
    """What a socket of a route carries of so many symbols; where it were too much, what can be spared is left out."""
    every = routes(market.name)[route]
    if len(every) * symbols <= market.streams_per_socket:
        return every
    return tuple(each for each in every if not each.spared)


@cache
def sockets_by_kind(market_name: str) -> Mapping[int, SocketFrames]:
    """The sockets of a market by the kind of their records."""
    return {each.kind: each for sockets in routes(market_name).values() for each in sockets}


@cache
def kinds_by_event(market_name: str) -> Mapping[str, int]:
    """Kind of a record by the field `e` of the frame."""
    return {
        each.event: each.kind for sockets in routes(market_name).values() for each in sockets if each.event is not None
    }


@cache
def eventless_kind(market_name: str) -> int:
    """Kind of the record of a frame without a field `e`, 0 where the market sends none such."""
    found = [each.kind for sockets in routes(market_name).values() for each in sockets if each.event is None]
    return found[0] if found else 0


@cache
def witness_of_trades(market_name: str) -> SocketFrames:
    """The socket whose frames carry the ids that prove a market's trades whole."""
    return next(each for sockets in routes(market_name).values() for each in sockets if each.row_id is not None)


def names_of(market: Market, route: str, symbols: Sequence[str]) -> list[str]:
    """Names of all streams of a route, lower case: upper case is acknowledged and never delivers."""
    return [f"{symbol.lower()}@{each.name}" for each in subscribed(market, route, len(symbols)) for symbol in symbols]
