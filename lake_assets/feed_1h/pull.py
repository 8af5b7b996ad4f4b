"""What the feed asks the exchange: its clock, and hourly bars of a range as they come.

Belongs here: the calls. Does not belong here: merging, sorting out or judging bars (`bars`, `window`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from lake_assets.feed_1h.bars import INTERVAL, SYMBOL, bars_from_rows, naive
from lake_resources.binance.market import um_klines
from lake_resources.binance.rest.rest_client import BinanceRest
from lake_resources.clock import HOUR, HOUR_MS, Clock, epoch_ms
from lake_resources.errors import MalformedAnswer

_KLINES = um_klines("klines")
_FIELDS = 7
_PAGE_HOURS = _KLINES.page // 2
"""Half of what a page may hold: room for hours that come twice, which must be seen and not push others out."""


@dataclass(frozen=True)
class Pull:
    """Bars as the exchange sent them.

    Attributes:
        bars: PULL_SCHEMA of `bars`, ascending; doubled and unclosed bars are still in it.
        asked_at: the exchange's clock just before it was asked, timezone-aware.
        skew_s: this machine's clock minus the exchange's, seconds.
    """

    bars: pl.DataFrame
    asked_at: datetime
    skew_s: float


def pull_bars(rest: BinanceRest, clock: Clock, first: datetime, last: datetime) -> Pull:
    """Bars of the hours `first` to `last`, both inclusive and UTC-naive.

    The exchange's clock is read first: what it calls closed then is final in the bars that come after.

    Raises:
        ExchangeError: a leaf of the tree.
    """
    before = clock()
    server = rest.server_time()
    middle = before + (clock() - before) / 2
    start_ms, end_ms = _ms(first), _ms(last + HOUR)
    pages = [
        _page(rest, page_ms, min(page_ms + _PAGE_HOURS * HOUR_MS, end_ms))
        for page_ms in range(start_ms, end_ms, _PAGE_HOURS * HOUR_MS)
    ]
    return Pull(pl.concat(pages), server, (middle - server).total_seconds())


def _page(rest: BinanceRest, start_ms: int, end_ms: int) -> pl.DataFrame:
    limit = 2 * (end_ms - start_ms) // HOUR_MS
    return rest.call(
        _KLINES,
        {"symbol": SYMBOL, "interval": INTERVAL, "startTime": start_ms, "endTime": end_ms - 1, "limit": limit},
        _parse,
    )


def _parse(body: object, endpoint: str) -> pl.DataFrame:
    if not isinstance(body, list) or any(not isinstance(row, list) or len(row) < _FIELDS for row in body):
        raise MalformedAnswer(endpoint, "expected a list of klines")
    try:
        return bars_from_rows(body)
    except (ValueError, OverflowError) as error:
        raise MalformedAnswer(endpoint, f"a kline without a time: {error}") from error


def _ms(hour: datetime) -> int:
    return epoch_ms(naive(hour).replace(tzinfo=UTC))
