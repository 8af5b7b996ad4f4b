"""Which slices should exist, and which of them are to be asked for, and in which order.

Belongs here: expected slices, the diff against what is known, pauses before the same is asked again. Does not belong
here: the ledger, requests (`loop`), what an answer is worth (`judgement`).
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from datetime import datetime, timedelta

from lake_assets.slices.judgement import SliceReason, Status
from lake_assets.slices.keys import LIMIT, SliceKey, interval_ms, lattice
from lake_resources.storage.ledger.slice_rows import SliceRow, Standing

PAUSE = timedelta(minutes=10)
"""So long the exchange is given before a gap or an empty answer is asked for again."""
_RANK = {Status.PENDING: 0, Status.NEEDS_REFRESH: 0, Status.FAILED: 1, Status.PARTIAL: 2, Status.EMPTY: 3}


def generate_kline_slices(interval: str, start_ms: int, end_ms: int, limit: int = LIMIT) -> Iterator[tuple[int, int]]:
    """Windows `(start, end)` of at most `limit` candles that cover `start_ms` to `end_ms`, epoch ms, both inclusive.

    Raises:
        ValueError: the range ends before it starts.
    """
    return lattice(start_ms, end_ms, interval_ms(interval) * limit)


def compute_expected_slices(
    symbol: str,
    interval: str,
    min_start_ms: int,
    max_end_ms: int,
    limit: int = LIMIT,
    slice_iter: Callable[[str, int, int, int], Iterator[tuple[int, int]]] = generate_kline_slices,
) -> Iterator[SliceKey]:
    """The slices that should exist for a range, in order."""
    for start, _ in slice_iter(interval, min_start_ms, max_end_ms, limit):
        yield SliceKey(symbol, interval, start, limit)


def compute_missing_slices(expected: Iterable[SliceKey], known_statuses: Mapping[str, str]) -> Iterator[SliceKey]:
    """The expected slices that are not `ok`, by composite key."""
    return (key for key in expected if known_statuses.get(key.composite) != Status.OK)


def due(
    expected: Iterable[SliceKey],
    known: Iterable[Standing | SliceRow],
    now: datetime,
    *,
    pause: timedelta = PAUSE,
    whole: Container[int] = (),
) -> list[SliceKey]:
    """The slices to ask for now: what was never asked or cannot be used, then failures, then the rest; newest first.

    Args:
        expected: all slices that should exist.
        known: where the known ones stand that are not `ok`.
        now: the moment, UTC.
        pause: how long the same gap, empty answer or failure is left alone; the growing slice is always asked for.
        whole: where the slices start that are `ok`.
    """
    standing = {each.start: each for each in known}
    found: list[tuple[int, int, SliceKey]] = []
    for key in expected:
        if key.start in whole:
            continue
        held = standing.get(key.start)
        if held is None:
            found.append((0, -key.start, key))
        elif _wanted(held, now, pause):
            found.append((_RANK[Status(held.status)], -key.start, key))
    return [key for _, _, key in sorted(found, key=lambda each: each[:2])]


def _wanted(held: Standing | SliceRow, now: datetime, pause: timedelta) -> bool:
    status, reason = Status(held.status), SliceReason(held.reason)
    if status is Status.OK or (status is Status.EMPTY and reason is SliceReason.EXCHANGE_HAS_NONE):
        return False
    if status in (Status.PENDING, Status.NEEDS_REFRESH) or reason is SliceReason.STILL_FORMING:
        return True
    return held.completed_at_utc is None or now - held.completed_at_utc >= pause
