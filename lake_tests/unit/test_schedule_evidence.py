"""Rows that the clock makes due: instants of a grid, each once, and settlements by the interval before and after."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from lake_assets.inputs.row_evidence import lacking_hours
from lake_assets.tables.um_minute import UM_MINUTE
from lake_resources.clock import HOUR
from lake_resources.storage.ledger.ledger import Listing

START = datetime(2026, 11, 18, 8, tzinfo=UTC)
NOW = START + 48 * HOUR
FUNDING = UM_MINUTE.uses["funding_rate"]


def minutes(*absent: int, twice: int | None = None) -> pl.DataFrame:
    at = [START + n * timedelta(minutes=1) for n in range(60) if n not in absent]
    at += [] if twice is None else [START + twice * timedelta(minutes=1)]
    return pl.DataFrame({"open_time": at}, schema={"open_time": pl.Datetime("us", "UTC")})


def test_a_grid_is_counted_in_instants_and_not_in_rows() -> None:
    use = UM_MINUTE.uses["premium_index_klines_1m"]
    assert lacking_hours(use, minutes(), [START], NOW) == {}
    found = lacking_hours(use, minutes(30, twice=7), [START], NOW)
    assert found == {START: "premium_index_klines_1m: 59 of 60 rows of the hour 2026-11-18 08:00"}
    assert lacking_hours(use, minutes(30), [START], START + HOUR) == {}, "it has not settled"


def settled(*rows: tuple[float, int | None]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "calc_time": [START + hours * HOUR + timedelta(milliseconds=2) for hours, _ in rows],
            "funding_interval_hours": [interval for _, interval in rows],
        },
        schema={"calc_time": pl.Datetime("us", "UTC"), "funding_interval_hours": pl.Int64()},
    )


@pytest.mark.parametrize(
    "rows",
    [
        settled((-8, 8), (0, 8), (8, 8)),
        settled((-8, None), (0, None), (8, None)),
        settled((-1, 1), (0, 1), (4, 4)),
        settled((-4, 4), (0, 4), (8, 8)),
        settled((-1, 1), (0, 1), (8, 8)),
        settled((-1, None), (0, None), (4, None), (8, None)),
    ],
)
def test_a_schedule_that_is_kept_or_lengthened_lacks_nothing(rows: pl.DataFrame) -> None:
    assert lacking_hours(FUNDING, rows, [START + n * HOUR for n in range(4)], NOW) == {}


@pytest.mark.parametrize(
    ("rows", "first", "last"),
    [
        (settled((-8, 8), (8, 8)), 0, 3),
        (settled((-16, None), (-8, None), (8, None), (16, None)), 0, 3),
        (settled((-1, 1), (0, 1), (2, 1), (3, 1)), 1, 1),
        (settled((-10, 8), (-2, 8)), 6, 9),
    ],
)
def test_a_settlement_that_nobody_has_is_named_until_the_next(rows: pl.DataFrame, first: int, last: int) -> None:
    hours = [START + n * HOUR for n in range(max(4, last + 1))]
    found = lacking_hours(FUNDING, rows, hours, NOW)
    assert list(found) == hours[first : last + 1]
    assert all(f"no settlement at {START + first * HOUR:%Y-%m-%d %H:%M}" in text for text in found.values())


def test_before_a_listing_nothing_is_due_and_after_it_what_the_first_settlement_says() -> None:
    hours, listing = [START + n * HOUR for n in range(9)], Listing("NEW", START + HOUR, None)
    first_of_4h = settled((8, 4), (12, 4))
    found = lacking_hours(FUNDING, first_of_4h, hours, NOW, listing)
    assert list(found) == hours[4:8], "one at 12:00 was due, four hours before the first that is known"
    assert lacking_hours(FUNDING, settled((4, 4), (8, 4)), hours, NOW, listing) == {}
    assert lacking_hours(FUNDING, settled((8, 8), (16, 8)), hours, NOW, listing) == {}
    use = UM_MINUTE.uses["premium_index_klines_1m"]
    late = Listing("NEW", START + timedelta(minutes=20), START + timedelta(minutes=50))
    assert lacking_hours(use, minutes(*range(20), *range(50, 60)), [START], NOW, late) == {}
    assert lacking_hours(use, minutes(*range(25)), [START], NOW, late) == {
        START: "premium_index_klines_1m: 25 of 30 rows of the hour 2026-11-18 08:00"
    }
