"""Minutes rolled up: each column by its rule, and nothing invented."""

from datetime import timedelta

import polars as pl
import pytest

from lake_assets.schema.rolling import MEAN
from lake_assets.tables.um_minute import UM_MINUTE
from lake_assets.transforms.rollup import needed_columns, rolled_columns, rollup
from lake_resources.errors import SettingsError
from lake_tests.support.sound_hours import FIRST, sound_rows

HOURS = sound_rows(FIRST, 48)


def bars(timeframe, rows=HOURS, columns=None, **given):
    return rollup(UM_MINUTE, rows.lazy(), timeframe, columns, **given).collect()


def test_every_rule_runs_and_keeps_the_type_of_what_it_keeps():
    found = bars("1h")
    assert found.width == 1 + len(rolled_columns(UM_MINUTE)) + 2
    for name, dtype in found.schema.items():
        if name in UM_MINUTE.names and UM_MINUTE.column(name).rollup is not MEAN:
            assert dtype == UM_MINUTE.column(name).dtype, name


@pytest.mark.parametrize(("timeframe", "minutes"), [("5m", 5), ("15m", 15), ("1h", 60), ("1d", 1440)])
def test_a_bar_is_what_a_person_would_compute(timeframe, minutes):
    found = bars(timeframe)
    assert found.height == HOURS.height // minutes
    for index in (0, found.height - 1):
        bar, rows = found.row(index, named=True), HOURS.slice(index * minutes, minutes)
        assert bar["timestamp"] == rows["timestamp"][0]
        assert (bar["open"], bar["close"]) == (rows["open"][0], rows["close"][-1])
        assert (bar["high"], bar["low"]) == (rows["high"].max(), rows["low"].min())
        assert bar["trade_count"] == rows["trade_count"].sum()
        assert bar["volume_btc"] == pytest.approx(rows["volume_btc"].sum(), rel=1e-12)
        assert bar["vwap"] == pytest.approx(rows["volume_usdt"].sum() / rows["volume_btc"].sum(), rel=1e-12)
        assert bar["taker_buy_ratio"] == pytest.approx(0.5, rel=1e-3)
        assert bar["low"] <= bar["vwap"] <= bar["high"]
        assert bar["mark_price_open"] == rows["mark_price_open"][0]
        assert (bar["minutes"], bar["complete"]) == (minutes, True)


def test_rolling_up_twice_is_rolling_up_once():
    columns = ["open", "high", "low", "close", "volume_btc", "volume_usdt", "trade_count"]
    twice = bars("1h", bars("5m", columns=columns).drop("minutes", "complete"), columns)
    once = bars("1h", columns=columns)
    assert twice.select("timestamp", "open", "high", "low", "close", "trade_count").equals(
        once.select("timestamp", "open", "high", "low", "close", "trade_count")
    )


def test_a_bar_that_lacks_a_minute_is_marked_or_left_out_and_never_filled():
    gone = FIRST + timedelta(hours=1, minutes=7)
    holes = HOURS.filter(pl.col("timestamp") != gone)
    marked = bars("1h", holes)
    assert marked.filter(~pl.col("complete")).select("timestamp", "minutes").rows() == [
        (FIRST + timedelta(hours=1), 59)
    ]
    hollow = marked.row(1, named=True)
    assert (hollow["trade_count"], hollow["minutes"]) == (59 * 20, 59), "partial sums, and the bar says so"
    assert marked.columns[:3] == ["timestamp", "minutes", "complete"], "nobody reads the sums without passing the mark"
    assert bars("1h", holes, incomplete="omit").equals(marked.filter(pl.col("complete")))
    whole_hour_gone = HOURS.filter(pl.col("timestamp").dt.truncate("1h") != FIRST + timedelta(hours=5))
    assert FIRST + timedelta(hours=5) not in bars("1h", whole_hour_gone)["timestamp"].to_list()


def test_a_sum_over_an_unknown_minute_is_unknown():
    rows = HOURS.head(120).with_columns(
        count_buy_trades=pl.when(pl.col("timestamp") >= FIRST + timedelta(minutes=3)).then(pl.lit(2, pl.Int64)),
        has_liq=pl.lit(value=True),
        realized_vol_1m=pl.lit(0.002),
    )
    found = bars("1h", rows)
    assert found["count_buy_trades"].to_list() == [None, 120]
    assert found["realized_vol"].to_list() == pytest.approx([0.002 * 60**0.5] * 2)
    assert found["has_liq"].to_list() == [True, True]


def test_without_volume_the_price_is_the_close_and_the_ratio_unknown():
    rows = HOURS.head(60).with_columns(pl.col("volume_btc", "volume_usdt", "taker_buy_vol_btc") * 0.0)
    (bar,) = bars("1h", rows).to_dicts()
    assert (bar["vwap"], bar["taker_buy_ratio"]) == (bar["close"], None)


def test_liquidation_prices_are_weighted_by_quantity():
    rows = HOURS.head(60).with_columns(
        liq_long_vol_usdt=pl.Series([200.0] + [0.0] * 59),
        liq_short_vol_usdt=pl.Series([0.0, 300.0] + [0.0] * 58),
        liq_avg_fill_price=pl.Series([100.0, 50.0] + [None] * 58),
    )
    assert bars("1h", rows)["liq_avg_fill_price"].to_list() == [pytest.approx(500.0 / (2.0 + 6.0))]


def test_only_the_columns_that_are_needed_are_read():
    assert needed_columns(UM_MINUTE, ["vwap_1m", "close"]) == ("timestamp", "volume_usdt", "volume_btc", "close")
    found = bars("1h", HOURS.select(needed_columns(UM_MINUTE, ["vwap_1m"])), ["vwap_1m"])
    assert found.columns == ["timestamp", "minutes", "complete", "vwap"]
    assert bars("1m", columns=["close"]).columns == ["timestamp", "minutes", "complete", "close"]


@pytest.mark.parametrize(("column", "message"), [("clos", "no column 'clos'"), ("latency_engine", "no value for bars")])
def test_what_cannot_be_had_is_refused(column, message):
    with pytest.raises(SettingsError, match=message):
        rollup(UM_MINUTE, HOURS.lazy(), "1h", [column])
