"""How far closed klines of a socket prove that nothing was traded after the last trade that was heard."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from lake_assets.live.closed_bars import ClosedBar, LastTrade, closed_bars, heard_until
from lake_resources.clock import MINUTE, SECOND

OPEN = datetime(2026, 11, 18, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("bars", "until"),
    [
        ({}, None),
        ({0: ClosedBar(7, 18)}, None),  # an earlier trade was its last one
        ({0: ClosedBar(7, 24)}, None),  # a later trade was
        ({0: ClosedBar(7, 22)}, 1),
        ({0: ClosedBar(7, 20)}, 1),  # the trade goes on after the edge
        ({1: ClosedBar(0, -1)}, None),  # the minute of the trade itself is not closed
        ({0: ClosedBar(7, 22), 1: ClosedBar(0, -1), 2: ClosedBar(0, -1)}, 3),
        ({0: ClosedBar(7, 20), 1: ClosedBar(2, 22)}, 2),  # only what was left of the trade
        ({0: ClosedBar(7, 22), 1: ClosedBar(1, 23), 2: ClosedBar(0, -1)}, 1),
        ({0: ClosedBar(7, 22), 2: ClosedBar(0, -1)}, 1),  # a frame is lost
        ({0: ClosedBar(0, -1)}, None),  # it denies a trade that was heard
    ],
)
def test_nothing_is_proven_beyond_the_last_kline_that_says_so(bars: dict[int, ClosedBar], until: int | None) -> None:
    last = LastTrade(OPEN + 59 * SECOND, 20, 22)
    closed = {OPEN + number * MINUTE: bar for number, bar in bars.items()}
    assert heard_until(last, closed, MINUTE) == (None if until is None else OPEN + until * MINUTE)


def test_seconds_are_told_by_klines_of_a_second() -> None:
    ms = int(OPEN.timestamp() * 1000)
    frames = [
        b'{"stream":"btcusdt@kline_1s","data":{"e":"kline","k":{"t":%d,"n":%d,"L":%d,"x":true}}}'
        % (ms + 1000 * n, *bar)
        for n, bar in enumerate([(2, 9), (0, -1), (0, -1), (1, 10)])
    ]
    closed = closed_bars(frames)
    assert closed[OPEN + 3 * SECOND] == ClosedBar(1, 10)
    assert heard_until(LastTrade(OPEN + SECOND / 2, 9, 9), closed, SECOND) == OPEN + 3 * SECOND
    assert heard_until(LastTrade(OPEN + 3.5 * SECOND, 10, 10), closed, SECOND) == OPEN + 4 * SECOND
