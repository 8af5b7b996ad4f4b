"""Rows of the exchange as bars, hours, and the directory's name."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone

import polars as pl
import pytest

from lake_assets.feed_1h.bars import BAR_COLUMNS, PULL_SCHEMA, bars_from_rows, dataset_slug, naive, target_hour
from lake_assets.feed_1h.window import BarsAnswer
from lake_resources.errors import SettingsError
from lake_tests.bench.feed_1h import at

# Elements of a kline as the exchange sends them: decimal strings and epoch milliseconds.
NINE = [1705309200000, "42503.50", "42832.00", "42462.00", "42647.90", "9043.411", 1705312799999, "1", 9, "1", "1", "0"]
EIGHT = [1705305600000, "42314.10", "42603.2", "42289.6", "42503.5", "8459.477", 1705309199999, "1", 9, "1", "1", "0"]


def test_open_time_becomes_the_timestamp_and_strings_become_doubles() -> None:
    bars = bars_from_rows([NINE, EIGHT])
    assert dict(bars.schema) == PULL_SCHEMA
    assert bars.select(BAR_COLUMNS).rows() == [
        (at(8), 42314.1, 42603.2, 42289.6, 42503.5, 8459.477),
        (at(9), 42503.5, 42832.0, 42462.0, 42647.9, 9043.411),
    ]
    assert bars["close_time"].to_list() == [at(9) - timedelta(milliseconds=1), at(10) - timedelta(milliseconds=1)]


def test_what_is_doubled_or_no_number_stays_to_be_seen() -> None:
    bars = bars_from_rows([NINE, NINE, [*EIGHT[:4], "NaN", "", *EIGHT[6:]]])
    assert bars["timestamp"].to_list() == [at(8), at(9), at(9)]
    assert math.isnan(bars["close"][0])
    assert bars["volume"][0] is None
    assert bars_from_rows([]).schema == pl.Schema(PULL_SCHEMA)


@pytest.mark.parametrize(
    ("now", "target"),
    [
        (datetime(2024, 1, 15, 14, 23, 45, tzinfo=UTC), at(13)),
        (datetime(2024, 1, 15, 14, 0, 0, tzinfo=UTC), at(13)),
        (datetime(2024, 1, 15, 13, 59, 59, 999999, tzinfo=UTC), at(12)),
        (datetime(2024, 1, 15, 0, 1, tzinfo=UTC), at(-1)),
        (datetime(2024, 1, 15, 19, 53, 45, tzinfo=timezone(timedelta(hours=5, minutes=30))), at(13)),
    ],
)
def test_the_target_is_the_newest_closed_hour(now: datetime, target: datetime) -> None:
    assert target_hour(now) == target
    assert naive(now).tzinfo is None


@pytest.mark.parametrize(
    ("moment", "closed", "forming"),
    [
        (at(10) - timedelta(milliseconds=2), [at(8)], [at(9)]),
        (at(10) - timedelta(milliseconds=1), [at(8)], [at(9)]),
        (at(10), [at(8), at(9)], []),
    ],
)
def test_a_candle_is_closed_when_its_close_time_has_passed(
    moment: datetime, closed: list[datetime], forming: list[datetime]
) -> None:
    answer = BarsAnswer.of(bars_from_rows([EIGHT, NINE]), moment.replace(tzinfo=UTC))
    assert sorted(answer.bars) == closed
    assert sorted(answer.forming) == forming


def test_a_dataset_name_becomes_a_directory_name() -> None:
    assert dataset_slug("BINANCE_BTCUSDT.P, 60") == "binance_btcusdt_p_60"
    assert dataset_slug("../etc / x") == "etc_x"
    assert dataset_slug(dataset_slug("BINANCE_BTCUSDT.P, 60")) == "binance_btcusdt_p_60"
    with pytest.raises(SettingsError, match="no directory name"):
        dataset_slug(" .,/ ")
