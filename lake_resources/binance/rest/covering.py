"""Finding the aggTrades that stand for given trades: REST has them by their own ids and by time, not by trade id.

Belongs here: the search. Does not belong here: requests (`rest_client`), what was missed and why (`collector`).
Ids of trades grow with those of aggTrades, so the place of an id is guessed from a page and corrected by the next one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Rows = list[dict[str, Any]]
Page = Callable[[int | None], Rows]
"""A full page from an aggTrade id on, or the newest one."""

MARGIN = 50
"""Rows that a guess begins before the place it aims at."""
_GUESSES = 8
_CALLS = 60


def covering(page: Page, first_id: int, last_id: int) -> Rows:
    """The aggTrades that stand for trades from first to last, as many as one page holds.

    Args:
        page: asks REST.
        first_id: of the first trade.
        last_id: of the last one.

    Returns:
        Rows `{a, p, q, f, l, T, m}` in order; none where REST does not have the first trade (yet).
    """
    rows = page(None)
    if not rows or rows[-1]["l"] < first_id:
        return []
    low, high = -1, rows[-1]["a"] + 1
    for call in range(_CALLS):
        if not rows:
            return []
        if rows[0]["f"] <= first_id <= rows[-1]["l"]:
            return [row for row in rows if row["l"] >= first_id and row["f"] <= last_id]
        if rows[0]["f"] > first_id:
            high = min(high, rows[0]["a"])
        else:
            low = max(low, rows[-1]["a"])
        if high - low <= 1:
            return []
        wanted = (low + high) // 2 if call >= _GUESSES else _guess(rows, first_id)
        rows = page(max(0, min(max(wanted - MARGIN, low + 1), high - 1)))
    return []


def _guess(rows: Rows, trade_id: int) -> int:
    """Where an id lies, if as many trades went into each aggTrade there as on this page."""
    first, last = rows[0], rows[-1]
    per_row = max((last["l"] - first["f"] + 1) / len(rows), 1.0)
    return int(first["a"] + (trade_id - first["f"]) / per_row)
