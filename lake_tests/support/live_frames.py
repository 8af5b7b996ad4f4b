"""Frames of USD-M streams as Binance sends them, for tests of the collector.

Belongs here: one builder per stream, and feeding them without sockets. Does not belong here: any expectation.
"""

from __future__ import annotations

from typing import Any

import orjson

from lake_resources.binance.market import UM
from lake_resources.binance.ws.frames import SNAPSHOT, Frame, event_ms
from lake_resources.binance.ws.subscriptions import kinds_by_event
from lake_resources.clock import MINUTE_MS

SYMBOL = "BTCUSDT"
MINUTE = 29_000_000
START_MS = MINUTE * MINUTE_MS


def agg_trade(
    number: int, ms: int, price: float = 100.0, quantity: float = 1.0, *, sell: bool = False
) -> dict[str, Any]:
    return {
        "e": "aggTrade", "E": ms + 2, "a": number, "s": SYMBOL, "p": f"{price:.2f}", "q": f"{quantity:.3f}",
        "f": 10 * number, "l": 10 * number + 1, "T": ms, "m": sell, "st": 1,
    }  # fmt: skip


def book_ticker(number: int, ms: int, bid: float = 99.9, ask: float = 100.1) -> dict[str, Any]:
    return {
        "e": "bookTicker", "u": number, "s": SYMBOL, "ps": SYMBOL, "b": f"{bid:.2f}", "B": "2.000", "a": f"{ask:.2f}",
        "A": "3.000", "T": ms, "E": ms + 1, "st": 1,
    }  # fmt: skip


def depth(
    first: int,
    last: int,
    previous: int,
    ms: int,
    *,
    engine_ms: int = 5,
    bids: tuple[tuple[str, str], ...] = (),
    asks: tuple[tuple[str, str], ...] = (),
) -> dict[str, Any]:
    return {
        "e": "depthUpdate", "E": ms, "T": ms - engine_ms, "s": SYMBOL, "ps": SYMBOL, "U": first, "u": last,
        "pu": previous, "b": [list(level) for level in bids], "a": [list(level) for level in asks], "st": 1,
    }  # fmt: skip


def mark_price(ms: int, rate: str = "0.00010000", settlement_ms: int = START_MS + 3_600_000) -> dict[str, Any]:
    return {
        "e": "markPriceUpdate", "E": ms, "s": SYMBOL, "p": "100.0", "ap": "100.0", "P": "100.0", "i": "100.0",
        "r": rate, "T": settlement_ms, "st": 1,
    }  # fmt: skip


def force_order(ms: int, side: str = "SELL", **order: str) -> dict[str, Any]:
    return {
        "e": "forceOrder", "E": ms + 3,
        "o": {"s": SYMBOL, "S": side, "o": "LIMIT", "f": "IOC", "X": "FILLED", "T": ms, **order},
        "st": 1, "ps": SYMBOL,
    }  # fmt: skip


def snapshot(last_update_id: int, ms: int, bids: list[list[str]], asks: list[list[str]]) -> dict[str, Any]:
    return {"lastUpdateId": last_update_id, "E": ms, "T": ms - 5, "bids": bids, "asks": asks}


def record(seq: int, data: dict[str, Any], *, conn: int = 1, late_ms: int = 20) -> Frame:
    """A frame as the intake makes it, received `late_ms` after it was sent."""
    if "lastUpdateId" in data:
        kind, ms, sent_ms = SNAPSHOT, data["E"], data["E"]
    else:
        kind = kinds_by_event(UM.name)[data["e"]]
        ms, sent_ms = event_ms(kind, data), data["E"]
    received_ns = (sent_ms + late_ms) * 1_000_000
    return Frame(seq, received_ns, conn, kind, SYMBOL, ms // MINUTE_MS, orjson.dumps(data), data)


def alive(start_ms: int, end_ms: int) -> list[dict[str, Any]]:
    """Mark prices once a second, both ends included."""
    return [mark_price(ms) for ms in range(start_ms, end_ms + 1, 1000)]
