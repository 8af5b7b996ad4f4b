"""Continuity, the running hash and the inference window of the 1H table."""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest

from lake_assets.feed_1h.bars import BAR_COLUMNS
from lake_assets.feed_1h.history import (
    Continuity,
    audit,
    continuity,
    inference_bars,
    inference_problem,
    running_hashes,
    unsound_rows,
)
from lake_assets.feed_1h.outcomes import TableFindings
from lake_resources.bar_values import VALUE_COLUMNS
from lake_resources.clock import HOUR
from lake_resources.storage.bars_duckdb import CHAIN_SCHEMA, ROW_SCHEMA
from lake_tests.bench.feed_1h import at, long_bars

HOURS = 726


def rows(count: int) -> pl.DataFrame:
    """`count` sound rows of the table that end with 13:00."""
    bars = long_bars(at(13), count)
    built = [(hour, *(float(text) for text in bar), hour + HOUR) for hour, bar in bars.items()]
    return pl.DataFrame(built, schema=ROW_SCHEMA, orient="row")


def chain(frame: pl.DataFrame) -> pl.DataFrame:
    hashes = running_hashes(frame, None)
    return pl.DataFrame({"timestamp": frame["timestamp"], "running_hash": hashes}, schema=CHAIN_SCHEMA)


def changed_at(frame: pl.DataFrame, back: int, column: str, value: object) -> pl.DataFrame:
    hit = pl.col("timestamp") == at(13 - back)
    return frame.with_columns(pl.when(hit).then(pl.lit(value)).otherwise(pl.col(column)).alias(column))


def test_a_whole_history_is_continuous() -> None:
    found = continuity(rows(800), at(13), HOURS)
    assert (found.hours, found.sound, found.first_bad) == (HOURS, True, None)


@pytest.mark.parametrize(
    "fault", ["none", "gap", "doubled", "off the hour", "no number", "contradiction", "young", "empty"]
)
def test_a_run_of_many_hours_finds_of_each_what_a_look_at_it_alone_finds(fault: str) -> None:
    table, history = rows({"young": 3, "empty": 0}.get(fault, 60)), 24
    hit = pl.col("timestamp") == at(13 - 30)
    match fault:
        case "gap":
            table = table.filter(~hit)
        case "doubled":
            table = pl.concat([table, table.filter(hit)]).sort("timestamp")
        case "off the hour":
            table = changed_at(table, 30, "timestamp", at(13 - 30) + timedelta(minutes=7))
        case "no number":
            table = changed_at(table, 30, "close", float("nan"))
        case "contradiction":
            table = changed_at(table, 30, "high", 1.0)
    found, seen, unsound = TableFindings(table, None, history), set(), 0
    for hour in (at(13 - back) for back in range(-2, 70)):
        upto = table.filter(pl.col("timestamp") <= hour)["timestamp"].max()
        wanted = continuity(table, upto if upto is not None else hour, history)  # type: ignore[arg-type]
        assert found.continuity_upto(hour) == wanted
        seen.add(wanted)
        since = hour - (history - 1) * HOUR
        bad = unsound_rows(table, hour, history)
        assert [each for each in found.unsound if since <= each[0] <= hour] == bad
        unsound += len(bad)
    assert all(isinstance(each, Continuity) for each in seen)
    assert any(not each.sound for each in seen) == (fault in {"gap", "doubled", "off the hour", "no number"})
    assert (unsound > 0) == (fault in {"contradiction", "no number"})


def test_a_young_table_is_judged_from_its_first_row_on() -> None:
    found = continuity(rows(3), at(13), HOURS)
    assert (found.hours, found.sound) == (3, True)
    assert continuity(rows(0), at(13), HOURS).sound


def test_gaps_duplicates_and_values_that_are_no_numbers_are_counted() -> None:
    whole = rows(800)
    gap = whole.filter(~pl.col("timestamp").is_between(at(3), at(5)))
    found = continuity(gap, at(13), HOURS)
    assert (found.missing, found.duplicates, found.not_numbers, found.first_bad) == (3, 0, 0, at(6))
    doubled = continuity(pl.concat([whole, whole.filter(pl.col("timestamp") == at(9))]), at(13), HOURS)
    assert (doubled.missing, doubled.duplicates, doubled.first_bad) == (0, 1, at(9))
    bad = changed_at(changed_at(whole, 2, "close", float("nan")), 4, "volume", None)
    found = continuity(bad, at(13), HOURS)
    assert (found.missing, found.duplicates, found.not_numbers, found.first_bad) == (0, 0, 2, at(9))
    shifted = whole.with_columns(pl.col("timestamp") + timedelta(minutes=30))
    assert continuity(shifted, at(13), HOURS).duplicates > 0


def test_what_lies_before_the_window_does_not_count() -> None:
    gap = rows(800).filter(pl.col("timestamp") != at(13 - HOURS))
    assert continuity(gap, at(13), HOURS).sound
    assert not continuity(gap, at(13), HOURS + 2).sound


def test_unsound_rows_are_named() -> None:
    assert unsound_rows(rows(800), at(13), HOURS) == []
    ((hour, reason),) = unsound_rows(changed_at(rows(800), 5, "high", 1.0), at(13), HOURS)
    assert hour == at(8)
    assert "high 1.0" in reason


@pytest.mark.parametrize(("count", "problem"), [(726, "726 of 727 hours"), (727, None), (800, None)])
def test_consumers_need_one_row_more_than_hours(count: int, problem: str | None) -> None:
    bars = inference_bars(rows(count), at(13), 6)
    assert inference_problem(bars, at(13), 6) == problem
    assert bars.columns == list(BAR_COLUMNS)
    assert bars.height == min(count, 727)
    assert bars["timestamp"].is_sorted()


def test_an_inference_file_that_a_consumer_would_reject_says_why() -> None:
    whole = rows(800)
    assert inference_problem(inference_bars(whole, at(14), 6), at(14), 6) == (
        "ends at 2024-01-15 13:00, not at 2024-01-15 14:00"
    )
    gap = inference_bars(whole.filter(pl.col("timestamp") != at(2)), at(13), 6)
    assert "1 hours missing" in str(inference_problem(gap, at(13), 6))
    nan = inference_bars(changed_at(whole, 700, "low", float("nan")), at(13), 6)
    assert "1 values that are no numbers" in str(inference_problem(nan, at(13), 6))
    assert "no row" in str(inference_problem(inference_bars(rows(0), at(13), 6), at(13), 6))


def test_running_hashes_can_be_continued() -> None:
    frame = rows(50)
    hashes = running_hashes(frame, None)
    assert running_hashes(frame[30:], hashes[29]) == hashes[30:]
    assert len(set(hashes)) == 50


@pytest.mark.parametrize("column", [*VALUE_COLUMNS, "created_at"])
def test_a_changed_row_is_found_and_its_successors_are_not_accused(column: str) -> None:
    frame = rows(50)
    noted = chain(frame)
    assert audit(frame, noted).changed == ()
    value = at(0) if column == "created_at" else 1.5
    found = audit(changed_at(frame, 20, column, value), noted)
    assert found.changed == (at(-7),)
    assert found.running_hash == noted["running_hash"][-1]


def test_rows_that_went_or_came_are_found() -> None:
    frame = rows(50)
    noted = chain(frame)
    assert audit(frame.filter(pl.col("timestamp") != at(5)), noted).changed == (at(5),)
    assert audit(frame, noted.filter(pl.col("timestamp") != at(13))).changed == (at(13),)
    assert audit(frame.clear(), noted).changed == tuple(frame["timestamp"])


def test_a_table_of_another_program_has_no_chain_yet() -> None:
    found = audit(rows(5), chain(rows(0)))
    assert (found.unchained, found.changed, found.running_hash) == (True, (), None)
    assert not audit(rows(0), chain(rows(0))).unchained
