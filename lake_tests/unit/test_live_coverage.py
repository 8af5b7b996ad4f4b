"""What ids and heartbeats prove about the trades of a minute."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from lake_assets.transforms.live.live_coverage import trade_coverage
from lake_assets.transforms.live.live_rows import LIVE_INPUT, LIVE_ROWS, live_input, live_trades

START = datetime(2026, 2, 15, 12, tzinfo=UTC)
Minute = tuple[int, int | None, tuple[int, int, int] | None]
"""Offset, single trades by its kline (each aggTrade here is two; None: no kline), (first id, last id, how many)."""


def rows(*minutes: Minute, book: bool = True) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "timestamp": START + timedelta(minutes=offset),
                "market_alive": True,
                "public_alive": True,
                "book_ticker_alive": book,
                "first_agg_trade_id": ids[0] if ids else None,
                "last_agg_trade_id": ids[1] if ids else None,
                "agg_trades": ids[2] if ids else 0,
                "raw_trade_count": 2 * ids[2] if ids else None,
            }
            for offset, _, ids in minutes
        ],
        schema=LIVE_ROWS,
    )


def klines(*minutes: Minute) -> pl.DataFrame:
    known = [(START + timedelta(minutes=offset), count) for offset, count, _ in minutes if count is not None]
    return pl.DataFrame(known, schema={"timestamp": pl.Datetime("ms", "UTC"), "trade_count": pl.Int64}, orient="row")


def covered(*minutes: Minute, count: int = 3) -> list[bool]:
    found = trade_coverage(rows(*minutes), klines(*minutes), START, START + timedelta(minutes=count))
    assert found["timestamp"].to_list() == [START + timedelta(minutes=offset) for offset in range(count)]
    return found["has_agg_trades"].to_list()


@pytest.mark.parametrize(
    ("minutes", "expected"),
    [
        ([(0, 10, (1, 5, 5)), (1, 8, (6, 9, 4)), (2, 2, (10, 10, 1))], [True, True, True]),
        ([(0, 0, None), (1, 0, None), (2, 0, None)], [True, True, True]),
        ([(0, 0, None), (1, 16, None), (2, 112, None)], [True, False, False]),
        ([(0, 10, (1, 5, 5)), (1, 12, (6, 9, 4)), (2, 9, None)], [True, False, False]),
        ([(0, None, None), (1, None, None), (2, None, None)], [False, False, False]),
        ([(0, None, (1, 5, 5)), (1, None, (6, 9, 4)), (2, None, (10, 10, 1))], [False, True, False]),
        ([(0, 11, (1, 5, 5)), (1, 9, (6, 9, 4)), (2, 3, (10, 10, 1))], [False, True, False]),
        ([(-1, None, (0, 0, 1)), (0, None, (1, 5, 5)), (2, None, (6, 9, 4)), (3, None, (10, 11, 2))], [True] * 3),
        ([(0, 10, (1, 5, 4)), (1, 8, (6, 9, 4)), (2, 2, (10, 10, 1))], [False, True, True]),
        ([(0, 10, (1, 5, 5)), (1, 0, None), (2, 6, (7, 9, 3))], [False, False, False]),
        ([(0, 10, (1, 5, 5)), (1, 2, (6, 6, 1))], [True, True, False]),
        ([], [False, False, False]),
    ],
    ids=[
        "all heard, as the klines say",
        "quiet, as the klines say",
        "a silent stream: the klines have trades that nobody heard",
        "a stream that falls silent in the middle of a minute",
        "quiet, and no kline to prove it",
        "no kline, proven by the ids around",
        "klines count trades that are no aggTrades (ADL): only the ids around prove a minute",
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
    minutes: list[Minute] = [(0, 10, (1, 5, 5)), (1, 2, (7, 7, 1)), (2, None, (8, 9, 2))]
    held = pl.concat([rows(*minutes[:2]), rows(minutes[2], book=False)])
    coverage = trade_coverage(held, klines(*minutes), START, START + timedelta(minutes=4))

    live = live_input(held, coverage)

    assert dict(live.schema) == LIVE_INPUT
    assert live["has_book_ticker"].to_list() == [True, True, False, None]
    assert live["has_agg_trades"].to_list() == [False, False, False, False]
    assert live_trades(held, coverage).is_empty()
