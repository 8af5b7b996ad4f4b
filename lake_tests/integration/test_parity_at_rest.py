"""Sealed hours against what the exchange says later: equal while nothing is restated, and each restatement is kept."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from lake_assets.audit.parity_at_rest import check_at_rest, sample_hours, sealed_hours
from lake_resources.clock import HOUR
from lake_resources.errors import ExchangeError
from lake_resources.simulator.server import SimulatorServer
from lake_tests.support.simulated_lake import DAY, PUBLISHED, SYMBOL, Bench, bench_on, hours

BAD = DAY + 3 * HOUR


@pytest.fixture
def bench(sim: SimulatorServer, tmp_path: Path) -> Iterator[Bench]:
    with bench_on(sim, tmp_path) as found:
        found.at(PUBLISHED).build(hours(0, 6))
        yield found


def restate(bench: Bench, **values: float) -> None:
    """The lake holds what the exchange said before it restated a minute."""
    path = bench.lake.catalog.partition_path(SYMBOL, BAD)
    here = pl.col("timestamp") == BAD + timedelta(minutes=17)
    rows = pl.read_parquet(path)
    rows.with_columns(
        pl.when(here).then(pl.lit(value, dtype=rows.schema[name])).otherwise(name).alias(name)
        for name, value in values.items()
    ).write_parquet(path)


def test_what_was_not_restated_is_equal(bench: Bench) -> None:
    found = check_at_rest(bench.lake, SYMBOL, hours(0, 6), bench.now)
    assert (found.passed, found.minutes, found.hour_bars) == (True, 360, 6)
    assert bench.lake.ledger.revisions(SYMBOL, DAY, DAY + 24 * HOUR) == []


def test_a_restated_minute_is_kept_with_both_values(bench: Bench) -> None:
    before = bench.rows(BAD).row(17, named=True)
    restate(bench, volume_btc=before["volume_btc"] + 1.0, close=before["close"])
    found = check_at_rest(bench.lake, SYMBOL, hours(0, 6), bench.now)
    assert not found.passed
    kept = {(row.stream, row.column): row for row in bench.lake.ledger.revisions(SYMBOL, DAY, DAY + 24 * HOUR)}
    assert set(kept) == {("klines_1m", "volume"), ("klines_1h", "volume")}
    minute = kept["klines_1m", "volume"]
    assert minute.timestamp == BAD + timedelta(minutes=17)
    assert (minute.old_value, minute.new_value) == (before["volume_btc"] + 1.0, before["volume_btc"])
    assert minute.old_source == "archive"
    assert kept["klines_1h", "volume"].timestamp == BAD
    held = bench.lake.ledger.partition(SYMBOL, BAD)
    assert held is not None
    assert held.verdict == "contradicted", "there is one verdict, and it hears this"
    assert "klines_1m: the exchange's API says otherwise now: 1 row(s) differ" in str(held.verdict_detail)
    check_at_rest(bench.lake, SYMBOL, hours(0, 6), bench.now)
    assert len(bench.lake.ledger.revisions(SYMBOL, DAY, DAY + 24 * HOUR)) == 2, "known differences are kept once"
    restate(bench, volume_btc=before["volume_btc"])
    check_at_rest(bench.lake, SYMBOL, [BAD], bench.now)
    mended = bench.lake.ledger.partition(SYMBOL, BAD)
    assert mended is not None
    assert mended.verdict == "clean"


def test_a_minute_that_only_the_exchange_has(bench: Bench) -> None:
    path = bench.lake.catalog.partition_path(SYMBOL, BAD)
    rows = pl.read_parquet(path)
    rows.filter(pl.col("timestamp") != BAD).write_parquet(path)
    found = check_at_rest(bench.lake, SYMBOL, [BAD], bench.now)
    assert (found.passed, found.only_exchange, found.minutes, found.hour_bars) == (False, 1, 59, 0)


def test_an_exchange_that_does_not_answer_concludes_nothing(bench: Bench) -> None:
    bench.fault("5xx", "/fapi/v1/klines")
    with pytest.raises(ExchangeError):
        check_at_rest(bench.lake, SYMBOL, [BAD], bench.now)
    assert bench.lake.ledger.revisions(SYMBOL, DAY, DAY + 24 * HOUR) == []


def test_what_was_found_before_the_exchange_stopped_answering_is_kept(bench: Bench) -> None:
    before = bench.rows(BAD).row(17, named=True)
    restate(bench, volume_btc=before["volume_btc"] + 1.0)
    later = int((BAD + HOUR).timestamp() * 1000)
    bench.fault("5xx", "/fapi/v1/klines", query=f"startTime={later}")
    with pytest.raises(ExchangeError):
        check_at_rest(bench.lake, SYMBOL, [BAD, BAD + HOUR], bench.now)
    kept = {(row.stream, row.column) for row in bench.lake.ledger.revisions(SYMBOL, DAY, DAY + 24 * HOUR)}
    assert kept == {("klines_1m", "volume"), ("klines_1h", "volume")}


def test_nothing_compared_is_not_passed(bench: Bench) -> None:
    found = check_at_rest(bench.lake, SYMBOL, [], bench.now)
    assert (found.passed, found.verdict, found.minutes) == (False, "nothing to compare", 0)


def test_only_complete_hours_of_the_day_before_are_sealed(bench: Bench) -> None:
    bench.at(DAY + 28 * HOUR)
    assert sealed_hours(bench.lake, SYMBOL, bench.now) == hours(0, 4)


def test_the_sample_is_the_same_that_day_and_another_the_next() -> None:
    sealed = hours(0, 400)
    day = DAY.date()
    sample = sample_hours(sealed, SYMBOL, day, 12)
    assert sample == sample_hours(reversed(sealed), SYMBOL, day, 12) == sorted(sample)
    assert len(set(sample)) == 12
    assert sample != sample_hours(sealed, SYMBOL, day + timedelta(days=1), 12)
    assert sample_hours(sealed[:3], SYMBOL, day, 12) == sealed[:3]
    seen = {hour for n in range(200) for hour in sample_hours(sealed, SYMBOL, day + timedelta(days=n), 12)}
    assert len(seen) > 390, "in time every hour is looked at"
