"""The 1H feed over random tables and answers: what is appended is new, equal and in order; nothing else is."""

from __future__ import annotations

import math
from datetime import datetime
from itertools import pairwise

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from lake_assets.feed_1h.bars import BAR_SCHEMA, Values
from lake_assets.feed_1h.history import audit, continuity, running_hashes
from lake_assets.feed_1h.window import BarsAnswer, judge_hours
from lake_resources.clock import HOUR
from lake_resources.storage.bars_duckdb import CHAIN_SCHEMA, ROW_SCHEMA
from lake_tests.bench.feed_1h import at

prices = st.floats(min_value=0.0001, max_value=1e7, allow_nan=False)


@st.composite
def bar(draw: st.DrawFn) -> Values:
    low, middle, other, high = sorted(draw(st.lists(prices, min_size=4, max_size=4)))
    return (middle, high, low, other, draw(st.floats(min_value=0, max_value=1e9)))


def answer(bars: dict[int, Values]) -> BarsAnswer:
    return BarsAnswer({at(hour): values for hour, values in bars.items()}, {}, frozenset(), at(100))


def series(count: int) -> st.SearchStrategy[list[Values]]:
    return st.lists(bar(), min_size=count, max_size=count)


@given(series(12), st.integers(2, 8), st.data())
def test_one_changed_value_in_the_window_refuses_the_hour(
    bars: list[Values], n_recent: int, data: st.DataObject
) -> None:
    table = {at(hour): values for hour, values in enumerate(bars[:11])}
    said = dict(enumerate(bars))
    hour = data.draw(st.integers(0, 10))
    column = data.draw(st.integers(0, 4))
    changed = list(said[hour])
    changed[column] = math.nextafter(changed[column] or 0.0, math.inf)
    said[hour] = tuple(changed)
    (verdict,) = judge_hours(answer(said), table, [at(11)], n_recent)
    seen = hour > 11 - n_recent
    assert (verdict.status == "refused") == seen
    if seen:
        (difference,) = verdict.differences
        assert (difference.hour, difference.table_value, difference.exchange_value) == (
            at(hour), bars[hour][column], changed[column],
        )  # fmt: skip
    else:
        assert verdict.validated == min(n_recent - 1, 11)


@given(series(14), st.sets(st.integers(0, 13)), st.sets(st.integers(0, 13)), st.integers(2, 6))
def test_a_continuous_table_stays_continuous_whatever_comes(
    bars: list[Values], missing: set[int], stored: set[int], n_recent: int
) -> None:
    first, last = (min(stored), max(stored)) if stored else (0, -1)
    table: dict[datetime, Values] = {at(hour): bars[hour] for hour in range(first, last + 1)}
    said = {hour: values for hour, values in enumerate(bars) if hour not in missing}
    hours = [at(hour) for hour in range(14)]
    verdicts = judge_hours(answer(said), table, hours, n_recent)
    appended = [verdict.hour for verdict in verdicts if verdict.status == "append"]
    assert all(hour not in table and (not table or hour > at(last)) for hour in appended)
    grown = sorted([*table, *appended])
    assert all(after - before == HOUR for before, after in pairwise(grown))
    assert {verdict.hour for verdict in verdicts if verdict.status == "present"} <= set(table)


@settings(max_examples=60)
@given(st.sets(st.integers(0, 40), max_size=30))
def test_continuity_counts_what_a_set_of_hours_lacks(hours: set[int]) -> None:
    rows = pl.DataFrame([(at(hour), 1.0, 1.0, 1.0, 1.0, 0.0) for hour in hours], schema=BAR_SCHEMA, orient="row")
    found = continuity(rows, at(40), 41)
    between = set(range(min(hours), max(hours) + 1)) if hours else set()
    assert (found.hours, found.missing, found.duplicates) == (len(hours), len(between - hours), 0)
    assert found.sound == (between == hours)


@given(series(8), st.integers(0, 7), st.integers(0, 4), st.integers(0, 8))
def test_the_running_hash_finds_any_changed_value(bars: list[Values], row: int, column: int, cut: int) -> None:
    def frame(values: list[Values]) -> pl.DataFrame:
        rows = [(at(hour), *found, at(hour + 1)) for hour, found in enumerate(values)]
        return pl.DataFrame(rows, schema=ROW_SCHEMA, orient="row")

    whole = frame(bars)
    first = running_hashes(whole[:cut], None)
    hashes = first + running_hashes(whole[cut:], first[-1] if first else None)
    chain = pl.DataFrame({"timestamp": whole["timestamp"], "running_hash": hashes}, schema=CHAIN_SCHEMA)
    assert audit(whole, chain).changed == ()
    changed = list(bars[row])
    changed[column] = math.nextafter(changed[column] or 0.0, math.inf)
    assert audit(frame([*bars[:row], tuple(changed), *bars[row + 1 :]]), chain).changed == (at(row),)
