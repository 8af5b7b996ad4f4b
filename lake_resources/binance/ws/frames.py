"""What a collector hears, as records: one frame of a socket, one REST answer, or one event of a connection.

Belongs here: the kinds of record, which time each is filed by, and reading a frame's bytes.
Does not belong here: subscriptions (`stream`), the order book (`order_book`), files; any column of the lake.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import orjson

OTHER: Final = 0
AGG_TRADE: Final = 1
BOOK_TICKER: Final = 2
DEPTH: Final = 3
MARK_PRICE: Final = 4
FORCE_ORDER: Final = 5
SNAPSHOT: Final = 6
"""A REST body of `/fapi/v1/depth`."""
HEALED: Final = 7
"""aggTrades of one minute from REST: a list of rows `{a, p, q, f, l, T, m}`."""
CHECKPOINT: Final = 8
"""State of whoever folds the records, so that a later reader need not begin at the beginning."""
CONNECTION: Final = 9
"""`{"event": "opened" | "closed" | "started", "route": …, "reason": …}`; belongs to no symbol."""
REFUSED: Final = 10
"""A frame of a socket, as it came, that could not be used; filed under `REFUSED_FRAMES`."""

TRADE: Final = 11
"""One fill of the spot market."""
CLOCK: Final = 12
"""`{"offset_ns": …}`: the exchange's clock minus the local one from here on; at the start of a minute also `latency_ms`
of the minute before: `{"p50": …, "p95": …, "max": …, "frames": …}`. Belongs to no symbol."""
KLINE: Final = 13
"""A minute of futures or a second of spot, the frame that closes it: how many trades it has, and the last one's id."""

EVERY_SYMBOL: Final = ""
"""Symbol of the records that concern all of them."""
REFUSED_FRAMES: Final = "#refused"
"""In place of a symbol: whoever reads a symbol's records does not come across these."""


class Frame(NamedTuple):
    """One record.

    Attributes:
        seq: place in the order in which the collector took the records; grows over restarts.
        received_ns: local receive time, epoch ns.
        conn: number of the connection, 0 for what no socket brought.
        kind: one of the constants of this module.
        symbol: upper case, or `EVERY_SYMBOL`.
        minute: minute it is filed under (event time), epoch minutes.
        payload: the bytes as they came.
        data: the decoded payload, or None where nobody decoded it yet.
    """

    seq: int
    received_ns: int
    conn: int
    kind: int
    symbol: str
    minute: int
    payload: bytes
    data: Any = None

    def decoded(self) -> Any:
        """The decoded payload, unwrapped."""
        return self.data if self.data is not None else decode(self.payload)


def decode(payload: bytes) -> Any:
    """Read a frame; a combined stream's `{"stream": …, "data": …}` is unwrapped.

    Raises:
        ValueError: it is not JSON.
    """
    data = orjson.loads(payload)
    if type(data) is dict and "data" in data and "stream" in data:
        return data["data"]
    return data


def event_ms(kind: int, data: dict[str, Any]) -> int:
    """The exchange's time that decides the minute of a frame, epoch ms.

    Trades, book tickers and liquidations count when they were executed (`T`), depth and mark prices when they were
    sent (`E`): the minute table is defined so. A bar counts as its last millisecond.

    Raises:
        KeyError: the frame lacks its time.
        TypeError: `o` of a forceOrder, or `k` of a kline, is no object.
    """
    if kind in (AGG_TRADE, BOOK_TICKER, TRADE):
        return int(data["T"])
    if kind == FORCE_ORDER:
        return int(data["o"]["T"])
    if kind == KLINE:
        return int(data["k"]["T"])
    return int(data["E"])
