"""Spans in which no socket of a route was heard."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from lake_resources.collector.journal import ConnectionRow
from lake_resources.collector.outages import Outage, outages

AT = datetime(2026, 2, 15, tzinfo=UTC)
S = timedelta(seconds=1)


def row(opened: int, last: int | None, closed: int | None, route: str = "market") -> ConnectionRow:
    seconds = [None if at is None else AT + at * S for at in (last, closed)]
    return ConnectionRow(opened, route, AT + opened * S, last_frame_at=seconds[0], closed_at=seconds[1])


def spans(*rows: ConnectionRow, start: int = 0, end: int = 1000, now: int = 2000) -> list[tuple[float, float]]:
    found = outages(rows, "market", AT + start * S, AT + end * S, AT + now * S)
    assert all(isinstance(each, Outage) and each.route == "market" for each in found)
    return [((each.start - AT) / S, (each.end - AT) / S) for each in found]


def test_between_the_last_frame_and_the_next_opening() -> None:
    assert spans(row(-5, 300, 310), row(311, 1000, 1200)) == [(300, 311)]


def test_a_second_outage_begins_where_it_begins() -> None:
    assert spans(row(0, 100, 101), row(110, 300, 301), row(330, 1000, 1001)) == [(100, 110), (300, 330)]


def test_at_the_edges_and_without_any_connection() -> None:
    assert spans(row(10, 990, 991)) == [(0, 10), (990, 1000)]
    assert spans() == [(0, 1000)]
    assert spans(row(0, 1000, 1001, "public")) == [(0, 1000)]


def test_one_that_was_never_heard_fills_nothing() -> None:
    assert spans(row(0, 400, 401), row(410, None, 420), row(500, 1000, 1001)) == [(400, 410), (410, 500)]


def test_two_that_overlap_leave_no_span() -> None:
    assert spans(row(0, 500, 501), row(490, 1000, 1001)) == []


def test_an_open_one_counts_while_its_notes_are_fresh() -> None:
    assert spans(row(0, 900, None), end=5000, now=960) == []
    assert spans(row(0, 900, None), end=5000, now=1100) == [(900, 1100)]
    assert spans(row(950, None, None), start=940, end=5000, now=960) == [(940, 950)]


@given(
    st.lists(st.tuples(st.integers(0, 50), st.none() | st.integers(0, 50)), max_size=6),
    st.integers(0, 50),
    st.integers(0, 50),
)
def test_they_are_the_seconds_that_no_connection_has(
    given_rows: list[tuple[int, int | None]], one: int, other: int
) -> None:
    start, end = sorted((one, other))
    rows = [row(opened, None if length is None else opened + length, 200) for opened, length in given_rows]
    heard = {second for opened, length in given_rows for second in range(opened, opened + (length or 0))}
    silent = [second for low, high in spans(*rows, start=start, end=end) for second in range(int(low), int(high))]

    assert silent == sorted(set(range(start, end)) - heard)
