"""Two sources against each other, and which streams had a source."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from lake_assets.inputs.disputes import compare_rows
from lake_assets.schema.known_damage import Damage
from lake_assets.tables.um_minute import UM_MINUTE
from lake_assets.transforms.trades import trade_features
from lake_assets.validation.hour_verdict import source_coverage
from lake_assets.validation.outcome import CHECKS, CheckOutcome, outcomes_from_json, outcomes_to_json
from lake_assets.validation.parity import StreamParity, archive_parity, compare_stream, trades_vs_klines
from lake_resources.binance.um_streams import UM_STREAMS
from lake_resources.clock import HOUR, MINUTE
from lake_resources.known_hole import KnownHole
from lake_tests.support.wire_frames import TEN, agg_trade, kline, metrics_row, wire

ELEVEN = TEN + HOUR


def klines(rows: int = 60, **rest: float) -> pl.DataFrame:
    return wire("klines_1m", [kline(TEN + i * MINUTE, **rest) for i in range(rows)])  # type: ignore[arg-type]


def compare(archive: pl.DataFrame, captured: pl.DataFrame, stream: str = "klines_1m") -> StreamParity:
    return compare_stream(UM_STREAMS[stream], archive, captured, TEN, ELEVEN)


def test_equal_frames_are_equal_in_any_window() -> None:
    found = compare(klines(90), klines(80))
    assert (found.compared, found.differing, found.only_archive, found.only_captured) == (60, 0, 0, 0)
    assert archive_parity([found]).passed
    assert archive_parity([found]).metadata["compared"] == 60


def test_the_last_bit_of_a_double_is_a_difference() -> None:
    captured = klines().with_columns(
        pl.when(pl.col("open_time") == TEN + MINUTE).then(100.50000000000001).otherwise("close").alias("close")
    )
    found = compare(klines(), captured)
    assert (found.compared, found.differing, found.columns) == (60, 1, {"close": 1})
    assert found.first == "klines_1m 2026-01-15 10:01:00 close: captured 100.50000000000001, archive 100.5"
    assert found.differences.rows() == [(TEN + MINUTE, "close", 100.50000000000001, 100.5)]
    check = archive_parity([found, compare(klines(), klines())])
    assert not check.passed
    assert (check.metadata["compared"], check.metadata["differing"]) == (120, 1)
    assert check.metadata["columns"] == "klines_1m.close: 1"


def test_settlements_are_compared_by_their_instant() -> None:
    stream = UM_STREAMS["funding_rate"]

    def settled(millisecond: int, rate: float) -> pl.DataFrame:
        times = [TEN + timedelta(milliseconds=millisecond)]
        rows = {"calc_time": times, "funding_interval_hours": [8], "last_funding_rate": [rate]}
        return pl.DataFrame(rows, schema=stream.columns)

    same, other = (compare_rows(stream, settled(0, 0.01), settled(7, rate), TEN, ELEVEN) for rate in (0.01, 0.02))
    assert (same.compared, same.only_archive, same.only_captured, same.differing) == (1, 0, 0, 0)
    assert (other.compared, other.differing, other.columns) == (1, 1, {"last_funding_rate": 1})
    assert other.differences["timestamp"].to_list() == [TEN], "the stamp is that of what is held"


def test_rows_of_one_side_only_are_differences_too() -> None:
    found = compare(klines()[1:], klines()[:59])
    assert (found.only_archive, found.only_captured, found.differing) == (1, 1, 0)
    assert found.differences.rows() == [(TEN, "row", 1.0, None), (TEN + 59 * MINUTE, "row", None, 1.0)]
    assert found.first == "klines_1m 2026-01-15 10:00:00: row only in the capture"
    assert not archive_parity([found]).passed


def test_cells_of_streams_with_ids_carry_the_id() -> None:
    archive = wire("agg_trades", [agg_trade(i, TEN, 100.0, 1.0, maker=False) for i in (7, 8, 9)])
    captured = wire(
        "agg_trades", [agg_trade(7, TEN, 100.0, 1.0, maker=True), agg_trade(8, TEN, 100.0, 1.0, maker=False)]
    )
    found = compare(archive, captured, "agg_trades")
    assert found.differences.rows() == [(TEN, "is_buyer_maker#7", 1.0, 0.0), (TEN, "row#9", None, 1.0)]


def test_rows_with_ids_against_nothing_at_all() -> None:
    rows = wire("agg_trades", [agg_trade(i, TEN + i * MINUTE, 100.0, 1.0, maker=False) for i in (1, 2)])
    for archive, captured, counts in ((rows, rows.clear(), (2, 0)), (rows.clear(), rows, (0, 2))):
        found = compare(archive, captured, "agg_trades")
        assert (found.only_archive, found.only_captured) == counts
        assert found.differences["column"].to_list() == ["row#1", "row#2"]
        assert found.differences["timestamp"].to_list() == rows["transact_time"].to_list()


def test_columns_that_rest_does_not_tell_are_not_compared() -> None:
    archive = wire("funding_rate", [(TEN, 8, 0.01)])
    assert compare(archive, wire("funding_rate", [(TEN, None, 0.01)]), "funding_rate").differing == 0
    assert compare(archive, wire("funding_rate", [(TEN, 4, 0.01)]), "funding_rate").differing == 1
    metrics = [metrics_row(TEN, 1.0, 2.0, 3.0, None), metrics_row(TEN + 5 * MINUTE, 1.0, 2.0, 3.0, 4.0)]
    half_null = wire("metrics", metrics)
    assert compare(half_null, half_null, "metrics").differing == 0
    told = half_null.with_columns(count_long_short_ratio=4.0)
    assert compare(told, half_null, "metrics").differing == 0
    assert compare(half_null, told, "metrics").columns == {"count_long_short_ratio": 1}


def test_nothing_to_compare_is_empty_and_told_to_nobody() -> None:
    check = archive_parity([])
    assert check.empty
    assert check.metadata["compared"] == 0
    assert outcomes_to_json([check]) == "[]"
    # A ledger of before holds such a row as passed; a failure is told whatever it counted.
    old = '[{"name":"archive_parity","passed":true,"metadata":{"compared":0,"only_archive":0,"only_captured":0}}]'
    assert outcomes_from_json(old, CHECKS) == ()
    assert len(outcomes_from_json(old.replace("true", "false"), CHECKS)) == 1
    assert len(outcomes_from_json('[{"name":"required_columns","passed":true,"metadata":{"nulls":0}}]', CHECKS)) == 1
    assert not archive_parity([compare(klines(), klines()[1:])]).empty
    assert set(check.metadata) == set(archive_parity([compare(klines(), klines()[1:])]).metadata)


def ticks(*rows: tuple[timedelta, float]) -> pl.DataFrame:
    trades = [agg_trade(i, TEN + offset, 100.0, quantity, maker=False) for i, (offset, quantity) in enumerate(rows)]
    return trade_features(wire("agg_trades", trades))


EVERY_MINUTE = [(i * MINUTE + timedelta(seconds=30), 2.0) for i in range(-60, 120)]
NEIGHBOURS = [TEN - HOUR, TEN, ELEVEN]


def sums(features: pl.DataFrame, bars: pl.DataFrame, covered: list[datetime] | None = None) -> CheckOutcome:
    return trades_vs_klines(bars, features, [TEN], NEIGHBOURS if covered is None else covered)[TEN]


def test_trades_that_add_up_pass() -> None:
    check = sums(ticks(*EVERY_MINUTE), klines())
    assert check.passed
    assert (check.metadata["compared"], check.metadata["minutes_off"]) == (60, 0)
    assert (check.metadata["single_trades"], check.metadata["kline_trades"]) == (60, 1200)


def test_a_lost_trade_is_found() -> None:
    check = sums(ticks(*(row for row in EVERY_MINUTE if row[0] != 7 * MINUTE + timedelta(seconds=30))), klines())
    assert not check.passed
    assert (check.metadata["minutes_off"], check.metadata["first"]) == (1, "2026-01-15 10:07")
    assert check.metadata["hour_difference"] == pytest.approx(-2.0)


def volumes(**by_minute: float) -> pl.DataFrame:
    change = pl.col("volume")
    for minute, volume in by_minute.items():
        change = pl.when(pl.col("open_time") == TEN + int(minute[1:]) * MINUTE).then(volume).otherwise(change)
    return klines().with_columns(change.alias("volume"))


def test_a_straddling_aggregate_is_tolerated_within_the_hour_and_at_its_edge() -> None:
    late = timedelta(seconds=59, milliseconds=950)
    inside = ticks(*EVERY_MINUTE, (7 * MINUTE + late, 1.0))
    assert sums(inside, volumes(m7=2.4, m8=2.6)).passed
    assert not sums(inside, volumes(m7=2.4, m8=2.5)).passed, "the hour must add up where only minutes straddle"
    assert not sums(inside, volumes(m7=2.4, m9=2.6)).passed
    assert not sums(inside, volumes(m7=1.9, m8=3.1)).passed, "no more than the straddling quantity itself"
    at_the_edge = ticks(*EVERY_MINUTE, (-1 * MINUTE + late, 1.0))
    assert sums(at_the_edge, volumes(m0=2.3)).passed
    assert not sums(at_the_edge, volumes(m1=2.3)).passed


def test_minutes_without_covered_neighbours_are_not_judged() -> None:
    odd = volumes(m0=3.0, m59=3.0)
    alone = sums(ticks(*EVERY_MINUTE), odd, [TEN])
    assert (alone.passed, alone.metadata["compared"]) == (True, 58)
    assert not sums(ticks(*EVERY_MINUTE), odd).passed


def test_an_hour_that_is_not_covered_has_compared_nothing() -> None:
    check = sums(ticks(), klines(), [])
    assert (check.empty, check.metadata["compared"]) == (True, 0)
    assert set(check.metadata) == set(sums(ticks(*EVERY_MINUTE), klines()).metadata)
    assert not sums(ticks(), klines()).passed, "covered and no trade, but klines have volume"


BOTH_ERAS = [datetime(2023, 6, 1, tzinfo=UTC), TEN]


@pytest.mark.parametrize("hour", BOTH_ERAS)
def test_coverage_expects_only_streams_that_the_exchange_has(hour: datetime) -> None:
    kinds = dict.fromkeys(UM_MINUTE.uses, "archive") | {"book_ticker": "none"}
    check = source_coverage(UM_MINUTE, hour, kinds)
    assert check.passed == (hour == TEN)
    assert check.severity == "warn"
    assert check.metadata["streams"] == (7 if hour == TEN else 8)


def test_coverage_names_absent_streams_and_series_that_ran_out() -> None:
    kinds = dict.fromkeys(UM_MINUTE.uses, "rest") | {"agg_trades": "none"}
    del kinds["metrics"]
    check = source_coverage(UM_MINUTE, TEN, kinds)
    assert (check.passed, check.metadata["absent"]) == (False, 2)
    assert check.metadata["absent_streams"] == "agg_trades, metrics"
    slow = ("oi_contracts", "oi_value_usdt", "top_trader_ls_ratio_acct", "global_ls_ratio_acct", "funding_rate")
    rows = pl.DataFrame({name: [1.0, None if name == "funding_rate" else 1.0] for name in slow})
    stale = source_coverage(UM_MINUTE, TEN, dict.fromkeys(UM_MINUTE.uses, "rest"), rows)
    assert (stale.passed, stale.metadata["stale_minutes"], stale.metadata["stale_columns"]) == (
        False,
        1,
        "funding_rate: 1",
    )


def test_a_ratio_must_round_to_what_rest_publishes() -> None:
    def metrics(ratio: float) -> pl.DataFrame:
        return wire("metrics", [metrics_row(TEN, 1.0, 1.0, ratio, 1.0)])

    assert not compare(metrics(2.24152336), metrics(2.2415), "metrics").differing
    assert compare(metrics(2.24152336), metrics(2.2416), "metrics").columns == {"count_toptrader_long_short_ratio": 1}


def hole(stream: str, first: int, last: int) -> KnownHole:
    return KnownHole(stream, "BTCUSDT", TEN + first * MINUTE, TEN + last * MINUTE, "halt", "#1")


def test_known_holes_of_the_whole_hour_excuse_a_stream_and_damage_is_only_named() -> None:
    kinds = dict.fromkeys(UM_MINUTE.uses, "archive") | {"premium_index_klines_1m": "none"}
    damage = [
        Damage("premium_index_klines_1m", "*", TEN.date(), TEN.date(), "absent", "#335"),
        Damage("metrics", "*", TEN.date(), TEN.date(), "damaged", "#350"),
    ]

    named = source_coverage(UM_MINUTE, TEN, kinds, damage=damage)
    assert (named.passed, named.metadata["absent_streams"]) == (False, "premium_index_klines_1m")
    assert named.metadata["known_damage"] == "premium_index_klines_1m: absent (#335)"

    part = [hole("premium_index_klines_1m", 0, 59)]
    assert not source_coverage(UM_MINUTE, TEN, kinds, holes=part).passed
    whole = source_coverage(UM_MINUTE, TEN, kinds, holes=[hole("premium_index_klines_1m", 30, 90), *part])
    assert (whole.passed, whole.metadata["excused_streams"]) == (True, "premium_index_klines_1m")
    assert not source_coverage(UM_MINUTE, TEN, kinds, holes=[hole("agg_trades", 0, 60)]).passed


def test_known_holes_excuse_minutes_without_aggtrades() -> None:
    slow = ("oi_contracts", "oi_value_usdt", "top_trader_ls_ratio_acct", "global_ls_ratio_acct", "funding_rate")
    rows = pl.DataFrame(
        {"timestamp": [TEN, TEN + MINUTE], "count_buy_trades": [None, 1]} | {name: [1.0, 1.0] for name in slow},
        schema_overrides={"count_buy_trades": pl.Int64},
    )
    kinds = dict.fromkeys(UM_MINUTE.uses, "archive")
    assert source_coverage(UM_MINUTE, TEN, kinds, rows).metadata["lost_trade_minutes"] == 1
    assert (
        source_coverage(UM_MINUTE, TEN, kinds, rows, holes=[hole("agg_trades", 0, 1)]).metadata["lost_trade_minutes"]
        == 0
    )
    assert (
        source_coverage(UM_MINUTE, TEN, kinds, rows, holes=[hole("agg_trades", 1, 2)]).metadata["lost_trade_minutes"]
        == 1
    )
