"""What the dashboard draws of a lake with planted holes: holes as holes, marks, no point that nobody has."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from lake_assets.at_rest import TableStore, store_of
from lake_assets.dashboard.chart_series import (
    DOUBTED,
    HOLE,
    PROVISIONAL,
    REVISED,
    AskedChart,
    Chart,
    chart_of,
    fitting,
    panes_of,
)
from lake_assets.dashboard.chart_series import EXPLAINED as GREY
from lake_assets.dashboard.minute_sides import sides_of
from lake_assets.dashboard.quality_days import ABSENT as NO_PARTITION
from lake_assets.dashboard.quality_days import NOT_EXPECTED, UNJUDGED, calendar, day_states, partition_states
from lake_assets.tables.um_minute import UM_MINUTE
from lake_assets.transforms.rollup import Timeframe
from lake_resources.clock import DAY, HOUR
from lake_resources.errors import SettingsError
from lake_resources.settings import LakeSettings
from lake_resources.storage.ledger.parity_rows import NewVerdict
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


def times(chart: Chart) -> list[int]:
    """Start of each bar that nobody has, epoch seconds."""
    return [band.time + number * chart.step for band in chart.bands for number in range(band.count)]


def marked(chart: Chart) -> dict[int, tuple[str, str]]:
    """Color and text of the bars that are not simply proven."""
    return {time: chart.marks[mark] for time, mark in chart.bars.select("time", "mark").iter_rows() if mark}


def test_a_window_opens_in_bars_that_fit() -> None:
    assert [fitting(UM_MINUTE, FIRST, FIRST + length) for length in (DAY, 8 * DAY, 365 * DAY, 9999 * DAY)] == [
        "1m", "5m", "1h", "1d",
    ]  # fmt: skip
    assert fitting(UM_MINUTE, FIRST, FIRST + DAY, 100) == "15m"


def test_holes_are_drawn_as_holes(settings: LakeSettings) -> None:
    chart = chart_of(AskedChart(UM_MINUTE, SYMBOL, FIRST, holed.END), settings=settings, clock=lambda: NOW)
    assert chart.timeframe == "1m"
    assert (chart.bars.height, len(times(chart))) == (46 * 60, 2 * 60)
    assert not {*chart.bars["time"]} & {*times(chart)}
    assert len({*chart.bars["time"], *times(chart)}) == holed.HOURS * 60
    absent, explained = chart.bands
    assert (absent.time, absent.count, absent.color) == (holed.ABSENT.timestamp(), 60, HOLE)
    assert (explained.time, explained.count) == (holed.EXPLAINED.timestamp(), 60)
    assert (explained.color, explained.text) == (GREY, "the exchange halted")
    assert {time: color for time, (color, _) in marked(chart).items()} == {holed.REVISED.timestamp(): REVISED}
    rows = chart.frame.filter(pl.col("timestamp") == holed.REVISED)
    bar = chart.bars.filter(time=int(holed.REVISED.timestamp()))
    assert bar.select("open", "high", "low", "close").row(0) == rows.select(UM_MINUTE.prices).row(0)
    assert bar["volume"].to_list() == rows["volume_btc"].to_list()


def test_longer_bars_tell_that_minutes_are_not_there(settings: LakeSettings) -> None:
    start = holed.ABSENT - timedelta(hours=1)
    asked = AskedChart(UM_MINUTE, SYMBOL, start, start + 3 * HOUR, "1h", panes=("mark_price_close", "no_such"))
    chart = chart_of(asked, settings=settings, clock=lambda: NOW)
    assert chart.bars["time"].to_list() == [start.timestamp(), (start + 2 * HOUR).timestamp()]
    assert times(chart) == [holed.ABSENT.timestamp()]
    assert chart.panes == ("mark_price_close",)
    assert chart.bars["mark_price_close"].null_count() == 0
    day = AskedChart(UM_MINUTE, SYMBOL, FIRST, FIRST + DAY, "1d")
    ((_, text),) = marked(chart_of(day, settings=settings, clock=lambda: NOW)).values()
    assert "not all minutes" in text


def test_minutes_that_may_still_change_are_marked(settings: LakeSettings) -> None:
    now = holed.END - timedelta(minutes=8)
    asked = AskedChart(UM_MINUTE, SYMBOL, holed.END - HOUR, holed.END)
    found = marked(chart_of(asked, settings=settings, clock=lambda: now))
    assert [color for color, _ in found.values()].count(PROVISIONAL) == 11, "8 to come, and the lag of 3"


def test_a_chosen_length_has_no_more_bars_than_a_browser_draws(settings: LakeSettings) -> None:
    asked = AskedChart(UM_MINUTE, SYMBOL, FIRST, FIRST + 100 * DAY, "1m")
    assert chart_of(asked, settings=settings, clock=lambda: NOW).timeframe == "15m"


def test_doubts_of_the_ledger_mark_their_bars(tmp_path: Path) -> None:
    lake = holed.holed_lake(tmp_path / "lake").settings
    store = store_of(lake)
    hour = FIRST + 5 * HOUR
    store.ledger.set_verdicts(SYMBOL, [NewVerdict(hour, "unproven", None)])
    store.close()
    lengths: dict[Timeframe, int] = {"1m": 60, "1h": 1, "1d": 1}
    open_hour = FIRST + 9 * HOUR
    for timeframe, bars in lengths.items():
        asked = AskedChart(UM_MINUTE, SYMBOL, FIRST, FIRST + DAY, timeframe)
        found = marked(chart_of(asked, settings=lake, clock=lambda: NOW))
        assert sum(color == DOUBTED and "unproven" in text for color, text in found.values()) == bars
    store = store_of(lake)
    store.ledger.set_verdicts(SYMBOL, [NewVerdict(open_hour, "provisional", None)])
    store.close()
    for timeframe, bars in lengths.items():
        asked = AskedChart(UM_MINUTE, SYMBOL, FIRST, FIRST + DAY, timeframe)
        found = marked(chart_of(asked, settings=lake, clock=lambda: NOW))
        assert [color for color, _ in found.values()].count(PROVISIONAL) == bars, "an hour that was left open"
        first = min(time for time, (color, _) in found.items() if color == PROVISIONAL)
        assert first == (open_hour if timeframe != "1d" else FIRST).timestamp()


def test_columns_are_packed_as_the_component_reads_them(settings: LakeSettings) -> None:
    start = holed.ABSENT - HOUR
    asked = AskedChart(UM_MINUTE, SYMBOL, start, start + 3 * HOUR, panes=("mark_price_close", "funding_rate"))
    chart = chart_of(asked, settings=settings, clock=lambda: NOW)
    # It imports Streamlit: seconds of work, which only the worker that has this file need do.
    from lake_assets.dashboard.chart_view import packed

    meta, data = packed(chart)
    assert len(data) == 8 * meta["count"] * len(meta["columns"])
    numbers = struct.unpack(f"<{len(data) // 8}d", data)
    columns = {name: numbers[at * meta["count"] : (at + 1) * meta["count"]] for at, name in enumerate(meta["columns"])}
    assert list(columns["time"]) == chart.bars["time"].to_list()
    assert list(columns["close"]) == chart.frame["close"].to_list()
    assert all(math.isnan(value) for value in columns["funding_rate"]), "nobody knows it: a break in the line"
    assert meta["panes"] == ["mark_price_close", "funding_rate"]


def test_panes_are_numbers_beside_the_price() -> None:
    found = panes_of(UM_MINUTE)
    assert {"mark_price_close", "funding_rate", "oi_contracts"} <= set(found)
    assert not {"open", "close", "timestamp", "has_depth"} & set(found)


def test_a_window_the_wrong_way_round_is_refused(settings: LakeSettings) -> None:
    with pytest.raises(SettingsError, match="no window"):
        chart_of(AskedChart(UM_MINUTE, SYMBOL, holed.END, FIRST), settings=settings, clock=lambda: NOW)


def test_the_calendar_has_the_worst_of_each_day(store: TableStore) -> None:
    expected = (FIRST, holed.END)
    states = partition_states(store, SYMBOL, FIRST - DAY, holed.END + DAY, expected=expected)
    assert states.height == 4 * 24
    assert states.filter(state=NO_PARTITION)["start"].to_list() == [holed.ABSENT]
    assert states.filter(state="explained").select("start", "reason").rows() == [
        (holed.EXPLAINED, "the exchange halted")
    ]
    assert set(states["state"]) == {NOT_EXPECTED, UNJUDGED, NO_PARTITION, "explained"}
    days = day_states(states)
    assert days["state"].to_list() == [NOT_EXPECTED, NO_PARTITION, UNJUDGED, NOT_EXPECTED]
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
