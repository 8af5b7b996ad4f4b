"""Names of slices and their lattice: the fixtures of the format, and what it refuses."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake_assets.slices.expected import compute_expected_slices, compute_missing_slices, generate_kline_slices
from lake_assets.slices.keys import LIMIT, SliceKey, interval_ms, lattice, parse_key
from lake_resources.errors import SettingsError

KEY = SliceKey("BTCUSDT", "1m", 1609459200000)


def test_the_id_is_the_blake2b_of_the_key_without_its_end() -> None:
    assert KEY.composite == "BTCUSDT:1m:1609459200000:1000"
    assert KEY.slice_id == "23ac13355f36198c8199b2e9defceb97"
    assert KEY.actual(1609519199999) == "BTCUSDT:1m:1609459200000-1609519199999"


def test_windows_do_not_overlap_and_the_last_is_cut() -> None:
    assert list(generate_kline_slices("1m", 0, 60_000 * 2_500 - 1)) == [
        (0, 59_999_999),
        (60_000_000, 119_999_999),
        (120_000_000, 149_999_999),
    ]


def test_a_range_that_ends_before_it_starts_is_an_error() -> None:
    with pytest.raises(ValueError, match="ends before it starts"):
        list(generate_kline_slices("1m", 10, 9))


@pytest.mark.parametrize("text", ["", "m", "0m", "-1m", "1.5m", "1x", "m1", "１m"])
def test_only_intervals_are_intervals(text: str) -> None:
    with pytest.raises(SettingsError, match="no interval"):
        interval_ms(text)


@given(first=st.integers(0, 10**13), length=st.integers(1, 10**8), span=st.integers(10**5, 10**8))
def test_windows_cover_the_range_exactly(first: int, length: int, span: int) -> None:
    windows = list(lattice(first, first + length - 1, span))
    assert windows[0][0] == first
    assert windows[-1][1] == first + length - 1
    assert all(end + 1 == start for (_, end), (start, _) in itertools.pairwise(windows))
    assert all(end - start < span for start, end in windows)


@given(st.sampled_from(["BTCUSDT", "币安人生USDT"]), st.integers(0, 10**13), st.integers(1, 1000))
def test_a_key_is_read_back_from_its_text(symbol: str, start: int, limit: int) -> None:
    key = SliceKey(symbol, "1s", start, limit)
    assert parse_key(key.composite) == key


@pytest.mark.parametrize("text", ["", "A:1m:1", "A:1m:x:1000", ":1m:1:1000", "A:1m:1:1000:2", "A:1m:-1:1000"])
def test_other_texts_are_no_keys(text: str) -> None:
    with pytest.raises(ValueError, match="no key"):
        parse_key(text)


def test_the_missing_slices_are_those_that_are_not_ok() -> None:
    expected = list(compute_expected_slices("BTCUSDT", "1m", 0, 60_000 * LIMIT * 4 - 1))
    known = {expected[0].composite: "ok", expected[1].composite: "failed", expected[2].composite: "pending"}
    assert list(compute_missing_slices(expected, known)) == expected[1:]
