"""The rulepack R1 to R7 (case A-20): each rule reports exactly its row, and gaps, parity and emptiness count."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from lake_assets.validation.rule_report import overall, render
from lake_assets.validation.rulepack import BarColumns, RulepackResult, rulepack
from lake_resources.clock import MINUTE, SECOND
from lake_resources.known_hole import KnownHole

START = datetime(2026, 1, 1, tzinfo=UTC)
COLUMNS = BarColumns(time="ts", bid="bid", ask="ask", spread="spread")


def bars(count: int = 5, step: timedelta = SECOND) -> pl.DataFrame:
    """Clean bars at 100, 101, 102 …"""
    prices = [100.0 + n for n in range(count)]
    return pl.DataFrame(
        {
            "ts": [START + n * step for n in range(count)],
            "open": prices,
            "high": [p + 1 for p in prices],
            "low": [p - 1 for p in prices],
            "close": prices,
            "bid": [p - 0.05 for p in prices],
            "ask": [p + 0.05 for p in prices],
            "spread": [0.1] * count,
        }
    ).with_columns(pl.col("ts").cast(pl.Datetime("us", "UTC")))


def put(frame: pl.DataFrame, row: int, **values: object) -> pl.DataFrame:
    return frame.with_columns(
        pl.when(pl.int_range(pl.len()) == row).then(pl.lit(value)).otherwise(name).alias(name)
        for name, value in values.items()
    )


def judged(frame: pl.DataFrame, count: int = 5, step: timedelta = SECOND, **given: object) -> RulepackResult:
    columns = given.pop("columns", COLUMNS)
    return rulepack(frame, "BTCUSDT", START, START + count * step, step, columns=columns, **given)  # type: ignore[arg-type]


def broken(result: RulepackResult) -> dict[str, int]:
    return {rule.rule: rule.violations for rule in result.rules if rule.violations}


def test_a20_clean_bars_pass() -> None:
    result = judged(bars())
    assert (broken(result), result.verdict, result.rows) == ({}, "PASS", 5)
    assert [rule.checked for rule in result.rules] == [5, 5, 5, 5, 5, 5, 0]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"high": 99.0}, {"R1": 1}),
        ({"close": -1.0, "low": -2.0}, {"R2": 1}),
        ({"close": -1.0}, {"R1": 1, "R2": 1}),
        ({"ask": 99.0}, {"R3": 1}),
        ({"close": math.nan}, {"R1": 1, "R2": 1, "R4": 1}),
        ({"close": None}, {"R1": 1, "R2": 1, "R4": 1}),
        ({"high": math.inf}, {"R1": 1, "R2": 1, "R4": 1}),
        ({"spread": -0.5}, {"R6": 1}),
        ({"bid": 100.0, "ask": 105.0, "spread": 5.0}, {}),
        ({"bid": 97.5, "ask": 102.5, "spread": 5.0}, {"R6": 1}),
        ({"bid": None, "ask": 1.0, "spread": -1.0}, {}),
    ],
)
def test_a20_each_rule_reports_exactly_its_row(values: dict[str, float | None], expected: dict[str, int]) -> None:
    result = judged(put(bars(), 2, **values))
    assert broken(result) == expected
    for rule in result.rules:
        if rule.violations:
            assert rule.offenders["ts"].to_list() == [START + 2 * SECOND], rule.rule
    assert result.verdict == ("FAIL" if expected else "PASS")


def test_a20_a_gap_of_seconds() -> None:
    frame = bars(10).filter(~pl.col("ts").is_between(START + 3 * SECOND, START + 7 * SECOND))
    assert broken(judged(frame, 10)) == {"R5": 5}


def test_a20_five_missing_minutes_are_five_and_do_not_pass() -> None:
    frame = bars(10, MINUTE).filter(~pl.col("ts").is_between(START + 3 * MINUTE, START + 7 * MINUTE))
    result = judged(frame, 10, MINUTE)
    assert broken(result) == {"R5": 5}
    assert result.rules[4].offenders["ts"].to_list() == [START + n * MINUTE for n in range(3, 8)]
    assert result.verdict == "FAIL"


def test_few_missing_bars_ask_for_a_look() -> None:
    frame = bars(2000, MINUTE).filter(pl.col("ts") != START + 77 * MINUTE)
    assert judged(frame, 2000, MINUTE).verdict == "INVESTIGATE"
    exactly = bars(1000, MINUTE).filter(pl.col("ts") != START + 77 * MINUTE)
    assert judged(exactly, 1000, MINUTE).verdict == "FAIL", "exactly 0.1 % is too many"


def test_missing_bars_at_the_ends_count() -> None:
    frame = bars(10, MINUTE).slice(1, 8)
    assert broken(judged(frame, 10, MINUTE)) == {"R5": 2}


def test_a_known_hole_excuses_its_bars_and_no_others() -> None:
    frame = bars(10, MINUTE).filter(~pl.col("ts").is_between(START + 3 * MINUTE, START + 5 * MINUTE))
    hole = KnownHole("klines_1m", "*", START + 3 * MINUTE, START + 5 * MINUTE, "halt", "issue")
    result = judged(frame, 10, MINUTE, holes=[hole])
    assert broken(result) == {"R5": 1}
    assert result.rules[4].stats["excused"] == 2


def test_duplicates_and_bars_off_the_grid_fail() -> None:
    twice = pl.concat([bars(10, MINUTE), bars(10, MINUTE).slice(4, 1)])
    result = judged(twice, 10, MINUTE)
    assert (broken(result), result.rules[4].stats["duplicates"], result.verdict) == ({"R5": 1}, 1, "FAIL")
    shifted = put(bars(10, MINUTE), 4, ts=START + 4 * MINUTE + SECOND)
    assert judged(shifted, 10, MINUTE).rules[4].stats["off_grid"] == 1


def test_bars_that_all_stand_beside_the_grid_fail() -> None:
    """The grid is that of the clock, not that of the first bar."""
    shifted = bars(10, MINUTE).with_columns(pl.col("ts") + timedelta(seconds=30))
    half = START + timedelta(seconds=30)
    result = rulepack(shifted, "BTCUSDT", half, half + 10 * MINUTE, MINUTE, columns=COLUMNS)
    assert (result.rules[4].stats["off_grid"], result.rules[4].stats["missing"], result.verdict) == (10, 10, "FAIL")


@pytest.mark.parametrize("days", [1, 3, 7])
def test_bars_of_days_begin_at_midnight(days: int) -> None:
    step = timedelta(days=days)
    first = START + timedelta(days=1)
    frame = bars(5, step).with_columns(pl.col("ts") + timedelta(days=1))
    assert rulepack(frame, "BTCUSDT", first, first + 5 * step, step, columns=COLUMNS).verdict == "PASS"
    late = frame.with_columns(pl.col("ts") + timedelta(hours=1))
    assert rulepack(late, "BTCUSDT", first, first + 5 * step, step, columns=COLUMNS).verdict == "FAIL"


def test_rows_without_a_time_count_and_fail() -> None:
    result = judged(pl.concat([bars(), put(bars(1), 0, ts=None)]))
    assert (broken(result), result.rules[4].stats["no_time"], result.verdict) == ({"R5": 1}, 1, "FAIL")
    assert judged(bars().with_columns(pl.lit(None, pl.Datetime("us", "UTC")).alias("ts"))).verdict == "FAIL"


def test_few_wide_spreads_ask_for_a_look_and_negative_ones_fail() -> None:
    wide = put(bars(2000, MINUTE), 5, bid=50.0, ask=150.0, spread=100.0)
    assert judged(wide, 2000, MINUTE).verdict == "INVESTIGATE"
    assert judged(put(bars(2000, MINUTE), 5, spread=-0.5), 2000, MINUTE).verdict == "FAIL"


def klines(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.select(pl.col("ts").alias("timestamp"), "open", "high", "low", "close")


def test_a20_parity_counts_in_the_verdict() -> None:
    frame = bars(1000, MINUTE)
    same = judged(frame, 1000, MINUTE, reference=klines(frame))
    assert (broken(same), same.rules[6].checked, same.verdict) == ({}, 1000, "PASS")
    other = klines(frame).with_columns(pl.col("close") + 0.5)
    result = judged(frame, 1000, MINUTE, reference=other)
    assert (broken(result), result.verdict) == ({"R7": 1000}, "FAIL")
    assert result.rules[6].offenders.height == 25


def test_parity_is_relative() -> None:
    """An absolute 0.0001 is nothing on a price of 100,000 and 10 % of a price of 0.001."""
    tiny = bars(3, MINUTE).with_columns(pl.col("open", "high", "low", "close", "bid", "ask", "spread") * 1e-5)
    other = klines(tiny).with_columns(pl.col("high") + 5e-5)
    assert broken(judged(tiny, 3, MINUTE, reference=other)) == {"R7": 3}
    rounded = klines(tiny).with_columns(pl.col("high") * (1 + 1e-12))
    assert broken(judged(tiny, 3, MINUTE, reference=rounded)) == {}


def test_rows_that_only_one_side_has_are_told() -> None:
    frame = bars(10, MINUTE)
    result = judged(frame.head(8), 10, MINUTE, reference=klines(frame).tail(9))
    assert result.rules[6].stats == {"only_bars": 1, "only_klines": 2}


def test_bars_without_klines_are_not_proven_equal() -> None:
    frame = bars(1000, MINUTE)
    none = judged(frame, 1000, MINUTE, reference=klines(frame).clear())
    assert (broken(none), none.rules[6].checked, none.verdict) == ({}, 0, "FAIL")
    page = render([none], timeframe="1m", source="bars", generated=START)
    assert "R7: 1,000 of 1,000 bars of BTCUSDT have no klines to compare with" in page
    assert page.rstrip().endswith("detected.")
    assert "⚠️ **NOT CHECKED**" in page
    some = judged(frame, 1000, MINUTE, reference=klines(frame).tail(999))
    assert (some.rules[6].checked, some.verdict) == (999, "INVESTIGATE")
    assert judged(frame, 1000, MINUTE).verdict == "PASS", "bars of others have no klines that are due"


def test_a20_no_rows_fail() -> None:
    result = judged(bars().clear())
    assert (result.rows, result.verdict) == (0, "FAIL")
    assert overall([]) == "FAIL"
    assert "🚫 **FAIL**" in render([result], timeframe="1s", source="bars", generated=START)


def test_bars_without_quotes() -> None:
    plain = BarColumns(time="ts")
    result = judged(bars().drop("bid", "ask", "spread"), columns=plain)
    assert (result.verdict, result.rules[2].checked, result.rules[5].checked) == ("PASS", 0, 0)


def test_the_report_has_the_old_headings_and_the_offenders() -> None:
    good, bad = judged(bars()), judged(put(bars(), 2, high=99.0))
    page = render([good, bad], timeframe="1s", source="bars", generated=START)
    for text in (
        "# Data Quality Validation Report",
        "**Generated**: 2026-01-01 00:00:00 UTC",
        "## Run Metadata",
        "- **Total Rows Checked**: 10",
        "| Rule | Description | Total Checked | Violations | % Violated |",
        "| R1 | OHLC ordering: low ≤ open, close ≤ high | 5 | 1 | 20.00 |",
        "❌ **1 violations detected**",
        "✅ **PASS**",
        "2026-01-01 00:00:02",
        "## Overall Assessment",
        "🚫 **FAIL** - Significant data quality issues detected.",
    ):
        assert text in page, text
    clean = render([good], timeframe="1s", source="bars", generated=START)
    assert clean.endswith("✅ **PASS** - All validation rules passed successfully.\n")
