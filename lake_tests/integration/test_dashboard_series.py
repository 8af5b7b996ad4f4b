"""What the dashboard draws of a lake with planted holes: holes as holes, marks, no point that nobody has."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import polars as pl
import pytest

from lake_assets.at_rest import TableStore, store_of
from lake_assets.dashboard.chart_series import EXPLAINED as GREY
from lake_assets.dashboard.chart_series import HOLE, PROVISIONAL, REVISED, Asked, chart_of, fitting, panes_of
from lake_assets.dashboard.minute_sides import sides_of
from lake_assets.dashboard.quality_days import ABSENT as NO_PARTITION
from lake_assets.dashboard.quality_days import NOT_EXPECTED, UNJUDGED, calendar, day_states, partition_states
from lake_assets.tables.um_minute import UM_MINUTE
from lake_resources.clock import DAY, HOUR
from lake_resources.errors import SettingsError
from lake_resources.settings import LakeSettings
from lake_tests.support import holed_lake as holed
from lake_tests.support.sound_hours import FIRST, NOW, SYMBOL


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> LakeSettings:
    return holed.holed_lake(tmp_path_factory.mktemp("holed") / "lake").settings


@pytest.fixture
def store(settings: LakeSettings) -> Iterator[TableStore]:
    opened = store_of(settings)
    yield opened
    opened.close()


def seconds(points: list[dict[str, float]]) -> list[float]:
    return [point["time"] for point in points]


def test_a_window_opens_in_bars_that_fit() -> None:
    assert [fitting(UM_MINUTE, FIRST, FIRST + length) for length in (DAY, 8 * DAY, 365 * DAY, 9999 * DAY)] == [
        "1m", "5m", "1h", "1d",
    ]  # fmt: skip
    assert fitting(UM_MINUTE, FIRST, FIRST + DAY, 100) == "15m"


def test_holes_are_drawn_as_holes(settings: LakeSettings) -> None:
    chart = chart_of(Asked(UM_MINUTE, SYMBOL, FIRST, holed.END), settings=settings, clock=lambda: NOW)
    candles, holes = chart.series["candles"], chart.series["holes"]
    assert chart.timeframe == "1m"
    assert (len(candles), len(holes)) == (46 * 60, 2 * 60)
    assert not set(seconds(candles)) & set(seconds(holes))
    assert len({*seconds(candles), *seconds(holes)}) == holed.HOURS * 60
    absent, explained = holes[:60], holes[60:]
    assert absent[0]["time"] == holed.ABSENT.timestamp()
    assert {point["color"] for point in absent} == {HOLE}
    assert explained[0]["time"] == holed.EXPLAINED.timestamp()
    assert {(point["color"], point["text"]) for point in explained} == {(GREY, "the exchange halted")}
    marked = {bar["time"]: bar["borderColor"] for bar in candles if "text" in bar}
    assert marked == {holed.REVISED.timestamp(): REVISED}
    rows = chart.frame.filter(pl.col("timestamp") == holed.REVISED)
    bar = next(bar for bar in candles if bar["time"] == holed.REVISED.timestamp())
    assert (bar["open"], bar["high"], bar["low"], bar["close"]) == rows.select(UM_MINUTE.prices).row(0)


def test_longer_bars_tell_that_minutes_are_not_there(settings: LakeSettings) -> None:
    start = holed.ABSENT - timedelta(hours=1)
    asked = Asked(UM_MINUTE, SYMBOL, start, start + 3 * HOUR, "1h", panes=("mark_price_close", "no_such"))
    chart = chart_of(asked, settings=settings, clock=lambda: NOW)
    assert seconds(chart.series["candles"]) == [start.timestamp(), (start + 2 * HOUR).timestamp()]
    assert seconds(chart.series["holes"]) == [holed.ABSENT.timestamp()]
    assert list(chart.series["panes"]) == ["mark_price_close"]
    assert len(chart.series["panes"]["mark_price_close"]) == 2
    day = Asked(UM_MINUTE, SYMBOL, FIRST, FIRST + DAY, "1d")
    (bar,) = chart_of(day, settings=settings, clock=lambda: NOW).series["candles"]
    assert "not all minutes" in bar["text"]


def test_minutes_that_may_still_change_are_marked(settings: LakeSettings) -> None:
    now = holed.END - timedelta(minutes=8)
    asked = Asked(UM_MINUTE, SYMBOL, holed.END - HOUR, holed.END)
    candles = chart_of(asked, settings=settings, clock=lambda: now).series["candles"]
    assert [bar.get("borderColor") for bar in candles].count(PROVISIONAL) == 11, "8 to come, and the lag of 3"


def test_panes_are_numbers_beside_the_price() -> None:
    found = panes_of(UM_MINUTE)
    assert {"mark_price_close", "funding_rate", "oi_contracts"} <= set(found)
    assert not {"open", "close", "timestamp", "has_depth"} & set(found)


def test_a_window_the_wrong_way_round_is_refused(settings: LakeSettings) -> None:
    with pytest.raises(SettingsError, match="no window"):
        chart_of(Asked(UM_MINUTE, SYMBOL, holed.END, FIRST), settings=settings, clock=lambda: NOW)


def test_the_calendar_has_the_worst_of_each_day(store: TableStore) -> None:
    expected = (FIRST, holed.END)
    states = partition_states(store, SYMBOL, FIRST - DAY, holed.END + DAY, expected=expected)
    assert states.height == 4 * 24
    assert states.filter(state=NO_PARTITION)["start"].to_list() == [holed.ABSENT, holed.EXPLAINED]
    assert set(states["state"]) == {NOT_EXPECTED, UNJUDGED, NO_PARTITION}
    days = day_states(states)
    assert days["state"].to_list() == [NOT_EXPECTED, NO_PARTITION, NO_PARTITION, NOT_EXPECTED]
    assert days["rows"].to_list() == [0, 23 * 60, 23 * 60, 0]
    both = calendar(store, [SYMBOL, "ETHUSDT"], FIRST, holed.END, expected=expected)
    assert both.height == 4
    assert set(both.filter(symbol="ETHUSDT")["state"]) == {NO_PARTITION}


def test_a_row_is_shown_from_every_side_that_has_it(store: TableStore) -> None:
    found = sides_of(store, SYMBOL, FIRST)
    assert found.columns == ["field", "the lake", "differs"]
    assert not found["differs"].any()
    assert found.filter(field="close")["the lake"][0] is not None
    assert sides_of(store, SYMBOL, holed.ABSENT).columns == ["field", "differs"]
