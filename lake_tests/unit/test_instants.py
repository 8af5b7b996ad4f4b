"""Every form in which people write an instant, and what they write that is none."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, date, datetime, timedelta

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from lake_assets.cli.commands_slices import _counted, _position
from lake_resources.errors import SettingsError
from lake_resources.instants import parse_day, parse_end, parse_instant, parse_minute, parse_whole_minute
from lake_resources.storage.ledger.slice_rows import SliceSet

DAY = datetime(2021, 2, 15, tzinfo=UTC)
HALF_PAST = DAY + timedelta(hours=10, minutes=30)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2021-02-15", DAY),
        ("20210215", DAY),
        ("2021-W07-1", DAY),
        ("2021W071", DAY),
        ("2021-046", DAY),
        ("2021046", DAY),
        ("2021-046T00:00Z", DAY),
        ("2021046T000000+00", DAY),
        ("2021-02-14T24.0Z", DAY),
        ("2021-02-15T10.5", HALF_PAST),
        ("2021-02-15T10:29,999999999999999Z", HALF_PAST),
        ("20210215T1030.0+0000", HALF_PAST),
        (" 2021-02-15 ", DAY),
        ("2021-02-15T00", DAY),
        ("2021-02-15T00:00", DAY),
        ("2021-02-15 00:00", DAY),
        ("2021-02-15T00:00:00", DAY),
        ("2021-02-15T00:00:00+00:00", DAY),
        ("2021-02-15T00:00:00-00:00", DAY),
        ("2021-02-15T00:00Z", DAY),
        ("2021-02-15t00:00z", DAY),
        ("2021-02-15 00:00:00Z", DAY),
        ("20210215T000000Z", DAY),
        ("20210215T0000+0000", DAY),
        ("2021-02-14T24:00", DAY),
        ("20210214T2400Z", DAY),
        ("2021-02-15T02:00+02:00", DAY),
        ("2021-02-14T24:00:00-00:00", DAY),
        ("2021-02-14T23:59:60Z", DAY),
        ("20210215T015960+0200", DAY),
        ("2021-02-14T22:30:00\N{MINUS SIGN}01:30", DAY),
        ("2021-02-15T16:00+0530", HALF_PAST),
        ("2021-02-15T10:30:00.000", HALF_PAST),
        ("2021-02-15T10:30:00,000000Z", HALF_PAST),
        ("2021-02-15 12:30:00+02", HALF_PAST),
        ("1970-01-01T00:00:00Z", datetime(1970, 1, 1, tzinfo=UTC)),
    ],
)
def test_any_iso_8601_form_is_that_instant(text: str, meant: datetime) -> None:
    found = parse_instant(text)
    assert found == meant
    assert found.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "now",
        "banana",
        "2021",
        "2021-02",
        "2021-2-15",
        "15.02.2021",
        "02/15/2021",
        "2021-02-30",
        "2021-366",
        "2021-000",
        "2021-02-15T10:30.",
        "2021-02-15T24.5",
        "2021-13-01",
        "2021-02-15x00:00",
        "2021-02-15T25:00",
        "2021-02-15T24:01",
        "2021-02-15T12:59:60Z",
        "2021-02-15T23:59:61Z",
        "2021-02-15T00:60",
        "2021-02-15T00:00+25:00",
        "T00:00",
        "1613347200",
        "2021-02-15T00:00 UTC",
        "2021-02-15T",
        "２０２１-02-15",
        "1969-12-31T23:59",
        "2262-01-01",
        "9999-12-31",
        "0001-01-01T00:00+14:00",
        "[/x]",
        "2021-02-15T00:00:00+00:00\x00",
    ],
)
def test_what_is_none_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(SettingsError, match="ISO 8601, e\\.g\\. 2024-01-31") as caught:
        parse_instant(text)
    assert "\n" not in str(caught.value)


@given(st.datetimes(datetime(1971, 1, 1), datetime(2198, 1, 1), timezones=st.timezones(), allow_imaginary=False))  # noqa: DTZ001 - bounds
def test_what_python_prints_is_read_back(at: datetime) -> None:
    assert parse_instant(at.isoformat()) == at.astimezone(UTC)
    assert parse_instant(at.isoformat(sep=" ")) == at.astimezone(UTC)


@given(st.text(max_size=40))
def test_no_text_ends_in_another_error(text: str) -> None:
    with suppress(SettingsError):
        assert parse_instant(text).tzinfo is UTC


def test_a_range_of_seconds_becomes_the_minutes_that_hold_it() -> None:
    assert parse_minute("2021-02-15T10:30:59.9") == HALF_PAST
    assert parse_end("2021-02-15T10:29:00.1") == HALF_PAST
    assert parse_end("2021-02-15T10:30:00") == HALF_PAST
    assert parse_whole_minute("2021-02-15T10:30:00.000Z") == HALF_PAST
    with pytest.raises(SettingsError, match="no whole minute"):
        parse_whole_minute("2021-02-15T10:30:01Z")


def test_a_day_is_the_utc_day_that_holds_the_instant() -> None:
    assert parse_day("2021-02-15") == date(2021, 2, 15)
    assert parse_day("2021-02-15T23:30-02:00") == date(2021, 2, 16)


def test_slices_begin_at_an_instant_or_at_a_number() -> None:
    time, ids = (SliceSet(name, "BTCUSDT", interval) for name, interval in (("klines", "1m"), ("aggTrades", "id")))
    ms = 1_613_347_200_000
    assert [_counted(_position(text), time) for text in ("2021-02-15T00:00Z", str(ms), "0")] == [ms, ms, 0]
    assert [_counted(_position(text), time) for text in ("20210215", "2021046")] == [ms, ms], "a date without hyphens"
    assert [_counted(_position(text), ids) for text in ("26129", "20210215")] == [26_129, 20_210_215]
    with pytest.raises(SettingsError, match="aggTrades are counted by ids"):
        _counted(_position("2021-02-15"), ids)
    with pytest.raises(typer.BadParameter, match="'-1' is no instant"):
        _position("-1")
