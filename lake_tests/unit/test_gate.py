"""The gate over hours and the audit of an hour file (case A-12): every way of being wrong is named."""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl
import pytest

from lake_assets.tables.um_minute import UM_MINUTE as TABLE
from lake_assets.transforms.assemble import assemble
from lake_assets.validation.gate import PartitionWindow, gate, passes
from lake_assets.validation.outcome import CHECKS, GATE_CHECKS, CheckOutcome
from lake_assets.validation.partition_audit import partition_audit
from lake_resources.clock import HOUR, MINUTE
from lake_resources.known_hole import KnownHole
from lake_tests.support.wire_frames import TEN, inputs, kline, wire

NAN = float("nan")
ELEVEN = TEN + HOUR
WINDOWS = [PartitionWindow(TEN, ELEVEN), PartitionWindow(ELEVEN, ELEVEN + HOUR)]


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    rows = [kline(TEN + i * MINUTE) for i in range(120)]
    sources = {"mark": "mark_price_klines_1m", "index": "index_price_klines_1m"}
    return assemble(
        inputs(
            TEN,
            ELEVEN + HOUR,
            klines=wire("klines_1m", rows),
            **{key: wire(name, rows) for key, name in sources.items()},
        )
    )


def hole(stream: str, start: datetime, minutes: int) -> KnownHole:
    return KnownHole(stream, "*", start, start + minutes * MINUTE, "exchange was down", "issue 1")


def put(frame: pl.DataFrame, minute: int, **values: float | None) -> pl.DataFrame:
    here = pl.col("timestamp") == TEN + minute * MINUTE
    return frame.with_columns(
        pl.when(here).then(pl.lit(value, dtype=frame.schema[name])).otherwise(name).alias(name)
        for name, value in values.items()
    )


def without(frame: pl.DataFrame, *minutes: int) -> pl.DataFrame:
    return frame.filter(~pl.col("timestamp").is_in([TEN + minute * MINUTE for minute in minutes]))


def judged(frame: pl.DataFrame, *holes: KnownHole, hour: datetime = TEN) -> dict[str, CheckOutcome]:
    return {check.name: check for check in gate(TABLE, frame, WINDOWS, holes)[hour]}


def failed(checks: dict[str, CheckOutcome]) -> list[str]:
    return [name for name, check in checks.items() if not check.passed]


def test_sound_hours_pass_every_check(frame: pl.DataFrame) -> None:
    outcomes = gate(TABLE, frame, WINDOWS, [])
    assert list(outcomes) == [TEN, ELEVEN]
    assert [check.name for check in outcomes[TEN]] == list(GATE_CHECKS) == list(CHECKS)[:4]
    assert all(passes(checks) for checks in outcomes.values())
    assert judged(frame)["continuity"].metadata["present"] == 60
    assert {check.severity for check in outcomes[TEN]} == {"error"}


@pytest.mark.parametrize(
    ("values", "check", "count"),
    [
        ({"high": 99.5}, "ohlc", "high_too_low"),
        ({"low": 100.2}, "ohlc", "low_too_high"),
        ({"open": 0.0, "low": 0.0}, "ohlc", "not_positive"),
        ({"close": NAN}, "ohlc", "not_finite"),
        ({"volume_usdt": float("inf")}, "ohlc", "not_finite"),
        ({"volume_btc": -5.0}, "ohlc", "negative_volume"),
        ({"trade_count": -1}, "ohlc", "negative_volume"),
        ({"taker_buy_ratio": 1.5}, "schema", "violations"),
        ({"vwap_1m": NAN}, "schema", "violations"),
        ({"has_depth": None}, "schema", "violations"),
        ({"mark_price_open": None}, "required_columns", "nulls"),
        ({"close": None}, "required_columns", "nulls"),
    ],
)
def test_one_broken_value_fails_its_hour_only(
    frame: pl.DataFrame, values: dict[str, float | None], check: str, count: str
) -> None:
    broken = put(frame, 7, **values)
    assert check in failed(judged(broken))
    assert judged(broken)[check].metadata[count] == 1
    assert failed(judged(broken, hour=ELEVEN)) == []


@pytest.mark.parametrize("values", [{"premium_index": -1.7}, {"premium_index": 2.5}, {"micro_price_close": 0.0}])
def test_what_the_exchange_can_publish_does_not_refuse_the_hour(frame: pl.DataFrame, values: dict[str, float]) -> None:
    assert failed(judged(put(frame, 7, **values))) == []


def test_the_outcome_names_column_and_minute(frame: pl.DataFrame) -> None:
    broken = judged(put(frame, 7, volume_btc=-5.0))
    assert broken["schema"].metadata["problem"] == "volume_btc: 1"
    assert broken["ohlc"].metadata["first"] == "2026-01-15 10:07"
    assert broken["ohlc"].text() == "ohlc: rows=60, negative_volume=1, first=2026-01-15 10:07"


def test_continuity_names_what_is_missing(frame: pl.DataFrame) -> None:
    found = judged(without(frame, 17, 40))["continuity"]
    assert not found.passed
    assert found.metadata["missing"] == 2
    assert found.metadata["first_missing"] == "2026-01-15 10:17"


def test_a_known_hole_excuses_by_name_and_only_its_minutes(frame: pl.DataFrame) -> None:
    kline_hole = hole("klines_1m", TEN + 17 * MINUTE, 2)
    found = judged(without(frame, 17, 18), kline_hole)["continuity"]
    assert found.passed
    assert (found.metadata["excused"], found.metadata["missing"]) == (2, 0)
    assert found.metadata["excuse"] == "klines_1m: exchange was down (issue 1)"
    assert failed(judged(without(frame, 17, 19), kline_hole)) == ["continuity"]
    assert failed(judged(without(frame, 17), hole("agg_trades", TEN, 60))) == ["continuity"]


def test_a_hole_of_mark_excuses_mark_and_not_index(frame: pl.DataFrame) -> None:
    mark_hole = hole("mark_price_klines_1m", TEN + 7 * MINUTE, 1)
    excused = judged(put(frame, 7, mark_price_open=None, mark_price_close=None), mark_hole)["required_columns"]
    assert excused.passed
    assert (excused.metadata["excused"], excused.metadata["nulls"]) == (2, 0)
    assert excused.metadata["excuse"] == "mark_price_klines_1m: exchange was down (issue 1)"
    assert failed(judged(put(frame, 7, index_price_open=None), mark_hole)) == ["required_columns"]
    assert failed(judged(put(frame, 7, close=None), mark_hole)) == ["required_columns"]


def test_a_repeated_minute_and_another_order_fail(frame: pl.DataFrame) -> None:
    twice = judged(pl.concat([frame[:8], frame[7:]]))["continuity"]
    assert (twice.passed, twice.metadata["duplicated"]) == (False, 1)
    swapped = judged(pl.concat([frame[1:2], frame[:1], frame[2:]]))["continuity"]
    assert (swapped.passed, swapped.metadata["unordered"]) == (False, 1)


@pytest.mark.parametrize("offset", [-1 * MINUTE, 5 * HOUR, timedelta(seconds=30), None])
def test_a_row_outside_the_judged_minutes_counts_against_an_hour(frame: pl.DataFrame, offset: timedelta | None) -> None:
    stray = frame[:1].with_columns(
        timestamp=pl.lit(None if offset is None else TEN + offset, dtype=frame.schema["timestamp"])
    )
    outcomes = gate(TABLE, pl.concat([frame, stray]), WINDOWS, [])
    outside = {hour: checks[2].metadata["outside"] for hour, checks in outcomes.items()}
    assert outside == ({TEN: 0, ELEVEN: 1} if offset == 5 * HOUR else {TEN: 1, ELEVEN: 0})


def test_the_open_hour_holds_the_minutes_expected_so_far(frame: pl.DataFrame) -> None:
    open_hour = [PartitionWindow(TEN, TEN + 31 * MINUTE)]
    assert passes(gate(TABLE, frame[:31], open_hour, [])[TEN])
    assert not passes(gate(TABLE, frame[:30], open_hour, [])[TEN])
    early = gate(TABLE, frame[:32], open_hour, [])[TEN][2]
    assert (early.passed, early.metadata["outside"]) == (False, 1)
    nothing_yet = gate(TABLE, frame[:0], [PartitionWindow(TEN, TEN)], [])[TEN]
    assert passes(nothing_yet)
    assert not passes(gate(TABLE, frame[:0], WINDOWS, [])[TEN])


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda f: f.drop("close"), "missing close"),
        (lambda f: f.with_columns(extra=1), "unknown extra"),
        (lambda f: f.with_columns(pl.col("close").cast(pl.Float32)), "close is Float32, not Float64"),
        (lambda f: f.select(reversed(f.columns)), "columns in another order"),
    ],
)
def test_other_columns_fail_everything(frame: pl.DataFrame, change: object, problem: str) -> None:
    checks = judged(change(frame))  # type: ignore[operator]
    assert failed(checks) == list(GATE_CHECKS)
    assert checks["schema"].metadata["problem"] == problem
    assert checks["ohlc"].metadata["problem"] == "not evaluated: see the check schema"


def test_metadata_has_the_same_numbers_whatever_the_verdict(frame: pl.DataFrame) -> None:
    sound = judged(frame)
    broken = judged(without(put(frame, 7, volume_btc=-5.0, close=None), 17))
    assert {name: set(check.metadata) for name, check in sound.items()} == {
        name: set(check.metadata) for name, check in broken.items()
    }


def audit(frame: pl.DataFrame | None, start: int = 0, end: int = 60, *holes: KnownHole) -> list[str]:
    return partition_audit(TABLE, frame, TEN, TEN + start * MINUTE, TEN + end * MINUTE, holes=holes)


def test_a12_reason_codes(frame: pl.DataFrame) -> None:
    hour = frame[:60]
    assert audit(None) == ["missing_file"]
    assert audit(hour) == ["ok"]
    assert audit(without(hour, 17)) == ["row_count_mismatch:expected=60:actual=59:window=10:00-11:00"]
    assert audit(hour.drop("index_price_close")) == ["missing_columns:index_price_close"]
    assert audit(hour, 10, 20) == ["ok"]


def test_a12_files_that_the_earlier_audit_let_pass(frame: pl.DataFrame) -> None:
    hour = frame[:60]
    assert audit(frame[:61]) == ["rows_outside_hour:1"]
    assert audit(hour.select(TABLE.required))[0].startswith("missing_columns:event_time,transact_time,")
    assert audit(put(hour, 3, high=1.0))[-1] == "ohlc_broken:high_too_low:1,low_too_high:1"
    assert audit(put(hour, 3, vwap_1m=NAN)) == ["out_of_bounds:vwap_1m:1"]
    assert audit(put(hour, 3, close=NAN)) == [
        "hard_required_nulls:close:1",
        "out_of_bounds:close:1",
        "ohlc_broken:not_finite:1",
    ]
    assert audit(put(hour, 3, volume_btc=-5.0)) == ["out_of_bounds:volume_btc:1", "ohlc_broken:negative_volume:1"]


def test_audit_of_windows_holes_and_order(frame: pl.DataFrame) -> None:
    hour = frame[:60]
    assert audit(without(hour, 17), 0, 60, hole("klines_1m", TEN + 17 * MINUTE, 1)) == ["ok"]
    assert audit(hour, 0, 60, hole("klines_1m", TEN + 17 * MINUTE, 1)) == ["ok"]
    assert audit(hour.reverse()) == ["timestamp_gap_or_order_error"]
    assert audit(hour[:0]) == ["empty_partition"]
    assert audit(hour[:0], 0, 60, hole("klines_1m", TEN - HOUR, 120)) == ["ok"], "the exchange was down all the time"
    assert audit(hour[:0], 0, 60, hole("klines_1m", TEN, 59)) == ["empty_partition"]
    assert audit(hour[:0], 0, 60, hole("mark_price_klines_1m", TEN, 60)) == ["empty_partition"]
    assert audit(pl.concat([hour[:59], hour[58:59]])) == ["duplicate_timestamps:1", "timestamp_gap_or_order_error"]
    assert audit(hour.with_columns(pl.col("close").cast(pl.Float32), x=1)) == ["unknown_columns:x", "wrong_types:close"]
    assert audit(put(hour, 3, mark_price_open=None)) == ["hard_required_nulls:mark_price_open:1"]
    assert audit(hour, 20, 20) == audit(hour, 0, 61) == ["invalid_expected_range"]
