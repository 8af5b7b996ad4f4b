"""The markets of Binance that the lake knows: where each answers, publishes and streams, and by which rules.

Belongs here: one `Market` per market with its hosts, paths, budgets and naming rules. Does not belong here: its streams
(`streams`), requests, anything of a table.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True)
class Market:
    """One market of the exchange.

    Attributes:
        name: the lake's name of it, part of asset keys and of the ledger's keys, e.g. `um`.
        title: its name for people.
        directory: its directory in the archives, and of its tables below the lake's root, e.g. `futures/um`.
        rest_url: base URL of its REST API.
        rest_prefix: path before an endpoint's name, e.g. `/fapi/v1`.
        ws_url: base URL of its WebSocket streams.
        ws_routes: path of each route of sockets, by name; a market with one route has the name `""`.
        weight_per_minute: request weight that an IP address may use in a clock minute.
        microseconds_from: first day whose archives carry microseconds instead of milliseconds, or None.
    """

    name: str
    title: str
    directory: str
    rest_url: str
    rest_prefix: str
    ws_url: str
    ws_routes: dict[str, str]
    weight_per_minute: int
    microseconds_from: date | None = None

    def pair(self, symbol: str) -> str:
        """The pair that a symbol is a contract of: delivery contracts carry their date behind it.

        Binance serves index prices by pair, and refuses `BTCUSDT_261225` as one (code -4144).
        """
        head, _, tail = symbol.rpartition("_")
        return head if head and len(tail) == 6 and tail.isdigit() else symbol


UM = Market(
    name="um",
    title="USD-M futures",
    directory="futures/um",
    rest_url="https://fapi.binance.com",
    rest_prefix="/fapi/v1",
    ws_url="wss://fstream.binance.com",
    ws_routes={"public": "/public", "market": "/market"},
    weight_per_minute=2400,
)
SPOT = Market(
    name="spot",
    title="spot",
    directory="spot",
    rest_url="https://api.binance.com",
    rest_prefix="/api/v3",
    ws_url="wss://stream.binance.com:9443",
    ws_routes={"": ""},
    weight_per_minute=6000,
    microseconds_from=date(2025, 1, 1),
)
MARKETS: dict[str, Market] = {market.name: market for market in (UM, SPOT)}
