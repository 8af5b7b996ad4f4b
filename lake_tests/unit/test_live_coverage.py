"""What ids and heartbeats prove about the trades of a minute."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from lake_assets.transforms.live_coverage import trade_coverage
from lake_assets.transforms.live_rows import LIVE_INPUT, LIVE_ROWS, live_input, live_trades

START = datetime(2026, 2, 15, 12, tzinfo=UTC)
Minute = tuple[int, bool, tuple[int, int, int] | None]
"""Offset, alive, (first id, last id, how many)."""


def rows(*minutes: Minute) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "timestamp": START + timedelta(minutes=offset),
                "market_alive": alive,
                "public_alive": alive,
                "first_agg_trade_id": ids[0] if ids else None,
                "last_agg_trade_id": ids[1] if ids else None,
                "agg_trades": ids[2] if ids else 0,
            }
            for offset, alive, ids in minutes
        ],
        schema=LIVE_ROWS,
    )


def covered(*minutes: Minute, count: int = 3) -> list[bool]:
    found = trade_coverage(rows(*minutes), START, START + timedelta(minutes=count))
    assert found["timestamp"].to_list() == [START + timedelta(minutes=offset) for offset in range(count)]
    return found["has_agg_trades"].to_list()


@pytest.mark.parametrize(
    ("minutes", "expected"),
    [
        ([(0, True, (1, 5, 5)), (1, True, (6, 9, 4)), (2, True, (10, 10, 1))], [True, True, True]),
        ([(0, True, None), (1, True, None), (2, True, None)], [True, True, True]),
        ([(0, False, (1, 5, 5)), (1, False, (6, 9, 4)), (2, False, (10, 10, 1))], [False, True, False]),
        ([(-1, False, (0, 0, 1)), (0, False, (1, 5, 5)), (2, False, (6, 9, 4)), (3, False, (10, 11, 2))], [True] * 3),
        ([(0, True, (1, 5, 4)), (1, True, (6, 9, 4)), (2, True, (10, 10, 1))], [False, True, True]),
        ([(0, True, (1, 5, 5)), (1, True, None), (2, True, (7, 9, 3))], [False, False, False]),
        ([(0, True, (1, 5, 5)), (1, True, (6, 6, 1))], [True, True, False]),
        ([], [False, False, False]),
    ],
    ids=[
        "all heard",
        "quiet and alive",
        "not alive, proven by the ids around",
        "healed over a minute without a row",
        "an id missing inside",
        "an id missing between counts against every minute it may belong to",
        "not heard yet",
        "no collector",
    ],
)
def test_coverage(minutes: list[Minute], expected: list[bool]) -> None:
    assert covered(*minutes) == expected


def test_what_the_minute_table_takes() -> None:
    held = rows((0, True, (1, 5, 5)), (1, True, (7, 7, 1)), (2, False, (8, 9, 2)))
    coverage = trade_coverage(held, START, START + timedelta(minutes=4))

    live = live_input(held, coverage)

    assert dict(live.schema) == LIVE_INPUT
    assert live["has_book_ticker"].to_list() == [True, True, False, None]
    assert live["has_agg_trades"].to_list() == [False, False, False, False]
    assert live_trades(held, coverage).is_empty()
