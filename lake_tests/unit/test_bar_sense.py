"""Klines whose own numbers cannot all be true, without any other source."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest

from lake_assets.inputs.row_evidence import senseless_hours
from lake_resources.binance.wire_columns import KLINE_COLUMNS
from lake_resources.clock import MINUTE

HOUR = datetime(2026, 1, 15, 10, tzinfo=UTC)


def bars(**changed: float) -> pl.DataFrame:
    """Three minutes: a busy one, which is changed, a quiet one, another busy one."""
    busy = {"open": 100.0, "high": 101.0, "low": 99.0, "close": 100.5, "volume": 2.0, "quote_volume": 200.5, "count": 3}
    quiet = dict.fromkeys(("open", "high", "low", "close"), 100.5) | dict.fromkeys(("volume", "quote_volume"), 0.0)
    rows = [busy | changed, quiet | {"count": 0}, busy]
    taken = {"taker_buy_volume": 1.0, "taker_buy_quote_volume": 100.0}
    times = [{"open_time": HOUR + n * MINUTE, "close_time": HOUR + (n + 1) * MINUTE} for n in range(3)]
    return pl.DataFrame([t | r | taken for t, r in zip(times, rows, strict=True)], schema=KLINE_COLUMNS)


def test_sound_bars_quiet_ones_too_and_frames_of_other_streams_are_no_offenders() -> None:
    assert senseless_hours(bars(), [HOUR]) == {}
    assert senseless_hours(bars().drop("volume"), [HOUR]) == {}
    assert senseless_hours(bars().clear(), [HOUR]) == {}


@pytest.mark.parametrize(
    "changed",
    [{"volume": 0.0}, {"quote_volume": 0.0}, {"count": 0}, {"volume": 3.0}, {"quote_volume": 300.0}, {"high": 99.5},
     {"low": 100.5}, {"volume": 0.0, "quote_volume": 0.0, "count": 0}],
    ids=str,
)  # fmt: skip
def test_a_bar_that_contradicts_itself_is_named_with_its_numbers(changed: dict[str, float]) -> None:
    found = senseless_hours(bars(**changed), [HOUR])
    assert list(found) == [HOUR]
    assert "1 bar(s) contradict themselves, first 2026-01-15 10:00" in found[HOUR]
    assert senseless_hours(bars(**changed), [HOUR + 60 * MINUTE]) == {}
