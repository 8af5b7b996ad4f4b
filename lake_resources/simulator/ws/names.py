"""Stream names and the routes that deliver them.

Belongs here: what a name means, and which route carries it. A name that means nothing, is not in lower case or is
asked for on the wrong route is acknowledged and stays silent, as at Binance. Does not belong here: payloads.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from lake_resources.simulator.market.bars import INTERVAL_MINUTES

ROUTES = ("public", "market", "private", "", "spot")
"""First part of the path; the empty one is the unrouted address of futures."""

_DEPTH = re.compile(r"depth(5|10|20)?(?:@(100ms|250ms|500ms|1000ms))?")
_MARK = re.compile(r"markPrice(@1s)?")
_KLINE = re.compile(r"kline_(\w+)")
_ALL = {
    "!bookTicker": ("allBookTicker", 5000),
    "!markPrice@arr": ("allMarkPrice", 3000),
    "!markPrice@arr@1s": ("allMarkPrice", 1000),
    "!forceOrder@arr": ("allForceOrder", 0),
}
_PUBLIC = ("bookTicker", "depth", "partialDepth", "trade", "allBookTicker")
_MARKET = ("aggTrade", "markPrice", "kline", "forceOrder", "allMarkPrice", "allForceOrder")
_SPOT = ("trade", "aggTrade", "bookTicker", "kline", "depth", "partialDepth")


@dataclass(frozen=True)
class Stream:
    """One stream.

    Attributes:
        name: as subscribed.
        kind: e.g. `aggTrade`, `depth`, `partialDepth`, `allMarkPrice`.
        symbol: upper case, empty for streams of all symbols.
        step_ms: distance of its frames where they come by the clock.
        levels: depth of `partialDepth`.
        interval: of `kline`.
        spot: a stream of the spot market.
    """

    name: str
    kind: str
    symbol: str = ""
    step_ms: int = 0
    levels: int = 0
    interval: str = ""
    spot: bool = False


def _futures(name: str, symbol: str, rest: str) -> Stream | None:
    if rest in ("aggTrade", "bookTicker", "forceOrder", "trade"):
        return Stream(name, rest, symbol)
    if found := _MARK.fullmatch(rest):
        return Stream(name, "markPrice", symbol, 1000 if found[1] else 3000)
    if found := _DEPTH.fullmatch(rest):
        step = {None: 250, "100ms": 100, "500ms": 500}.get(found[2])
        if step is None:
            return None
        return Stream(name, "partialDepth" if found[1] else "depth", symbol, step, int(found[1] or 0))
    if (found := _KLINE.fullmatch(rest)) and found[1] in INTERVAL_MINUTES:
        return Stream(name, "kline", symbol, 250, interval=found[1])
    return None


def _spot(name: str, symbol: str, rest: str) -> Stream | None:
    if rest in ("aggTrade", "bookTicker", "trade"):
        return Stream(name, rest, symbol, spot=True)
    if found := _DEPTH.fullmatch(rest):
        step = {None: 1000, "100ms": 100, "1000ms": 1000}.get(found[2])
        if step is None:
            return None
        return Stream(name, "partialDepth" if found[1] else "depth", symbol, step, int(found[1] or 0), spot=True)
    if (found := _KLINE.fullmatch(rest)) and (found[1] in INTERVAL_MINUTES or found[1] == "1s"):
        return Stream(name, "kline", symbol, 1000 if found[1] == "1s" else 2000, interval=found[1], spot=True)
    return None


def stream_of(name: str, route: str, symbols: Collection[str]) -> Stream | None:
    """The stream that a name brings on a route, None where it stays silent.

    Args:
        name: as subscribed.
        route: one of `ROUTES`.
        symbols: symbols that trade, upper case.
    """
    if route != "spot" and name in _ALL:
        kind, step = _ALL[name]
        stream: Stream | None = Stream(name, kind, step_ms=step)
    else:
        symbol, _, rest = name.partition("@")
        if symbol != symbol.lower() or symbol.upper() not in symbols:
            return None
        stream = (_spot if route == "spot" else _futures)(name, symbol.upper(), rest)
    carried = {"public": _PUBLIC, "": _PUBLIC, "market": _MARKET, "private": (), "spot": _SPOT}[route]
    return stream if stream is not None and stream.kind in carried else None
