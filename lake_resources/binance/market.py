"""The markets of Binance that the lake knows: where each answers, publishes and streams, and by which rules.

Belongs here: one `Market` per market with its hosts, routes, endpoints, budgets and naming rules.
Does not belong here: its streams (`um_streams`, `spot_streams`), counting (`lake_resources.governor`), requests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date

ARCHIVES_URL = "https://data.binance.vision"
"""Base URL of the archives of all markets."""
FUTURES_DATA = "/futures/data/"
"""Directory of the 5-minute series; its endpoints count requests and no weight."""


@dataclass(frozen=True)
class WeightBucket:
    """A limit of the exchange, counted by IP address.

    Attributes:
        name: its name, unique over all markets: markets may answer on one host and have budgets of their own.
        capacity: cost allowed per window.
        minutes: clock minutes summed up. The request weight resets at :00, so 1. How the 5-minute limits are
            aligned is not known, so 6 (the running minute and the five before it) cover any alignment.
    """

    name: str
    capacity: int
    minutes: int


@dataclass(frozen=True)
class Endpoint:
    """One path of a REST interface.

    Attributes:
        path: below the host.
        bucket: the limit that it counts against.
        weight: cost of a request, or the cost by the parameter `limit`.
        page: rows that one request asks for, where it is a list: the most that are allowed, or that are cheapest.
    """

    path: str
    bucket: WeightBucket
    weight: int | Callable[[int], int]
    page: int = 0

    def cost(self, query: Mapping[str, str | int]) -> int:
        """Cost of a request.

        Raises:
            KeyError: the cost depends on `limit` and the query names none.
        """
        return self.weight if isinstance(self.weight, int) else self.weight(int(query["limit"]))


@dataclass(frozen=True)
class Market:
    """One market of the exchange.

    Attributes:
        name: the lake's name of it, part of asset keys and of the ledger's keys, e.g. `um`.
        title: its name for people.
        directory: its directory in the archives, and of its tables below the lake's root, e.g. `futures/um`.
        rest_url: base URL of its REST API.
        ws_url: base URL of its WebSocket streams.
        ws_routes: path of each route of sockets, by name; a market with one route has the name `""`.
        combined: its sockets are opened at `/stream`, where each frame comes with the name of its stream: some of its
            frames do not say by themselves what they are.
        messages_per_s: messages that one socket may send in a second.
        streams_per_socket: names of streams that one socket may carry; one more loses all of them.
        budget: its request weight per clock minute.
        time: endpoint of its clock.
        exchange_info: endpoint of its symbols and limits.
        agg_trades: endpoint of aggregated trades.
        depth: endpoint of the order book, whose page is the deepest there is.
        microseconds_from: first day whose archives carry microseconds instead of milliseconds, or None.
        lists_dates: its list of symbols says from when to when each is traded. That of spot does not, and is tens of
            megabytes long.
        first_bars: endpoint of bars of a market whose list says no dates: since when a symbol is traded, its first bar
            says.
    """

    name: str
    title: str
    directory: str
    rest_url: str
    ws_url: str
    ws_routes: Mapping[str, str]
    messages_per_s: int
    streams_per_socket: int
    budget: WeightBucket
    time: Endpoint
    exchange_info: Endpoint
    agg_trades: Endpoint
    depth: Endpoint
    microseconds_from: date | None = None
    combined: bool = False
    lists_dates: bool = False
    first_bars: Endpoint | None = None

    def pair(self, symbol: str) -> str:
        """The pair that a symbol is a contract of: delivery contracts carry their date behind it.

        Binance serves index prices by pair, and refuses `BTCUSDT_261225` as one (code -4144).
        """
        head, _, tail = symbol.rpartition("_")
        return head if head and len(tail) == 6 and tail.isdigit() else symbol

    def socket_url(self, base_url: str, route: str) -> str:
        """URL of a socket of a route, e.g. `wss://fstream.binance.com/market/ws`."""
        return f"{base_url.rstrip('/')}{self.ws_routes[route]}/{'stream' if self.combined else 'ws'}"


def kline_weight(limit: int) -> int:
    """Weight of one call of the kline family of USD-M futures.

    The documentation says [100, 500) costs 2, the measurement says (100, 500]; the dearer of the two is counted.
    """
    if limit < 100:
        return 1
    if limit < 500:
        return 2
    return 5 if limit <= 1000 else 10


UM_WEIGHT = WeightBucket("weight_1m", 2400, 1)
UM_FUTURES_DATA = WeightBucket("futures_data", 1000, 6)
UM_FUNDING = WeightBucket("funding", 500, 6)
SPOT_WEIGHT = WeightBucket("spot_weight_1m", 6000, 1)
BUCKETS: dict[str, WeightBucket] = {
    bucket.name: bucket for bucket in (UM_WEIGHT, UM_FUTURES_DATA, UM_FUNDING, SPOT_WEIGHT)
}
"""All limits that are counted, by name."""

UM = Market(
    name="um",
    title="USD-M futures",
    directory="futures/um",
    rest_url="https://fapi.binance.com",
    ws_url="wss://fstream.binance.com",
    # Since 2026-04 each class of streams has a route of its own; on a wrong one Binance acknowledges and stays silent.
    ws_routes={"market": "/market", "public": "/public"},
    messages_per_s=10,
    streams_per_socket=1024,
    budget=UM_WEIGHT,
    time=Endpoint("/fapi/v1/time", UM_WEIGHT, 1),
    exchange_info=Endpoint("/fapi/v1/exchangeInfo", UM_WEIGHT, 1),
    agg_trades=Endpoint("/fapi/v1/aggTrades", UM_WEIGHT, 20, page=1000),
    depth=Endpoint("/fapi/v1/depth", UM_WEIGHT, 20, page=1000),
    lists_dates=True,
)
UM_FUNDING_RATE = Endpoint("/fapi/v1/fundingRate", UM_FUNDING, 1, page=1000)


def um_klines(name: str) -> Endpoint:
    """An endpoint of the kline family of USD-M futures.

    499 rows cost 2, which is the most rows per unit of weight on either side of the documented edge at 500.
    """
    return Endpoint(f"/fapi/v1/{name}", UM_WEIGHT, kline_weight, page=499)


def futures_data(name: str) -> Endpoint:
    """An endpoint of the 5-minute series."""
    return Endpoint(FUTURES_DATA + name, UM_FUTURES_DATA, 1, page=500)


SPOT_KLINES = Endpoint("/api/v3/klines", SPOT_WEIGHT, 2, page=1000)
SPOT = Market(
    name="spot",
    title="spot",
    directory="spot",
    rest_url="https://api.binance.com",
    ws_url="wss://stream.binance.com:9443",
    ws_routes={"": ""},
    messages_per_s=5,
    streams_per_socket=1024,
    budget=SPOT_WEIGHT,
    time=Endpoint("/api/v3/time", SPOT_WEIGHT, 1),
    exchange_info=Endpoint("/api/v3/exchangeInfo", SPOT_WEIGHT, 20),
    agg_trades=Endpoint("/api/v3/aggTrades", SPOT_WEIGHT, 4, page=1000),
    depth=Endpoint("/api/v3/depth", SPOT_WEIGHT, 250, page=5000),
    microseconds_from=date(2025, 1, 1),
    combined=True,
    first_bars=SPOT_KLINES,
)

MARKETS: dict[str, Market] = {market.name: market for market in (UM, SPOT)}


def market_of(url: str) -> str | None:
    """Name of the market in whose directory an address of the archives lies; None for addresses of elsewhere."""
    return next((name for name, market in MARKETS.items() if f"/data/{market.directory}/" in url), None)
